//! TLS of certificate and key files, which are read again when they change.

use std::{
    fmt::Display,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};

use crate::{
    error::ViewerError,
    settings::{Settings, TlsFiles},
};

/// TLS of one address.
pub(crate) struct Tls {
    files: Files,
    /// What clients are told that is spoken (ALPN).
    protocols: &'static [&'static [u8]],
    check_time: Duration,
    state: Mutex<State>,
}

#[derive(Clone)]
struct Files {
    server: TlsFiles,
    client_ca: Option<PathBuf>,
}

struct State {
    acceptor: TlsAcceptor,
    /// What the files were when they were last read, whether they could be used or not.
    seen: Seen,
    checked: Instant,
}

/// What tells that a file is another one: also where a link leads to another file.
type Seen = Vec<Option<(u64, u64, u64, i64, i64)>>;

impl Tls {
    /// Reads the files. None if the settings name none.
    pub(crate) fn new(
        settings: &Settings,
        protocols: &'static [&'static [u8]],
    ) -> Result<Option<Self>, ViewerError> {
        let Some(server) = settings.tls.clone() else { return Ok(None) };
        let files = Files { server, client_ca: settings.tls_client_ca.clone() };
        let (seen, acceptor) = (files.seen(), files.acceptor(protocols)?);
        let state = Mutex::new(State { acceptor, seen, checked: Instant::now() });
        Ok(Some(Self { files, protocols, check_time: settings.limits.tls_check_time, state }))
    }

    /// What shakes hands with a new connection: of the files as they are now, or as they were when they could last be
    /// used.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked.elapsed() >= self.check_time {
            state.checked = Instant::now();
            let seen = self.files.seen();
            if state.seen != seen {
                state.seen = seen;
                let path = self.files.server.certificate.display();
                match self.files.acceptor(self.protocols) {
                    Ok(acceptor) => {
                        state.acceptor = acceptor;
                        tracing::info!(
                            "{path} and the files beside it have changed: new connections use them"
                        );
                    }
                    // Told once: the files must change again before they are read again.
                    Err(error) => {
                        tracing::warn!(
                            "{error}. The certificate that was read before is used until this changes"
                        );
                    }
                }
            }
        }
        state.acceptor.clone()
    }
}

impl Files {
    fn seen(&self) -> Seen {
        let TlsFiles { certificate, key } = &self.server;
        let paths = [Some(certificate), Some(key), self.client_ca.as_ref()];
        let stamp = |path: &PathBuf| {
            let file = fs::metadata(path).ok()?;
            Some((file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
        };
        paths.into_iter().flatten().map(stamp).collect()
    }

    /// The provider is given, not installed: the process may have one.
    fn acceptor(&self, protocols: &[&[u8]]) -> Result<TlsAcceptor, ViewerError> {
        let TlsFiles { certificate, key } = &self.server;
        let chain = certificates(certificate)?;
        let key_der =
            PrivateKeyDer::from_pem_file(key).map_err(|error| cannot(key, reason(&error, "private key")))?;
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| cannot(certificate, error))?;
        let verifier = self.client_ca.as_deref().map(clients_of).transpose()?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key_der).map_err(|error| {
            cannot(certificate, format!("it does not go with the key {}: {error}", key.display()))
        })?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// What tells clients with a certificate that an authority of the file has signed.
fn clients_of(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, ViewerError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(path)? {
        authorities.add(certificate).map_err(|error| cannot(path, error))?;
    }
    let provider = Arc::new(default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
        .build()
        .map_err(|error| cannot(path, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ViewerError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| cannot(path, reason(&error, "certificate")))?;
    if read.is_empty() { Err(cannot(path, none("certificate"))) } else { Ok(read) }
}

fn reason(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            "there is no such file".to_owned()
        }
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => none(wanted),
        _ => format!("it is no PEM: {error}"),
    }
}

fn none(wanted: &str) -> String {
    format!("it holds no {wanted} (PEM is needed)")
}

fn cannot(path: &Path, reason: impl Display) -> ViewerError {
    ViewerError::Tls { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_is_named() {
        let tls = TlsFiles { certificate: "/nowhere/cert.pem".into(), key: "/nowhere/key.pem".into() };
        let settings = Settings { tls: Some(tls), ..Settings::default() };
        let error = Tls::new(&settings, &[]).err().expect("there is no such file").to_string();
        assert!(error.contains("/nowhere/cert.pem") && error.contains("no such file"), "{error}");
    }
}
