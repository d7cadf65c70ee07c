//! Public addresses: whether they answer.

use crate::machine::{Certificate, Probed};
use crate::manifest::PublicUrl;
use crate::shell::cluster::failure::root;
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use x509_cert::der::Decode as _;

/// Longest wait for an answer of a public address.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are compared with another one: whoever answers may send without end.
const MOST_COMPARED: usize = 64 << 10;

/// An HTTP client for public addresses. Names under `.localhost` are this machine (RFC 6761, section 6.3), which the
/// system's resolver does not always know.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    builder().dns_resolver(Arc::new(Resolver)).build()
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .tls_info(true)
        .user_agent(concat!("hks/", env!("CARGO_PKG_VERSION")))
}

struct Resolver;

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move { Ok(Box::new(addresses(name.as_str()).await?.into_iter()) as reqwest::dns::Addrs) })
    }
}

async fn addresses(host: &str) -> std::io::Result<Vec<SocketAddr>> {
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)]);
    }
    Ok(tokio::net::lookup_host((host, 0)).await?.collect())
}

/// Where hosts that a file names may be asked for. Who names one decides what it resolves to, and hks stands in a network that
/// others don't reach: it asks public addresses, and of others those of the platform.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// What generated hosts end with: what answers for those is the platform's own.
    pub domains: BTreeSet<String>,
    /// Networks that were allowed.
    pub networks: Vec<IpNet>,
}

struct Guarded(Arc<RwLock<Reach>>);

impl reqwest::dns::Resolve for Guarded {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let reach = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let host = name.as_str();
            let mut allowed = vec![];
            let mut refused = None;
            for address in addresses(host).await? {
                let ip = address.ip();
                if is_public(ip) || reach.networks.iter().any(|network| network.contains(&ip)) || reach.is_own(ip).await
                {
                    allowed.push(address);
                } else {
                    refused = Some(ip);
                }
            }
            match refused {
                Some(ip) if allowed.is_empty() => Err(format!(
                    "{host} is at {ip}, which is no public address; let it point to the platform's ingress, or let its operators \
                     allow the network (probeNetworks)"
                )
                .into()),
                _ => Ok(Box::new(allowed.into_iter()) as reqwest::dns::Addrs),
            }
        })
    }
}

impl Reach {
    /// Whether generated hosts are at this address.
    async fn is_own(&self, ip: IpAddr) -> bool {
        for domain in &self.domains {
            let zone = domain.split(':').next().unwrap_or_default();
            let found = addresses(&format!("hks.{zone}")).await.unwrap_or_default();
            if found.iter().any(|address| address.ip() == ip) {
                return true;
            }
        }
        false
    }
}

/// Whether an address is one of the public internet. `IpAddr::is_global` is not stable; by the registries of special-purpose
/// addresses (RFC 6890 and the IANA's).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let special = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
            let shared = a == 100 && (64..128).contains(&b);
            let others = (a, b, c) == (192, 0, 0) || (a, b) == (198, 18) || (a, b) == (198, 19);
            !(special || shared || others || a == 0 || a >= 224)
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            let [.., high, low] = segments;
            let within = || {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            };
            match segments {
                // mapped, translated (RFC 6052) and 6to4: what counts is the address within
                [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public(within()),
                [0x2002, high, low, ..] => is_public(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low))),
                [first, second, ..] => first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8),
            }
        }
    }
}

/// Asks public addresses.
#[derive(Clone)]
pub struct Prober {
    /// For generated hosts.
    any: reqwest::Client,
    /// For those that a file names.
    guarded: reqwest::Client,
    reach: Arc<RwLock<Reach>>,
}

impl Prober {
    /// One that reaches only public addresses for hosts that files name.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new() -> reqwest::Result<Self> {
        let reach: Arc<RwLock<Reach>> = Arc::default();
        let guarded = builder().dns_resolver(Arc::new(Guarded(Arc::clone(&reach)))).build()?;
        Ok(Self { any: http_client()?, guarded, reach })
    }

    /// One for a person's own files, from where that person is.
    ///
    /// # Errors
    /// No client can be made.
    pub fn by_hand() -> reqwest::Result<Self> {
        Ok(Self { guarded: http_client()?, ..Self::new()? })
    }

    /// From now on, it reaches these as well.
    pub fn reach(&self, reach: Reach) {
        *self.reach.write().unwrap_or_else(PoisonError::into_inner) = reach;
    }
}

/// Whether all addresses are live.
pub async fn probe(prober: &Prober, urls: &[PublicUrl]) -> Probed {
    let mut first: Option<Certificate> = None;
    for url in urls {
        let http = if url.named { &prober.guarded } else { &prober.any };
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
    fn only_addresses_of_the_internet_are_public() {
        for (ip, public) in [
            ("93.184.216.34", true),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2606:2800:220:1::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:93.184.216.34", true),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b::5db8:d822", true),
            ("2002:a00:1::", false),
            ("2002:5db8:d822::", true),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }

    #[tokio::test]
    async fn a_named_host_is_asked_only_where_it_is_public_or_the_platforms() {
        use reqwest::dns::Resolve as _;
        let reach = Arc::new(RwLock::new(Reach::default()));
        let guarded = Guarded(Arc::clone(&reach));
        let resolve = async |name: &str| {
            guarded.resolve(name.parse().unwrap()).await.map(Iterator::count).map_err(|error| error.to_string())
        };
        let refused = resolve("shop.localhost").await.unwrap_err();
        assert!(refused.contains("127.0.0.1") && refused.contains("probeNetworks"), "{refused}");
        reach.write().unwrap().networks = vec!["127.0.0.0/8".parse().unwrap()];
        assert_eq!(resolve("shop.localhost").await, Ok(1));
        *reach.write().unwrap() = Reach { domains: ["apps.localhost:8000".into()].into(), networks: vec![] };
        assert_eq!(resolve("shop.localhost").await, Ok(1));
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        // ISRG Root X1, as the public authorities have it
        let known: Vec<_> = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| validity(der)).collect();
        let isrg = ("2015-06-04T11:04:38Z".parse().unwrap(), "2035-06-04T11:04:38Z".parse().unwrap());
        assert!(known.contains(&isrg), "{known:?}");
        assert_eq!(validity(b"no certificate"), None);
    }
}
