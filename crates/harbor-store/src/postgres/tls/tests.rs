use std::io::ErrorKind;
use std::path::Path;

use harbor_model::secret::Secret;
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server that takes TLS, reads who calls, and hangs up.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: String,
}

impl Server {
    async fn start() -> Self {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate: made.cert.pem(),
        }
    }

    /// What the caller says first under TLS.
    async fn hear(&self) -> std::io::Result<Vec<u8>> {
        let (mut stream, _) = self.listener.accept().await?;
        let mut request = [0; 8];
        stream.read_exact(&mut request).await?;
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "it asks for TLS");
        stream.write_all(b"S").await?;
        let mut secured = self.acceptor.accept(stream).await?;
        let mut said = vec![0; 1024];
        let length = secured.read(&mut said).await?;
        said.truncate(length);
        if said.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(said) }
    }

    /// What it hears of a client that is told this.
    async fn called_with(&self, host: &str, query: &str) -> std::io::Result<String> {
        let port = self.listener.local_addr().unwrap().port();
        let url = Secret::new(format!("postgres://hook@{host}:{port}/hook?hostaddr=127.0.0.1&{query}"));
        let address = Address::parse(&url).unwrap();
        let connecting = address.config.connect(Tls::new(&address).unwrap());
        let (heard, connected) = tokio::join!(self.hear(), connecting);
        assert!(connected.is_err(), "nobody answers");
        heard.map(|said| String::from_utf8_lossy(&said).into_owned())
    }
}

fn in_file(directory: &Path, certificate: &str) -> String {
    let path = directory.join("ca.pem");
    std::fs::write(&path, certificate).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn only_who_verifies_holds_the_certificate_against_something() {
    let server = Server::start().await;
    let said = server.called_with("localhost", "sslmode=require").await.unwrap();
    assert!(said.contains("hook"), "{said}");
    assert!(server.called_with("localhost", "sslmode=verify-full").await.is_err());
}

#[tokio::test]
async fn a_certificate_of_the_file_is_taken_for_its_name_alone() {
    let server = Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    let query = format!("sslmode=verify-full&sslrootcert={}", in_file(directory.path(), &server.certificate));
    assert!(server.called_with("localhost", &query).await.is_ok());
    assert!(server.called_with("db.example", &query).await.is_err());

    let other = Server::start().await;
    assert!(other.called_with("localhost", &query).await.is_err());
}
