//! How large the statements are that carry many rows. It knows no statement.
//!
//! The driver does not set TCP_NODELAY, and with TLS writes what it sends in records of 16 KiB. While a record is not
//! acknowledged, the kernel holds the next one back that does not fill a packet (64 KiB on the loopback interface), and the
//! server's kernel acknowledges after 40 ms. What fits into one record never waits.

/// What fits into one record, with the head of a statement.
pub(crate) const RECORD_BYTES: usize = 15 * 1024;

/// How many of these, at least one, fit into a record.
pub(crate) fn fitting<T>(items: &[T], bytes_of: impl Fn(&T) -> usize) -> usize {
    let mut bytes = 0;
    let fits = |item: &&T| {
        bytes += bytes_of(item);
        bytes <= RECORD_BYTES
    };
    items.iter().take_while(fits).count().max(1)
}
