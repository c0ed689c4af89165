//! The guard against requests into our own network.

use std::sync::atomic::Ordering;

use harbor_model::address::AddressPolicy;
use harbor_model::attempt::ErrorClass;
use harbor_model::endpoint::{EndpointUrl, UrlError};

use super::kit::{Client, Receiver, Script, TIMEOUT, assert_unreachable, loopback, status, subnets};
use crate::send::connect::{Connector, Progress};
use crate::send::resolve::Resolve;
use crate::send::resolve::SystemResolver;
use crate::send::settings::SendSettings;
use crate::send::target::{HostName, Place};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// One of each kind that is not the public internet.
const FORBIDDEN: [&str; 24] = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
];

#[tokio::test]
async fn a_name_may_not_resolve_into_our_network() {
    for address in FORBIDDEN {
        let client = Client::with(SendSettings::default(), Script::new(&[&[address]]))
            .addresses(AddressPolicy::default());
        let sent = client.post("https://shop.example/?token=s3cret").await;
        let text = format!("`shop.example` resolves to {address}, which is not allowed");
        assert_unreachable(&sent, ErrorClass::BlockedAddress, &text);
        assert_eq!(sent.remote_address, None);
    }
}

#[tokio::test]
async fn an_address_in_the_url_is_held_to_the_same_rules() {
    let client = Client::new().addresses(AddressPolicy::default());
    for address in FORBIDDEN {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let sent = client.post(&format!("https://{host}/?token=s3cret")).await;
        assert_unreachable(&sent, ErrorClass::BlockedAddress, "not on the public internet");
    }
}

#[tokio::test]
async fn the_connector_checks_addresses_that_no_url_check_has_seen() {
    let connector = Connector::new(SendSettings::default(), Script::new(&[])).unwrap();
    for address in FORBIDDEN {
        let host = HostName::Address(address.parse().unwrap());
        let place = Place { tls: false, host, port: 9, addresses: AddressPolicy::default() };
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let Err(failure) = connector.connect(&place, deadline, &mut Progress::default()).await else {
            panic!("{address} was connected to");
        };
        assert_eq!(failure.class, ErrorClass::BlockedAddress, "{address}");
    }
}

#[tokio::test]
async fn a_url_that_its_tenant_may_not_use_is_blocked() {
    let client = Client::new().addresses(AddressPolicy::default());
    for (url, reason) in [
        ("http://shop.example/?token=s3cret", "must begin with https://"),
        ("https://localhost/?token=s3cret", "not on the public internet"),
        ("https://u:p@shop.example/?token=s3cret", "user name or password"),
        ("ftp://shop.example/?token=s3cret", "must begin with https://"),
    ] {
        assert_unreachable(&client.post(url).await, ErrorClass::BlockedAddress, reason);
    }
}

#[tokio::test]
async fn a_name_that_moves_into_our_network_is_blocked_on_the_next_connect() {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let receiver = Receiver::answering(closing).await;
    let url = format!("http://shop.example:{}/", receiver.address.port());
    let names = Script::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    // Stands for a public address, which a test may not connect to.
    let client = Client::with(SendSettings::default(), names.clone()).addresses(subnets(&["127.0.0.1/32"]));

    assert_eq!(status(&client.post(&url).await), 200);
    let sent = client.post(&url).await;

    assert_unreachable(&sent, ErrorClass::BlockedAddress, "resolves to 127.0.0.2");
    assert_eq!(names.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_tried() {
    let receiver = Receiver::answering(OK).await;
    let url = format!("http://shop.example:{}/", receiver.address.port());
    let names = Script::new(&[&["10.0.0.1", "169.254.169.254", "127.0.0.1", "::1"]]);
    let client = Client::with(SendSettings::default(), names).addresses(subnets(&["127.0.0.1/32"]));

    let sent = client.post(&url).await;

    assert_eq!(status(&sent), 200);
    assert_eq!(sent.remote_address, Some(receiver.address));
}

#[tokio::test]
async fn an_address_that_fails_does_not_hide_the_next_one() {
    let receiver = Receiver::answering(OK).await;
    let url = format!("http://shop.example:{}/", receiver.address.port());
    let names = Script::new(&[&["127.0.0.2", "127.0.0.1"]]);
    let settings = SendSettings { address_patience: TIMEOUT, ..SendSettings::default() };
    let sent = Client::with(settings, names).post(&url).await;
    assert_eq!(status(&sent), 200);
    assert_eq!(sent.remote_address, Some(receiver.address));
}

#[tokio::test]
async fn a_connection_is_shared_by_equal_permissions_only() {
    let receiver = Receiver::answering(OK).await;
    let mut client = Client::new();
    let policies = [
        (loopback(), 1),
        (loopback(), 1),
        (subnets(&["127.0.0.1/32"]), 2),
        (subnets(&["127.0.0.0/8"]), 3),
        (subnets(&["127.0.0.1/32"]), 3),
        (loopback(), 3),
    ];
    for (addresses, connections) in policies {
        client.addresses = addresses;
        assert_eq!(status(&client.post(&receiver.url()).await), 200);
        assert_eq!(receiver.connections(), connections, "{:?}", client.addresses);
    }
    // Kept connections are open, but not for those who could not have opened them.
    client.addresses = subnets(&["10.0.0.0/8"]);
    assert_unreachable(&client.post(&receiver.url()).await, ErrorClass::BlockedAddress, "127.0.0.1");
}

/// Hosts in a URL that are, or could be taken for, addresses that are not public.
const SPELLINGS: [&str; 62] = [
    // 127.0.0.1 in decimal, octal, hex, in fewer parts, and with the dot that ends a full name.
    "127.0.0.1",
    "127.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "00000000177.1",
    "127.0.0.1.",
    "127.1.",
    "2130706433.",
    "127.0.0.1..",
    // In percent-encoding, and in digits and dots of other scripts.
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127%E3%80%820%E3%80%820%E3%80%821",
    "\u{2460}\u{2461}\u{2466}.\u{24ea}.\u{24ea}.\u{2460}",
    "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "127\u{ff0e}0\u{ff0e}0\u{ff0e}1",
    "127\u{ff61}0\u{ff61}0\u{ff61}1",
    "0\u{ff58}7f000001",
    "1\u{ad}27.0.0.1",
    // Zero, which connects to this machine.
    "0",
    "0.0.0.0",
    "0x0",
    "[::]",
    // IPv6, and IPv4 inside it: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:127.0.0.1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "[fe80::5efe:127.0.0.1]",
    // Unique local, site local and link local, the last with a zone too.
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "%5b::1%5d",
    // The metadata service of clouds.
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:a9fe:a9fe]",
    // This machine by its name.
    "localhost",
    "LocalHost.",
    "local%68ost",
    "\u{ff4c}ocalhost",
    "api.localhost",
];

#[tokio::test]
async fn no_spelling_of_a_private_address_passes() {
    let names = Script::new(&[&["127.0.0.1"]]);
    let client = Client::with(SendSettings::default(), names).addresses(AddressPolicy::default());
    for host in SPELLINGS {
        let url = format!("https://{host}/?token=s3cret");
        let parsed = EndpointUrl::parse(&url, &AddressPolicy::default());
        let refused =
            matches!(parsed, Err(UrlError::Blocked(_) | UrlError::BlockedName(_) | UrlError::Malformed));
        assert!(refused, "{host}: {parsed:?}");
        // What was stored under looser rules is held to those of now.
        if EndpointUrl::from_stored(&url).is_ok() {
            let sent = client.post(&url).await;
            assert_unreachable(&sent, ErrorClass::BlockedAddress, "");
            assert_eq!(sent.remote_address, None, "{host}");
        }
    }
}

#[test]
fn what_surrounds_the_host_does_not_hide_it() {
    let check = |url: &str, expected: fn(&UrlError) -> bool| {
        let parsed = EndpointUrl::parse(url, &AddressPolicy::default());
        assert!(parsed.as_ref().is_err_and(expected), "{url}: {parsed:?}");
    };
    let is_blocked = |error: &UrlError| matches!(error, UrlError::Blocked(_));
    check("https:127.0.0.1/", is_blocked);
    check("https:\\\\127.0.0.1\\", is_blocked);
    check("https:////127.0.0.1/", is_blocked);
    check("https://127.0.0.1\\@shop.example/", is_blocked);
    check("https://127.0.0.1:443/", is_blocked);
    check("https://127.0.0.1?@shop.example/", is_blocked);
    check("https://shop.example@127.0.0.1/", |error| matches!(error, UrlError::Credentials));
    check("https://shop.example%40127.0.0.1/", |error| matches!(error, UrlError::Malformed));
    check("https://127.0.0.1#@shop.example/", |error| {
        matches!(error, UrlError::Fragment | UrlError::Blocked(_))
    });
    check("https://127.0.0.1%00.shop.example/", |error| matches!(error, UrlError::Malformed));
    check("https://127.0.0.1%0d%0ahost:x/", |error| matches!(error, UrlError::Malformed));
}

/// The operating system reads spellings of addresses as names; what it makes of them is checked all the same.
#[tokio::test]
async fn names_that_the_operating_system_takes_for_addresses_are_blocked() {
    let resolver = std::sync::Arc::new(SystemResolver::default());
    let connector = Connector::new(SendSettings::default(), resolver).unwrap();
    for name in ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.1", "0", "::1", "::ffff:127.0.0.1"] {
        let host = HostName::Name(name.to_owned());
        let place = Place { tls: false, host, port: 9, addresses: AddressPolicy::default() };
        let deadline = tokio::time::Instant::now() + super::kit::PATIENCE;
        let Err(failure) = connector.connect(&place, deadline, &mut Progress::default()).await else {
            panic!("{name} was connected to");
        };
        // Not every system knows every spelling.
        assert!(matches!(failure.class, ErrorClass::BlockedAddress | ErrorClass::Dns), "{name}: {failure:?}");
    }
}

#[tokio::test]
async fn the_operating_system_knows_localhost() {
    let found = SystemResolver::default().resolve("localhost").await.unwrap();
    assert!(!found.is_empty() && found.iter().all(std::net::IpAddr::is_loopback), "{found:?}");
}
