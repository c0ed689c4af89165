//! Endpoints: URLs that want events.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

use crate::address::AddressPolicy;
use crate::header::CustomHeader;
use crate::id::{EndpointId, TenantId};
use crate::policy::PolicyLayer;
use crate::secret::TimedSecret;
use crate::time::Timestamp;

/// A URL that wants events, with its secrets, policy and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Names it.
    pub id: EndpointId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Where requests go.
    pub url: EndpointUrl,
    /// What signs requests, newest first; at least one has no end.
    pub secrets: Vec<TimedSecret>,
    /// What it adds to requests.
    pub headers: Vec<CustomHeader>,
    /// What it sets for itself.
    pub policy: PolicyLayer,
    /// For programs.
    pub metadata: BTreeMap<String, String>,
    /// Whether new deliveries wait.
    pub paused: bool,
    /// At which rate what waited drains since it was resumed, until it has.
    pub drain: Option<Drain>,
    /// Why it gets no events, if it gets none.
    pub disabled: Option<DisabledReason>,
    /// When it was last enabled, while deliveries from before may be open: they get no more attempts. For
    /// stores to set.
    pub enabled_at: Option<Timestamp>,
    /// Raised by every change; guards changes against each other.
    pub version: u64,
    /// The version at which `url` last changed: a 410 speaks for that URL alone.
    pub url_version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Endpoint {
    /// Whether a delivery that was made then was open when the endpoint was disabled: it dies, though the
    /// endpoint is enabled again.
    pub fn was_disabled_since(&self, made_at: Timestamp) -> bool {
        self.enabled_at.is_some_and(|enabled_at| made_at < enabled_at)
    }
}

/// The rate at which an endpoint takes what waited in the store while it was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Deliveries per second; at least 1.
    pub per_second: u32,
    /// When it was resumed. The drain ends when nothing waits any more that was due before.
    pub since: Timestamp,
}

/// Why an endpoint is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledReason {
    /// Someone asked for it.
    Manual,
    /// It answered 410.
    Gone,
    /// Nothing but failures came from it for days.
    Failing,
}

impl DisabledReason {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Manual, Self::Gone, Self::Failing].into_iter().find(|reason| reason.as_str() == name)
    }
}

/// The most bytes in an endpoint's URL.
pub const URL_BYTES_MAX: usize = 2048;

/// A URL that may be asked, as far as its text can tell. What its name resolves to is checked on every connect.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Arc<Url>);

/// Says why a URL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The text is no absolute URL with a host.
    #[error("must be an absolute URL like https://example.com/webhooks")]
    Malformed,
    /// The text is too long.
    #[error("must be at most 2048 bytes")]
    TooLong,
    /// Another scheme than https.
    #[error("must begin with https://")]
    HttpsOnly,
    /// The URL holds a user name or a password.
    #[error("must not hold a user name or password; use a header")]
    Credentials,
    /// The URL has a fragment, which no request carries.
    #[error("must not have a fragment")]
    Fragment,
    /// The host is an address that we do not connect to.
    #[error("address {0} is not allowed: it is not on the public internet")]
    Blocked(IpAddr),
    /// The host is a name for this machine.
    #[error("`{0}` is not allowed: it is not on the public internet")]
    BlockedName(String),
}

impl EndpointUrl {
    /// Reads a URL and holds it against the rules of `policy`.
    pub fn parse(text: &str, policy: &AddressPolicy) -> Result<Self, UrlError> {
        let url = Self::from_stored(text)?;
        url.check(policy)?;
        Ok(url)
    }

    /// Reads a URL that was checked when it was written.
    pub fn from_stored(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        // The parser would trim blanks and drop line ends; what is stored is what was written.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Malformed);
        }
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        if !url.has_host() {
            return Err(if matches!(url.scheme(), "http" | "https") {
                UrlError::Malformed
            } else {
                UrlError::HttpsOnly
            });
        }
        Ok(Self(Arc::new(url)))
    }

    /// Holds the URL against the rules of `policy`, which may have changed since it was written.
    pub fn check(&self, policy: &AddressPolicy) -> Result<(), UrlError> {
        let url = &self.0;
        match url.scheme() {
            "https" => {}
            "http" if policy.http => {}
            _ => return Err(UrlError::HttpsOnly),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        // `url` has already read every spelling of an IPv4 address: decimal, octal, hex and short.
        let address = match url.host().ok_or(UrlError::Malformed)? {
            Host::Ipv4(v4) => IpAddr::V4(v4),
            Host::Ipv6(v6) => IpAddr::V6(v6),
            Host::Domain(name) => return check_name(name, policy),
        };
        if policy.allows(address) { Ok(()) } else { Err(UrlError::Blocked(address)) }
    }

    /// The parsed URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Early word on names that are known to mean this machine; the connector has the last.
fn check_name(name: &str, policy: &AddressPolicy) -> Result<(), UrlError> {
    let bare = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // An empty label stands in no name, but it can hide an address: `127.0.0.1..`.
    if bare.split('.').any(str::is_empty) {
        return Err(UrlError::Malformed);
    }
    let is_local = bare == "localhost" || bare.ends_with(".localhost");
    if is_local && !policy.loopback {
        return Err(UrlError::BlockedName(bare));
    }
    Ok(())
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a token.
        write!(f, "{}", self.0.host_str().unwrap_or("?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_https_urls_are_taken() {
        let strict = AddressPolicy::default();
        let check = |text: &str, expected: Result<(), &str>| {
            let found = EndpointUrl::parse(text, &strict);
            let found = found.map(|_| ()).map_err(|error| error.to_string());
            match expected {
                Ok(()) => assert_eq!(found, Ok(()), "{text}"),
                Err(part) => {
                    assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{text}: {found:?}")
                }
            }
        };
        check("https://example.com/hooks?a=1", Ok(()));
        check("https://example.com:8443", Ok(()));
        check("https://1.1.1.1/", Ok(()));
        check("http://example.com/", Err("https://"));
        check("ftp://example.com/", Err("https://"));
        check("javascript:alert(1)", Err("https://"));
        check("example.com", Err("absolute URL"));
        check("/hooks", Err("absolute URL"));
        check("", Err("absolute URL"));
        check("https://", Err("absolute URL"));
        check(" https://example.com", Err("absolute URL"));
        check("https://example.com/\n", Err("absolute URL"));
        check("https://user:pw@example.com/", Err("password"));
        check("https://example.com/#top", Err("fragment"));
        check("https://localhost/", Err("public internet"));
        check("https://api.localhost./", Err("public internet"));
        check("https://example.com./", Ok(()));
        for empty_label in
            ["example.com..", "example..com", ".example.com", ".", "127.0.0.1..", "localhost.."]
        {
            check(&format!("https://{empty_label}/"), Err("absolute URL"));
        }
        for private in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "0",
            "10.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[fd00:ec2::254]",
            "192.168.0.1",
            "①②⑦.0.0.1",
        ] {
            check(&format!("https://{private}/"), Err("public internet"));
        }
        check(&format!("https://example.com/{}", "x".repeat(2048)), Err("2048"));
    }

    #[test]
    fn dev_opens_loopback_and_http_but_not_the_private_network() {
        let dev = AddressPolicy { http: true, loopback: true, ..AddressPolicy::default() };
        assert!(EndpointUrl::parse("http://127.0.0.1:8081/", &dev).is_ok());
        assert!(EndpointUrl::parse("http://localhost:8081/", &dev).is_ok());
        assert!(EndpointUrl::parse("http://10.0.0.1/", &dev).is_err());
        assert!(EndpointUrl::parse("http://169.254.169.254/", &dev).is_err());
    }
}
