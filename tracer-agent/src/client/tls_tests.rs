//! A client and a real viewer, by TLS.

#![forbid(unsafe_code)]

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tracer_model::answer::StatusAnswer;
use tracer_store::{Limits, Store};
use tracer_viewer::{Settings, Viewer};

use super::*;

/// Files of an authority, and of two keys that it has signed: one of a server and one of a client.
struct Files(std::path::PathBuf);

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("tracer-client-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
        write("ca.pem", ca.pem());
        for (name, host) in [("server", "127.0.0.1"), ("client", "a-client")] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
            write(&format!("{name}.pem"), params.signed_by(&key, &ca).expect("signed").pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_viewer_is_reached_by_tls_if_each_trusts_the_other() {
    let files = Files::new();
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        otlp_grpc: None,
        otlp_http: None,
        tls: Some(tracer_viewer::TlsFiles {
            certificate: files.path("server.pem"),
            key: files.path("server.key"),
        }),
        tls_client_ca: Some(files.path("ca.pem")),
        ..Settings::default()
    };
    let viewer =
        Viewer::start(settings, Arc::new(Store::in_memory(Limits::default())), None).expect("a viewer");
    let url = viewer.addresses().url.clone();
    let ask = |url: &str, ca: Option<&str>, client: Option<&str>| {
        let file = |name: &str| files.path(name);
        let identity = client.map(|name| (file(&format!("{name}.pem")), file(&format!("{name}.key"))));
        let tls = TlsFiles { ca: ca.map(file), identity };
        let client = Client::of_viewer(Some(url), None, &tls)?;
        // The second question goes over the same connection.
        client.get::<StatusAnswer>("/api/tracer/status", &[])?;
        client.get::<StatusAnswer>("/api/tracer/status", &[])
    };
    let told = |answer: Result<StatusAnswer, ClientError>| answer.expect_err("refused").to_string();
    assert_eq!(ask(&url, Some("ca.pem"), Some("client")).expect("an answer").store.spans, 0);
    let stranger = told(ask(&url, None, Some("client")));
    assert!(stranger.ends_with("name the certificate of its authority by --ca"), "{stranger}");
    let unknown = told(ask(&url, Some("ca.pem"), None));
    assert!(unknown.contains("give --client-certificate and --client-key"), "{unknown}");
    let named = told(ask(&url.replace("127.0.0.1", "localhost"), Some("ca.pem"), Some("client")));
    assert!(named.contains("by a name of its certificate"), "{named}");
    let plain = told(ask(&url.replace("https://", "http://"), None, None));
    assert!(plain.contains("does it speak TLS? Then its address begins with https://"), "{plain}");
    let missing = told(ask(&url, Some("none.pem"), None));
    assert!(missing.starts_with("--ca ") && missing.contains("none.pem: "), "{missing}");
    let keyless = told(ask(&url, Some("client.key"), None));
    assert!(keyless.ends_with("it holds no certificate (PEM is needed)"), "{keyless}");
}
