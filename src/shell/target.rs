//! Connections: a kubeconfig, the pod's own service account, or a vCluster through its Secret, always with verified TLS.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use kube::{Api, Client, Config};
use std::path::PathBuf;
use std::time::Duration;

/// Server-side time-out of a watch is 290 s, so a reader that hears nothing for longer is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(295);

/// How the host cluster is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// A kubeconfig file; without one `KUBECONFIG`, `~/.kube/config` or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; without one the current context.
    pub context: Option<String>,
}

/// A vCluster in the host cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VCluster {
    /// Its name: Service `NAME`, Secret `vc-NAME`.
    pub name: String,
    /// Its namespace in the host cluster.
    pub namespace: String,
}

impl VCluster {
    /// Name of the Secret with the access data; it changes each time the syncer starts.
    pub fn secret(&self) -> String {
        format!("vc-{}", self.name)
    }
}

/// Connects to the host cluster.
pub async fn host(host: &Host) -> Result<Client> {
    let mut config = if host.kubeconfig.is_none() && host.context.is_none() && in_pod() {
        Config::incluster().context("failed to use the pod's service account")?
    } else {
        let kubeconfig = match &host.kubeconfig {
            Some(path) => Kubeconfig::read_from(path).with_context(|| format!("failed to read {}", path.display()))?,
            None => Kubeconfig::read().context("failed to find a kubeconfig: set --kubeconfig or KUBECONFIG")?,
        };
        refuse_programs(&kubeconfig)?;
        let options = KubeConfigOptions { context: host.context.clone(), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig, &options).await.context("failed to use the kubeconfig")?
    };
    client(&mut config)
}

#[expect(clippy::disallowed_methods, reason = "Kubernetes tells pods by this variable that they are pods")]
fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && std::env::var_os("KUBECONFIG").is_none()
}

/// A kubeconfig can name programs to run; whoever can change the file must not be able to run code here
/// (Flux CVE-2022-24817).
pub fn refuse_programs(kubeconfig: &Kubeconfig) -> Result<()> {
    for user in &kubeconfig.auth_infos {
        let Some(auth) = &user.auth_info else { continue };
        if auth.exec.is_some() || auth.auth_provider.is_some() {
            bail!(
                "user {} of the kubeconfig runs a program (exec or auth-provider), which hks refuses; use a client \
                 certificate or a token of a service account",
                user.name
            );
        }
    }
    Ok(())
}

/// Connects to a vCluster: its Service's cluster IP, with the name `localhost` that its certificate always carries.
pub async fn vcluster(host: &Client, of: &VCluster) -> Result<Client> {
    let secrets: Api<Secret> = Api::namespaced(host.clone(), &of.namespace);
    let services: Api<Service> = Api::namespaced(host.clone(), &of.namespace);
    let missing = || format!("failed to find vCluster {} in namespace {}: is its name right?", of.name, of.namespace);
    let secret = secrets.get(&of.secret()).await.with_context(missing)?;
    let service = services.get(&of.name).await.with_context(missing)?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).filter(|ip| ip != "None");
    let address =
        address.with_context(|| format!("failed to reach vCluster {}: its Service has no cluster IP", of.name))?;
    let data = secret.data.unwrap_or_default();
    let encoded = |key: &str| {
        use base64::Engine as _;
        data.get(key).map(|value| base64::engine::general_purpose::STANDARD.encode(&value.0))
    };
    let authority = encoded("certificate-authority");
    let authority =
        authority.with_context(|| format!("failed to verify vCluster {}: no CA in {}", of.name, of.secret()))?;
    let server =
        if address.contains(':') { format!("https://[{address}]:443") } else { format!("https://{address}:443") };
    let cluster = Cluster {
        server: Some(server),
        certificate_authority_data: Some(authority),
        tls_server_name: Some("localhost".into()),
        ..Cluster::default()
    };
    let auth = AuthInfo {
        client_certificate_data: encoded("client-certificate"),
        client_key_data: encoded("client-key").map(Into::into),
        ..AuthInfo::default()
    };
    let context = Context { cluster: "vcluster".into(), user: Some("hks".into()), ..Context::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster { name: "vcluster".into(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: "hks".into(), auth_info: Some(auth), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: "vcluster".into(), context: Some(context), ..NamedContext::default() }],
        current_context: Some("vcluster".into()),
        ..Kubeconfig::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    client(&mut config.with_context(|| format!("failed to use Secret {}", of.secret()))?)
}

fn client(config: &mut Config) -> Result<Client> {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(Duration::from_secs(30));
    config.reset_reader_on_write = true;
    // the machine retries, visibly and bounded; a second retry below it would multiply the waits
    config.default_retry = false;
    Client::try_from(config.clone()).context("failed to set up TLS to the cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_that_runs_programs_is_refused() -> Result<()> {
        let user = |auth: &str| format!("apiVersion: v1\nkind: Config\nusers: [{{name: me, user: {auth}}}]\n");
        let exec = user("{exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh}}");
        let refusal = refuse_programs(&Kubeconfig::from_yaml(&exec)?).err().map(|error| error.to_string());
        assert!(refusal.is_some_and(|text| text.contains("user me of the kubeconfig runs a program")));
        assert!(refuse_programs(&Kubeconfig::from_yaml(&user("{auth-provider: {name: gcp, config: {}}}"))?).is_err());
        assert!(refuse_programs(&Kubeconfig::from_yaml(&user("{token: t}"))?).is_ok());
        Ok(())
    }
}
