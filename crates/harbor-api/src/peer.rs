//! Who is at the other end of a connection, and who is behind the proxies there.

use std::net::{IpAddr, Ipv4Addr};

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The header in which each proxy notes whom it was asked by.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address at the other end of the connection. Whoever listens puts it among a request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The address that a request comes from: the last one on its way that is no trusted proxy.
///
/// Without trusted proxies that is the other end of the connection, and what the headers say counts for nothing.
pub(crate) fn remote_address(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    let peer = extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let mut address = peer.to_canonical();
    let noted = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let noted: Vec<&str> = noted.flat_map(|value| value.split(',')).collect();
    for hop in noted.iter().rev() {
        if !is_trusted(address) {
            break;
        }
        let Some(next) = parse_hop(hop.trim()) else { break };
        address = next.to_canonical();
    }
    address
}

/// An address, which some proxies write with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(bare, _)| bare);
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_trusted_proxies_noted_counts() {
        let check = |peer: &str, noted: &[&str], trusted: &[&str], expected: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(Peer(peer.parse().unwrap()));
            let mut headers = HeaderMap::new();
            for value in noted {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
            }
            let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
            let found = remote_address(&extensions, &headers, &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {noted:?} {trusted:?}");
        };
        check("203.0.113.1", &[], &[], "203.0.113.1");
        check("203.0.113.1", &["198.51.100.7"], &[], "203.0.113.1");
        check("::ffff:203.0.113.1", &[], &[], "203.0.113.1");
        check("10.0.0.1", &["198.51.100.7"], &["10.0.0.0/8"], "198.51.100.7");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.7"], &["10.0.0.0/8"], "198.51.100.7");
        check("10.0.0.1", &["6.6.6.6", "198.51.100.7, 10.0.0.2"], &["10.0.0.0/8"], "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7:4711"], &["10.0.0.0/8"], "198.51.100.7");
        check("10.0.0.1", &["[2001:db8::1]:4711"], &["10.0.0.0/8"], "2001:db8::1");
        check("10.0.0.1", &["unknown"], &["10.0.0.0/8"], "10.0.0.1");
        check("10.0.0.1", &[], &["10.0.0.0/8"], "10.0.0.1");
    }
}
