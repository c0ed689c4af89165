//! Receivers behind TLS.

use std::sync::Arc;

use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::kit::{Accepted, Client, Receiver, Script, TIMEOUT, assert_unreachable, status};
use crate::send::settings::SendSettings;
use crate::send::tls::SetupError;
use crate::send::tls::client_config;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An authority that signs the certificates of receivers.
pub(super) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::named("authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A client that trusts it and finds every name on loopback.
    pub(super) fn client(&self) -> Client {
        self.client_with(SendSettings::default())
    }

    /// The same with these settings.
    pub(super) fn client_with(&self, settings: SendSettings) -> Client {
        let settings = SendSettings { extra_roots_pem: Some(self.certificate.pem()), ..settings };
        Client::with(settings, Script::new(&[&["127.0.0.1"]]))
    }

    /// What a receiver needs to be `name`, or what `change` makes of it.
    pub(super) fn acceptor(&self, name: &str, alpn: &str, change: fn(&mut CertificateParams)) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(&certificate, &key, alpn)
    }

    /// What a receiver needs that serves only clients with a certificate of this authority.
    fn acceptor_of_known_clients(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        serve_as(&certificate, &key, clients, "")
    }
}

fn acceptor(certificate: &Certificate, key: &KeyPair, alpn: &str) -> TlsAcceptor {
    serve_as(certificate, key, Arc::new(NoClientAuth), alpn)
}

fn serve_as(
    certificate: &Certificate,
    key: &KeyPair,
    clients: Arc<dyn ClientCertVerifier>,
    alpn: &str,
) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.split_whitespace().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Does `serve` with each connection whose handshake succeeds.
pub(super) async fn start_tls<F, Fut>(acceptor: TlsAcceptor, serve: F) -> Receiver
where
    F: Fn(Accepted<TlsStream<TcpStream>>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Receiver::start(move |accepted: Accepted| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Some(accepted) = accepted.shake_hands(&acceptor).await {
                serve(accepted).await;
            }
        }
    })
    .await
}

async fn answer(mut accepted: Accepted<TlsStream<TcpStream>>) {
    while accepted.request().await.is_some() && accepted.write(OK).await {}
}

fn url(host: &str, receiver: &Receiver) -> String {
    format!("https://{host}:{}/hooks?token=s3cret", receiver.address.port())
}

#[tokio::test]
async fn a_trusted_receiver_is_asked_over_one_kept_connection() {
    let authority = Authority::new();
    for alpn in ["", "http/1.1"] {
        let receiver = start_tls(authority.acceptor("shop.example", alpn, |_| {}), answer).await;
        let client = authority.client();
        // A full name may end in a dot; certificates do not.
        for host in ["shop.example", "shop.example", "shop.example."] {
            let sent = client.post(&url(host, &receiver)).await;
            assert_eq!((status(&sent), &sent.response_body[..]), (200, &b"ok"[..]));
            assert_eq!(sent.remote_address, Some(receiver.address));
        }
        assert_eq!((receiver.connections(), receiver.requests().len()), (2, 3));
    }
}

#[tokio::test]
async fn an_address_is_verified_as_an_address() {
    let authority = Authority::new();
    let receiver = start_tls(authority.acceptor("127.0.0.1", "", |_| {}), answer).await;
    assert_eq!(status(&authority.client().post(&url("127.0.0.1", &receiver)).await), 200);
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_refused() {
    let authority = Authority::new();
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    };
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    let self_signed = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    for (tls, reason) in [
        (authority.acceptor("shop.example", "", expired), "the certificate has expired"),
        (authority.acceptor("shop.example", "", early), "the certificate is not valid yet"),
        (authority.acceptor("bank.example", "", |_| {}), "the certificate is for another name"),
        (
            Authority::named("other").acceptor("shop.example", "", |_| {}),
            "the certificate's issuer is not trusted",
        ),
        (
            acceptor(&self_signed.cert, &self_signed.signing_key, ""),
            "the certificate's issuer is not trusted",
        ),
    ] {
        let receiver = start_tls(tls, answer).await;
        let sent = authority.client().post(&url("shop.example", &receiver)).await;
        assert_unreachable(&sent, ErrorClass::Tls, reason);
        assert_eq!(sent.remote_address, Some(receiver.address));
        assert!(receiver.requests().is_empty());
    }
}

#[tokio::test]
async fn what_is_not_tls_is_a_tls_failure() {
    let plain = Receiver::start(|mut accepted: Accepted| async move {
        accepted.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        accepted.closed().await;
    })
    .await;
    let closing = Receiver::start(|_accepted: Accepted| async {}).await;
    for (receiver, reason) in [(plain, "TLS failed: "), (closing, "in the TLS handshake")] {
        let sent = Client::with(SendSettings::default(), Script::new(&[&["127.0.0.1"]]))
            .post(&url("shop.example", &receiver))
            .await;
        let class = match sent.outcome {
            // A receiver that closes before it has read the greeting resets the connection.
            Outcome::Unreachable(ErrorClass::ConnectionReset) => ErrorClass::ConnectionReset,
            _ => ErrorClass::Tls,
        };
        assert_unreachable(&sent, class, reason);
    }
}

/// A server's hello of this version, with a cipher suite of that time.
fn server_hello(version: [u8; 2], cipher_suite: [u8; 2]) -> Vec<u8> {
    let random = [7; 32];
    let hello = [&version[..], &random, &[0], &cipher_suite, &[0]].concat();
    let length = u16::try_from(hello.len()).unwrap();
    let handshake = [&[2, 0][..], &length.to_be_bytes(), &hello].concat();
    let length = u16::try_from(handshake.len()).unwrap();
    [&[22][..], &version, &length.to_be_bytes(), &handshake].concat()
}

#[tokio::test]
async fn versions_of_tls_before_1_2_are_refused() {
    let ecdhe_rsa_aes_128_cbc_sha = [0xc0, 0x13];
    for version in [[3, 0], [3, 1], [3, 2]] {
        let receiver = Receiver::start(move |mut accepted: Accepted| async move {
            accepted.write(&server_hello(version, ecdhe_rsa_aes_128_cbc_sha)).await;
            accepted.closed().await;
        })
        .await;
        let sent = Authority::new().client().post(&url("shop.example", &receiver)).await;
        assert_unreachable(&sent, ErrorClass::Tls, "TLS failed: ");
    }
}

#[tokio::test]
async fn a_handshake_without_end_ends_at_the_timeout() {
    for flood in [
        // Server hellos, whole or of 16 MiB.
        server_hello([3, 3], [0xc0, 0x2f]),
        [&[22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff][..], &[0; 0x3ffc]].concat(),
        // Records that change the cipher, warn, or hold nothing.
        vec![20, 3, 3, 0, 1, 1],
        vec![21, 3, 3, 0, 2, 1, 90],
        vec![22, 3, 3, 0, 0],
        // A byte now and then, of a record that is long.
        vec![22],
    ] {
        let is_trickle = flood.len() == 1;
        let receiver = Receiver::start(move |mut accepted: Accepted| {
            let flood = if is_trickle { flood.clone() } else { flood.repeat(20) };
            async move {
                if is_trickle {
                    accepted.write(&[22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc]).await;
                }
                while accepted.write(&flood).await {
                    tokio::time::sleep(std::time::Duration::from_millis(u64::from(is_trickle))).await;
                }
            }
        })
        .await;
        let began = std::time::Instant::now();
        let sent = Authority::new().client().timeout(TIMEOUT).post(&url("shop.example", &receiver)).await;
        let allowed = [ErrorClass::Timeout, ErrorClass::Tls, ErrorClass::ConnectionReset];
        assert!(allowed.map(Outcome::Unreachable).contains(&sent.outcome), "{sent:?}");
        assert!(began.elapsed() < TIMEOUT * 10, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn the_deadline_covers_the_handshake() {
    let receiver = Receiver::start(|accepted: Accepted| accepted.closed()).await;
    let client = Authority::new().client().timeout(TIMEOUT);
    let sent = client.post(&url("shop.example", &receiver)).await;
    let text = format!("no answer within 200ms: still in the handshake with {}", receiver.address);
    assert_unreachable(&sent, ErrorClass::Timeout, &text);
}

#[tokio::test]
async fn a_receiver_that_asks_for_our_certificate_refuses_us() {
    let authority = Authority::new();
    let tls = authority.acceptor_of_known_clients("shop.example");
    let receiver = start_tls(tls, answer).await;
    let sent = authority.client().post(&url("shop.example", &receiver)).await;
    assert_unreachable(&sent, ErrorClass::Tls, "TLS failed: ");
}

#[tokio::test]
async fn extra_roots_that_cannot_be_read_are_refused() {
    for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let settings = SendSettings { extra_roots_pem: Some(pem.to_owned()), ..SendSettings::default() };
        let found = client_config(&settings);
        assert!(matches!(found, Err(SetupError::ExtraRoots(_))), "{pem}: {:?}", found.err());
    }
}
