//! HTTPS by the endpoint itself: certificate and key are files, read again when they change, as when cert-manager renews them.

use crate::config;
use crate::shell::files;
use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// How long a certificate counts as it was read, where somebody comes.
const FRESH: Duration = Duration::from_secs(10);

/// Accepts connections by TLS 1.2 and 1.3.
///
/// # Errors
/// The certificate or its key can't be read, or don't belong together.
pub fn acceptor(setting: &config::Tls) -> Result<TlsAcceptor> {
    let identity = Identity::read(setting)?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(identity));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Who the endpoint is.
#[derive(Debug)]
struct Identity {
    setting: config::Tls,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    read: Instant,
    bytes: [Vec<u8>; 2],
    key: Arc<CertifiedKey>,
}

impl Identity {
    fn read(setting: &config::Tls) -> Result<Self> {
        let bytes = bytes(setting)?;
        let key = parse(setting, &bytes)?;
        Ok(Self { setting: setting.clone(), known: Mutex::new(Known { read: Instant::now(), bytes, key }) })
    }

    /// What the files say now. While they can't be read, or one is of before and the other of after, what was known counts.
    fn now(&self) -> Arc<CertifiedKey> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.read.elapsed() > FRESH {
            known.read = Instant::now();
            let news = bytes(&self.setting).and_then(|bytes| {
                let changed = bytes != known.bytes;
                Ok(if changed { Some((parse(&self.setting, &bytes)?, bytes)) } else { None })
            });
            match news {
                Ok(Some((key, bytes))) => {
                    tracing::info!("the endpoint has another certificate");
                    (known.key, known.bytes) = (key, bytes);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "failed to read the certificate again; the old one stays");
                }
            }
        }
        Arc::clone(&known.key)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

fn bytes(setting: &config::Tls) -> Result<[Vec<u8>; 2]> {
    Ok([files::read(&setting.certificate)?, files::read(&setting.key)?])
}

fn parse(setting: &config::Tls, [certificate, key]: &[Vec<u8>; 2]) -> Result<Arc<CertifiedKey>> {
    let of = |path: &Path| format!("failed to read {} as PEM", path.display());
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| of(&setting.certificate))?;
    anyhow::ensure!(!chain.is_empty(), "there is no certificate in {}", setting.certificate.display());
    let key = PrivateKeyDer::from_pem_slice(key).with_context(|| of(&setting.key))?;
    let provider = CryptoProvider::get_default().context("no cryptography is set up")?;
    let key = CertifiedKey::from_der(chain, key, provider)
        .with_context(|| format!("failed to use {} with {}", setting.certificate.display(), setting.key.display()))?;
    Ok(Arc::new(key))
}

/// A connection, in the clear or by TLS. The greeting is part of reading, so that it has the patience of a request.
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Before the keys are agreed.
    Greeting(Box<Accept<TcpStream>>),
    /// By TLS.
    Secure(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// One that has just come.
    pub fn new(stream: TcpStream, tls: Option<&TlsAcceptor>) -> Self {
        match tls {
            Some(tls) => Self::Greeting(Box::new(tls.accept(stream))),
            None => Self::Plain(stream),
        }
    }

    fn greeted(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if let Self::Greeting(accept) = self {
            *self = Self::Secure(Box::new(ready!(Pin::new(accept.as_mut()).poll(context))?));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(self.greeted(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_read(context, into),
            Self::Greeting(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        ready!(self.greeted(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
            Self::Greeting(_) => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_flush(context),
            Self::Greeting(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            // nothing was agreed that could be ended
            Self::Greeting(_) => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: [&[u8]; 2] = [
        include_bytes!("../../../tests/fixtures/tls/first.crt"),
        include_bytes!("../../../tests/fixtures/tls/first.key"),
    ];
    const SECOND: [&[u8]; 2] = [
        include_bytes!("../../../tests/fixtures/tls/second.crt"),
        include_bytes!("../../../tests/fixtures/tls/second.key"),
    ];

    #[test]
    #[expect(clippy::disallowed_methods, reason = "certificates in files")]
    fn a_new_certificate_is_taken_once_its_key_is_there() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let setting = config::Tls { certificate: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
        let write = |certificate: &[u8], key: &[u8]| {
            std::fs::write(&setting.certificate, certificate).unwrap();
            std::fs::write(&setting.key, key).unwrap();
        };
        let failed = || format!("{:#}", Identity::read(&setting).unwrap_err());
        assert!(failed().contains("tls.crt"));
        write(b"", FIRST[1]);
        assert!(failed().contains("no certificate"));
        write(FIRST[0], SECOND[1]);
        assert!(failed().contains("failed to use"));
        write(FIRST[0], FIRST[1]);
        let identity = Identity::read(&setting).unwrap();
        let first = identity.now();
        let later = || {
            let mut known = identity.known.lock().unwrap();
            known.read = known.read.checked_sub(FRESH + Duration::from_secs(1)).unwrap();
            drop(known);
            identity.now().cert.clone()
        };
        // only one of both is new yet
        write(SECOND[0], FIRST[1]);
        assert_eq!(later(), first.cert);
        write(SECOND[0], SECOND[1]);
        let second = later();
        assert_ne!(second, first.cert);
        std::fs::remove_file(&setting.key).unwrap();
        assert_eq!(later(), second);
    }
}
