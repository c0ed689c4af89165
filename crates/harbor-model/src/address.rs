//! Which addresses an endpoint may have: the guard against requests into our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What the requests of one tenant may connect to. Public addresses always; more where it is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressPolicy {
    /// Whether plain `http` URLs are taken.
    pub http: bool,
    /// Whether loopback addresses are taken; true under `--dev`.
    pub loopback: bool,
    /// Subnets that are taken though they are not public.
    pub subnets: Arc<[IpNet]>,
}

impl AddressPolicy {
    /// Whether a connection to `address` may be opened.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = unwrap_v4(address);
        if self.loopback && address.is_loopback() {
            return true;
        }
        is_public(address) || self.subnets.iter().any(|subnet| subnet.contains(&address))
    }
}

/// The IPv4 address that an IPv4-mapped IPv6 address stands for, or the address itself.
pub(crate) fn unwrap_v4(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether the address belongs to the public internet.
///
/// Follows the IANA special-purpose address registries (RFC 6890 and its successors).
/// What embeds an IPv4 address (NAT64, 6to4, Teredo, IPv4-compatible) is never public:
/// a gateway would carry the request to the address inside.
pub fn is_public(address: IpAddr) -> bool {
    match unwrap_v4(address) {
        IpAddr::V4(v4) => !V4_SPECIAL.iter().any(|(net, bits)| v4_net(*net, *bits).contains(&v4)),
        // Only 2000::/3 is allocated for global unicast.
        IpAddr::V6(v6) => {
            v6_net([0x2000, 0, 0, 0, 0, 0, 0, 0], 3).contains(&v6)
                && !V6_SPECIAL.iter().any(|(net, bits)| v6_net(*net, *bits).contains(&v6))
        }
    }
}

fn v4_net(net: [u8; 4], bits: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::from(net), bits).expect("the table has valid prefixes")
}

fn v6_net(net: [u16; 8], bits: u8) -> Ipv6Net {
    Ipv6Net::new(Ipv6Addr::from(net), bits).expect("the table has valid prefixes")
}

const V4_SPECIAL: &[([u8; 4], u8)] = &[
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // carrier-grade NAT
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local, and the metadata services of clouds
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 88, 99, 0], 24),  // 6to4 relays
    ([192, 168, 0, 0], 16),  // private
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, and broadcast
];

const V6_SPECIAL: &[([u16; 8], u8)] = &[
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments, Teredo among them
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let check = |text: &str, expected| assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
        for public in ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111"]
        {
            check(public, true);
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
            "5f00::1",
        ] {
            check(special, false);
        }
    }

    #[test]
    fn a_policy_opens_what_it_names_and_nothing_else() {
        let dev = AddressPolicy { http: true, loopback: true, subnets: Arc::new([]) };
        assert!(dev.allows("127.0.0.1".parse().unwrap()));
        assert!(dev.allows("::1".parse().unwrap()));
        assert!(dev.allows("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!dev.allows("10.0.0.1".parse().unwrap()));

        let office =
            AddressPolicy { subnets: Arc::new(["10.1.0.0/16".parse().unwrap()]), ..AddressPolicy::default() };
        assert!(office.allows("10.1.2.3".parse().unwrap()));
        assert!(office.allows("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!office.allows("10.2.0.1".parse().unwrap()));
        assert!(!office.allows("127.0.0.1".parse().unwrap()));
    }
}
