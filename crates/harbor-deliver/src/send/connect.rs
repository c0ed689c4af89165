//! Opens connections, and only to addresses that are allowed.
//!
//! This is the guard against requests into our own network. It stands here because here nothing gets
//! past it: every new connection of every request comes this way, with a name or with an address,
//! and what is checked is the very address that is connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use harbor_model::attempt::ErrorClass;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::send::connection::Connection;
use crate::send::failure::{Failure, chain};
use crate::send::http1::Http1;
use crate::send::http2::Http2;
use crate::send::resolve::Resolve;
use crate::send::settings::SendSettings;
use crate::send::stream::Stream;
use crate::send::target::{HostName, Place};
use crate::send::tls::{SetupError, client_config};

/// Opens connections.
pub(super) struct Connector {
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    settings: SendSettings,
}

/// How far a request has come, so that a timeout can say it.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) stage: Stage,
    /// The address that is connected to, or tried.
    pub(super) remote: Option<SocketAddr>,
    /// The connection, if others use it too.
    pub(super) shared: Option<Arc<Http2>>,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Lookup,
    Connect,
    Handshake,
    Answer,
}

impl Connector {
    pub(super) fn new(settings: SendSettings, resolver: Arc<dyn Resolve>) -> Result<Self, SetupError> {
        let tls = TlsConnector::from(Arc::new(client_config(&settings)?));
        Ok(Self { resolver, tls, settings })
    }

    /// Opens a connection to `place` on which a request can be sent.
    pub(super) async fn connect(
        &self,
        place: &Place,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Connection, Failure> {
        let addresses = self.addresses(place).await?;

        progress.stage = Stage::Connect;
        let (tcp, remote) = self.connect_to_one(&addresses, deadline, progress).await?;

        progress.stage = Stage::Handshake;
        let stream = if place.tls { self.shake_hands(tcp, &place.host).await? } else { Stream::Plain(tcp) };
        if stream.is_http2() {
            return Http2::open(stream, remote, &self.settings).await.map(Connection::Http2);
        }
        Http1::open(stream, remote, &self.settings).await.map(Connection::Http1)
    }

    /// The addresses of `place` that are allowed; at least one.
    async fn addresses(&self, place: &Place) -> Result<Vec<SocketAddr>, Failure> {
        let found = match &place.host {
            HostName::Address(address) => vec![*address],
            HostName::Name(name) => self.lookup(name).await?,
        };
        let mut allowed: Vec<SocketAddr> = Vec::new();
        for address in found.iter().filter(|address| place.addresses.allows(**address)) {
            let address = SocketAddr::new(*address, place.port);
            if allowed.len() < self.settings.addresses_max && !allowed.contains(&address) {
                allowed.push(address);
            }
        }
        match (allowed.is_empty(), found.first()) {
            (false, _) => Ok(allowed),
            (true, Some(forbidden)) => Err(Failure::blocked(&place.host, *forbidden)),
            (true, None) => Err(Failure::new(ErrorClass::Dns, "the name has no address")),
        }
    }

    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        self.resolver.resolve(name).await.map_err(|error| {
            Failure::new(ErrorClass::Dns, &format!("`{name}` does not resolve: {}", chain(&error)))
        })
    }

    /// Tries the addresses in turn. The last one has all the time that is left; the others
    /// only their share of it, so that one which is silent does not use up the request's time.
    async fn connect_to_one(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        let mut failure = Failure::new(ErrorClass::Dns, "the name has no address");
        for (left, address) in (1_u32..=addresses.len() as u32).rev().zip(addresses) {
            progress.remote = Some(*address);
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / left;
            let until = if left == 1 { deadline } else { now + share.min(self.settings.address_patience) };
            match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    // Without it the end of a request may wait for an acknowledgement. It can
                    // fail only on a connection that is already broken, which the request will show.
                    let _ = tcp.set_nodelay(true);
                    return Ok((tcp, *address));
                }
                Ok(Err(error)) => failure = Failure::of_connect(&error, address),
                Err(_) => {
                    let text = format!("connecting took too long ({address})");
                    failure = Failure::new(ErrorClass::Timeout, &text);
                }
            }
        }
        Err(failure)
    }

    /// Speaks TLS with the name of the URL, whatever address it led to.
    async fn shake_hands(&self, tcp: TcpStream, host: &HostName) -> Result<Stream, Failure> {
        let name = match host {
            HostName::Address(address) => ServerName::from(*address),
            // Certificates do not write the dot that ends a full name.
            HostName::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|error| Failure::new(ErrorClass::Tls, &format!("`{name}`: {error}")))?,
        };
        let tls = self.tls.connect(name, tcp).await.map_err(|error| Failure::of_handshake(&error))?;
        Ok(Stream::Tls(Box::new(tls)))
    }
}
