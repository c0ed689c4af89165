//! Whom we trust over TLS.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tracing::{debug, warn};

use crate::send::settings::SendSettings;
use crate::send::stream::ALPN_HTTP2;

/// Says why a sender cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A setting cannot work.
    #[error("{0}")]
    Settings(&'static str),
    /// The extra certificates are not PEM, or not certificates.
    #[error("extra_roots_pem holds no certificate that can be read: {0}")]
    ExtraRoots(String),
    /// The cryptography that TLS needs is not there.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Prepares TLS 1.2 and 1.3 with the operating system's roots and the extra ones.
pub(super) fn client_config(settings: &SendSettings) -> Result<ClientConfig, SetupError> {
    let mut roots = native_roots();
    if let Some(pem) = &settings.extra_roots_pem {
        add_extra_roots(&mut roots, pem)?;
    }
    if roots.is_empty() {
        warn!("no trusted root certificate was found: every https endpoint will fail");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(settings.tls_sessions_max);
    Ok(config)
}

fn native_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(error = %error, "some trusted root certificates could not be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    debug!(added, ignored, "trusting {added} root certificates of the operating system");
    roots
}

fn add_extra_roots(roots: &mut RootCertStore, pem: &str) -> Result<(), SetupError> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| SetupError::ExtraRoots(error.to_string()))?;
        roots.add(certificate).map_err(|error| SetupError::ExtraRoots(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(SetupError::ExtraRoots("no PEM section".to_owned()));
    }
    Ok(())
}
