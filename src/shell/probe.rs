//! Public addresses: whether they answer.

use crate::manifest::PublicUrl;
use crate::shell::cluster::failure::root;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

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

/// Whether all addresses are live; else the first one that is not, and what came instead.
pub async fn probe(http: &reqwest::Client, urls: &[PublicUrl]) -> Result<(), (String, String)> {
    for url in urls {
        for check in &url.checks {
            let address = format!("{}{check}", url.url);
            answers(http, &address).await.map_err(|message| (address, message))?;
        }
    }
    Ok(())
}

/// Gateway errors mean that the route or its backend is not there yet. So does a 404 of the ingress controller: it is told
/// from an app's own 404 by asking for a host that has no route.
async fn answers(http: &reqwest::Client, address: &str) -> Result<(), String> {
    let (status, body) = get(http, address, None).await?;
    match status {
        502..=504 => Err(format!("status {status} from the ingress controller")),
        404 => match get(http, address, Some("no-route.hks.invalid")).await {
            Ok(unrouted) if unrouted == (status, body) => Err("the ingress controller has no route to it yet".into()),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

async fn get(http: &reqwest::Client, address: &str, host: Option<&str>) -> Result<(u16, Vec<u8>), String> {
    let mut request = http.get(address);
    if let Some(host) = host {
        request = request.header(reqwest::header::HOST, host);
    }
    let mut answer = request.send().await.map_err(|error| root(&error))?;
    let status = answer.status().as_u16();
    let mut body = vec![];
    // only a 404 is compared
    while status == 404 && body.len() < MOST_COMPARED {
        let Some(more) = answer.chunk().await.map_err(|error| root(&error))? else { break };
        body.extend_from_slice(&more);
    }
    body.truncate(MOST_COMPARED);
    Ok((status, body))
}
