//! TLS of a client: whom it trusts, and who it is.

#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};

use super::error::ClientError;

/// Files for TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities that are trusted; those of the system without it.
    pub ca: Option<PathBuf>,
    /// Certificate chain of this client, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

const CA: &str = "--ca";
const CERTIFICATE: &str = "--client-certificate";
const KEY: &str = "--client-key";

impl TlsFiles {
    /// What they say. The provider is given, not installed: the process may have one.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, ClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Start(std::io::Error::other(error)))?
            .with_root_certificates(self.roots()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(CERTIFICATE, certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(KEY, key, error))?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| wrong(CERTIFICATE, certificate, error))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, ClientError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(CA, path)? {
                    roots.add(certificate).map_err(|error| wrong(CA, path, error))?;
                }
            }
            // What cannot be read there cannot be trusted.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(flag, path, error))?;
    if chain.is_empty() {
        return Err(wrong(flag, path, "it holds no certificate (PEM is needed)"));
    }
    Ok(chain)
}

fn wrong(flag: &'static str, path: &Path, reason: impl ToString) -> ClientError {
    ClientError::TlsFile { flag, path: path.to_owned(), reason: reason.to_string() }
}
