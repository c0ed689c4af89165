//! A certificate authority made for one run, and the receiver's certificate from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

/// What the receiver proves who it is with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    certificate_pem: String,
    key_pem: String,
    /// Whether HTTP/2 is offered, and then preferred.
    pub is_http2: bool,
}

impl Identity {
    /// Makes an authority, whose certificate goes to a file in the folder, and an identity for the loopback address.
    pub(crate) fn make(folder: &Path, is_http2: bool) -> Result<(Self, PathBuf)> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        authority.distinguished_name.push(DnType::CommonName, "harbor-bench");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let roots = folder.join("roots.pem");
        std::fs::write(&roots, authority.pem())?;

        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        Ok((Self { certificate_pem, key_pem, is_http2 }, roots))
    }

    /// Makes what accepts connections with this identity.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor> {
        let certificate = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())
            .context("the certificate cannot be read")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).context("the key cannot be read")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        if self.is_http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_accepted_by_the_library_that_uses_it() {
        let folder = tempfile::tempdir().unwrap();
        let (identity, roots) = Identity::make(folder.path(), true).unwrap();
        identity.acceptor().unwrap();
        let roots = std::fs::read_to_string(roots).unwrap();
        assert!(roots.contains("BEGIN CERTIFICATE"), "{roots}");
        assert!(!roots.contains("PRIVATE KEY"), "the authority's key stays in memory");
    }
}
