//! Where requests go: an endpoint's URL, taken apart once.

use std::net::IpAddr;
use std::sync::Arc;

use harbor_model::address::AddressPolicy;
use harbor_model::endpoint::EndpointUrl;
use http::{HeaderValue, Uri};
use url::{Host, Position};

/// An endpoint's URL and what it may resolve to, ready to be used by every request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Target(Arc<Result<Route, String>>);

/// The parts of a URL that may be asked.
#[derive(Debug)]
pub(super) struct Route {
    /// What connections are opened to.
    pub(super) place: Arc<Place>,
    /// The value of the `host` header.
    pub(super) host: HeaderValue,
    /// Path and query, as HTTP/1.1 asks for them.
    pub(super) path: Uri,
    /// The whole URL, as HTTP/2 asks for it.
    pub(super) whole: Uri,
}

/// What connections are opened to, and shared by: nobody may use one that another's permission opened.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Whether TLS is spoken.
    pub(super) tls: bool,
    /// Whom to ask.
    pub(super) host: HostName,
    /// At which port.
    pub(super) port: u16,
    /// Which addresses the host may have.
    pub(super) addresses: AddressPolicy,
}

/// A host as it stands in a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum HostName {
    /// An address, in whatever spelling.
    Address(IpAddr),
    /// A name to be resolved.
    Name(String),
}

impl Target {
    /// Prepares a URL that may connect to what `addresses` allows.
    ///
    /// A URL that may not be asked makes a target too: every request to it is answered as blocked.
    pub fn new(url: &EndpointUrl, addresses: &AddressPolicy) -> Self {
        Self(Arc::new(prepare(url, addresses)))
    }

    /// The path and query that are asked for; empty for a URL that may not be asked.
    pub fn path(&self) -> &str {
        self.route().map_or("", |route| route.path.path_and_query().map_or("", |path| path.as_str()))
    }

    /// The route, or why there is none.
    pub(super) fn route(&self) -> Result<&Route, &str> {
        match &*self.0 {
            Ok(route) => Ok(route),
            Err(refusal) => Err(refusal),
        }
    }
}

fn prepare(url: &EndpointUrl, addresses: &AddressPolicy) -> Result<Route, String> {
    url.check(addresses).map_err(|error| format!("the URL may not be asked: {error}"))?;

    let url = url.url();
    let host = match url.host() {
        Some(Host::Ipv4(v4)) => HostName::Address(IpAddr::V4(v4)),
        Some(Host::Ipv6(v6)) => HostName::Address(IpAddr::V6(v6)),
        Some(Host::Domain(name)) => HostName::Name(name.to_owned()),
        None => return Err("the URL has no host".to_owned()),
    };
    let port = url.port_or_known_default().ok_or("the URL has no port")?;
    // The default port is left out, as browsers do; `url` has already dropped it.
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let path = &url[Position::BeforePath..Position::AfterQuery];
    let malformed = |_| "the URL cannot stand in a request".to_owned();

    Ok(Route {
        place: Arc::new(Place { tls: url.scheme() == "https", host, port, addresses: addresses.clone() }),
        host: HeaderValue::try_from(authority).map_err(|_| "the host cannot stand in a request")?,
        path: Uri::try_from(path).map_err(malformed)?,
        whole: Uri::try_from(&url[..Position::AfterQuery]).map_err(malformed)?,
    })
}
