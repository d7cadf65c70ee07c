//! Public addresses: whether they answer.

use crate::machine::{Certificate, Probed};
use crate::manifest::PublicUrl;
use crate::shell::cluster::failure::root;
use jiff::Timestamp;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use x509_cert::der::Decode as _;

/// Longest wait for an answer of a public address.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are compared with another one: whoever answers may send without end.
const MOST_COMPARED: usize = 64 << 10;

/// An HTTP client for public addresses. Names under `.localhost` are this machine (RFC 6761, section 6.3), which the
/// system's resolver does not always know.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(Resolver))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .tls_info(true)
        .user_agent(concat!("hks/", env!("CARGO_PKG_VERSION")))
        .build()
}

struct Resolver;

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let host = name.as_str();
            if host == "localhost" || host.ends_with(".localhost") {
                let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
                return Ok(Box::new(std::iter::once(here)) as reqwest::dns::Addrs);
            }
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// Whether all addresses are live.
pub async fn probe(http: &reqwest::Client, urls: &[PublicUrl]) -> Probed {
    let mut first: Option<Certificate> = None;
    for url in urls {
        for check in &url.checks {
            let address = format!("{}{check}", url.url);
            let certificate = answers(http, &address).await.map_err(|message| (address, message))?;
            let Some((from, until)) = certificate.as_deref().and_then(validity) else { continue };
            if first.as_ref().is_none_or(|first| until < first.until) {
                first = Some(Certificate { url: url.url.clone(), from, until });
            }
        }
    }
    Ok(first)
}

/// From when until when a certificate in DER is valid.
fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let time = |time: &x509_cert::time::Time| {
        Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok()
    };
    Some((time(&validity.not_before)?, time(&validity.not_after)?))
}

/// Gateway errors mean that the route or its backend is not there yet. So does a 404 of the ingress controller: it is told
/// from an app's own 404 by asking for a host that has no route.
/// What answers may have been sent with a certificate, which is returned.
async fn answers(http: &reqwest::Client, address: &str) -> Result<Option<Vec<u8>>, String> {
    let Answer { status, body, certificate } = get(http, address, None).await?;
    match status {
        502..=504 => Err(format!("status {status} from the ingress controller")),
        404 => match get(http, address, Some("no-route.hks.invalid")).await {
            Ok(unrouted) if unrouted.status == status && unrouted.body == body => {
                Err("the ingress controller has no route to it yet".into())
            }
            _ => Ok(certificate),
        },
        _ => Ok(certificate),
    }
}

/// What came of a request.
struct Answer {
    status: u16,
    /// Only of a 404: no other is compared.
    body: Vec<u8>,
    /// In DER.
    certificate: Option<Vec<u8>>,
}

async fn get(http: &reqwest::Client, address: &str, host: Option<&str>) -> Result<Answer, String> {
    let mut request = http.get(address);
    if let Some(host) = host {
        request = request.header(reqwest::header::HOST, host);
    }
    let mut answer = request.send().await.map_err(|error| root(&error))?;
    let status = answer.status().as_u16();
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>();
    let certificate = info.and_then(|info| info.peer_certificate()).map(<[u8]>::to_vec);
    let mut body = vec![];
    while status == 404 && body.len() < MOST_COMPARED {
        let Some(more) = answer.chunk().await.map_err(|error| root(&error))? else { break };
        body.extend_from_slice(&more);
    }
    body.truncate(MOST_COMPARED);
    Ok(Answer { status, body, certificate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        // ISRG Root X1, as the public authorities have it
        let known: Vec<_> = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| validity(der)).collect();
        let isrg = ("2015-06-04T11:04:38Z".parse().unwrap(), "2035-06-04T11:04:38Z".parse().unwrap());
        assert!(known.contains(&isrg), "{known:?}");
        assert_eq!(validity(b"no certificate"), None);
    }
}
