//! A repository of a test's own at the kit's forge, and the forge by HTTPS where pods reach it.

use super::ask::{get_json, request};
use super::kit::{Forge, kit, on_host};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// A repository, deleted with its test.
pub struct Repository {
    /// `owner/name`.
    pub path: String,
    /// The forge's API.
    pub api: String,
    forge: &'static Forge,
}

impl Repository {
    /// An empty one of this name, which ends with the id of this process; those of runs that were killed go.
    pub fn new(forge: &'static Forge, name: &str) -> Self {
        let new = Self { path: format!("{}/{name}", forge.user), api: format!("{}/api/v1", forge.url), forge };
        let all = get_json(&format!("{}/repos/search?q=e2e-&limit=50", new.api)).unwrap_or_default();
        for left in all["data"].as_array().into_iter().flatten().filter_map(|one| one["full_name"].as_str()) {
            let of = left.rsplit('-').next().unwrap_or_default();
            if left.contains("/e2e-") && !Path::new(&format!("/proc/{of}")).exists() {
                new.ask("DELETE", &format!("repos/{left}"), "");
            }
        }
        let (status, text) = new.ask("POST", "user/repos", &format!("{{\"name\":\"{name}\"}}"));
        assert_eq!(status, 201, "{text}");
        new
    }

    /// Asks the forge's API.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let bearer = format!("token {}", self.token());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        request(method, &format!("{}/{path}", self.api), &headers, body)
    }

    /// The token of its owner.
    pub fn token(&self) -> String {
        std::fs::read_to_string(&self.forge.token).unwrap().trim().to_owned()
    }

    /// The password of its owner.
    pub fn password(&self) -> String {
        std::fs::read_to_string(&self.forge.password).unwrap().trim().to_owned()
    }

    /// Where a developer pushes to.
    pub fn remote(&self) -> String {
        let who = format!("://{}:{}@", self.forge.user, self.password());
        format!("{}/{}.git", self.forge.url.replacen("://", &who, 1), self.path)
    }

    /// States and descriptions of a commit's statuses, in their order.
    pub fn statuses(&self, sha: &str) -> Vec<(String, String)> {
        let list = get_json(&format!("{}/repos/{}/commits/{sha}/statuses", self.api, self.path)).unwrap_or_default();
        let mut rows: Vec<_> = list.as_array().cloned().unwrap_or_default();
        rows.sort_by_key(|row| row["id"].as_i64());
        let word = |text: &serde_json::Value| text.as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (word(&row["status"]), word(&row["description"]))).collect()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.ask("DELETE", &format!("repos/{}", self.path), "");
    }
}

/// The forge by HTTPS at the node's address, while it lives: on loopback no pod reaches it, and hks lets no credential travel in the
/// clear. Its certificate is of the kit's authority.
pub struct Encrypted {
    /// Where it is.
    pub url: String,
    _runtime: Runtime,
}

impl Encrypted {
    pub fn new(forge: &Forge, folder: &Path) -> Self {
        let node = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
        let address = on_host(&["get", "nodes", "-o", node]);
        let config = Arc::new(server(&address, folder));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind((address, 0))).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let plain = forge.url.trim_start_matches("http://").to_owned();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, plain) = (TlsAcceptor::from(Arc::clone(&config)), plain.clone());
                tokio::spawn(async move {
                    let (mut outer, mut inner) = (acceptor.accept(stream).await?, TcpStream::connect(plain).await?);
                    copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
        Self { url, _runtime: runtime }
    }
}

fn server(address: &str, folder: &Path) -> ServerConfig {
    let (_, authority) = kit().tls.as_ref().expect("the kit's authority");
    let (key, certificate) = (folder.join("forge.key"), folder.join("forge.crt"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=forge", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", &format!("subjectAltName=IP:{address}"), "-CA"])
        .arg(authority)
        .arg("-CAkey")
        .arg(authority.with_extension("key"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
}
