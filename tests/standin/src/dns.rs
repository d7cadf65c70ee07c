//! Addresses of names, asked for anew on every connect: after a failover a name leads elsewhere.

use std::net::IpAddr;

use hickory_resolver::{TokioResolver, net::NetError};

/// Addresses of `host`, by the search list and servers of `/etc/resolv.conf`.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>, NetError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let resolver = TokioResolver::builder_tokio()?.build()?;
    Ok(resolver.lookup_ip(host).await?.iter().collect())
}
