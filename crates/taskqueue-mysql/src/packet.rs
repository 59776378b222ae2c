//! How large the statements are that carry many rows. It knows no statement.
//!
//! The driver does not set TCP_NODELAY, and with TLS writes what it sends in records of 16 KiB. Where packets are
//! larger than a record, as on the loopback interface, the kernel holds the second record back until the server has
//! acknowledged the first one, and the server's kernel does so after 40 ms. What fits into one record does not wait, nor
//! does what fills a packet of 64 KiB behind the first record: that is acknowledged at once.

/// The most bytes of rows that one statement carries beyond its first row, a few times below the least
/// `max_allowed_packet` that is in use (16 MiB).
pub(crate) const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What fits into one record, with the head of a statement.
pub(crate) const RECORD_BYTES: usize = 15 * 1024;
/// From here on the records behind the first one fill a packet of the loopback interface.
const PACKET_BYTES: usize = 128 * 1024;

/// Whether a statement with so many bytes of rows may wait for the server's acknowledgement.
pub(crate) fn waits_for_the_server(bytes: usize) -> bool {
    (RECORD_BYTES + 1..PACKET_BYTES).contains(&bytes)
}
