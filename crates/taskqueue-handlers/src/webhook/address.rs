//! Which addresses a delivery may connect to. It owns the list of what is not the public internet, and the
//! resolver that hides such addresses from the HTTP client; it knows nothing of HTTP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses a delivery may connect to.
///
/// URLs come out of payloads, so whoever can enqueue could make the worker speak to what only it can reach: its
/// own host, the internal network, a cloud's metadata service. What is checked is the address that is connected
/// to, after names are resolved, so a name that resolves to an internal address is refused as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressPolicy {
    /// Only addresses of the public internet: no loopback, private, link-local, shared, documentation, multicast
    /// or reserved ones, nor any of these inside an IPv6 address (mapped, NAT64, 6to4).
    #[default]
    PublicOnly,
    /// Any address. Use it where those who enqueue are trusted, or the network keeps the worker in bounds.
    Any,
}

impl AddressPolicy {
    /// Whether a delivery may connect to `address`.
    pub fn allows(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Any, _) => true,
            (Self::PublicOnly, IpAddr::V4(address)) => is_public_v4(address),
            (Self::PublicOnly, IpAddr::V6(address)) => is_public_v6(address),
        }
    }
}

/// Source: the IANA registry of special-purpose IPv4 addresses, and multicast.
fn is_public_v4(address: Ipv4Addr) -> bool {
    const SPECIAL: [(Ipv4Addr, u32); 14] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        // Multicast, reserved and broadcast.
        (Ipv4Addr::new(224, 0, 0, 0), 3),
    ];
    let inside = |(network, bits): &(Ipv4Addr, u32)| {
        let shift = 32 - bits;
        u32::from(address) >> shift == u32::from(*network) >> shift
    };
    !SPECIAL.iter().any(inside)
}

/// Only global unicast (2000::/3) is public, without its special blocks. An IPv4 address inside an IPv6 one is
/// judged by itself, as the kernel or a translator connects to it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
            let low = (u32::from(segments[6]) << 16) | u32::from(segments[7]);
            is_public_v4(Ipv4Addr::from(low))
        }
        // 2001::/23: Teredo, ORCHID and other protocol assignments; 2001:db8::/32 and 3fff::/20: documentation;
        // 2002::/16: 6to4, which carries an IPv4 address and which nothing needs any more.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// A host that resolved to nothing that may be connected to.
#[derive(Debug)]
pub(super) struct AddressRefused;

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no public address, and others are not allowed")
    }
}

impl std::error::Error for AddressRefused {}

/// Resolves names by the system's resolver, without the addresses that the policy refuses. The client connects
/// to nothing but what it is given here, so a name that changes its address between check and connect gains
/// nothing. Hosts that are addresses never come here: the sender checks those.
#[derive(Debug)]
pub(super) struct GuardedResolver(pub(super) AddressPolicy);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| policy.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(AddressRefused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_public(address: &str) -> bool {
        AddressPolicy::PublicOnly.allows(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_the_public_internet_are_allowed() {
        for address in
            ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255", "223.255.255.255"]
        {
            assert!(is_public(address), "{address}");
        }
        for address in
            ["2606:4700:4700::1111", "2001:200::1", "2a00::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
        {
            assert!(is_public(address), "{address}");
        }
    }

    #[test]
    fn internal_and_special_ipv4_addresses_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_public(address), "{address}");
        }
    }

    #[test]
    fn internal_and_special_ipv6_addresses_are_refused() {
        for address in [
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "64:ff9b:1::1",
        ] {
            assert!(!is_public(address), "{address}");
        }
    }

    #[test]
    fn an_internal_ipv4_address_inside_an_ipv6_one_is_refused() {
        for address in
            ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::"]
        {
            assert!(!is_public(address), "{address}");
        }
    }

    #[test]
    fn any_address_is_allowed_when_the_policy_says_so() {
        assert!(AddressPolicy::Any.allows("127.0.0.1".parse().expect("an address")));
    }
}
