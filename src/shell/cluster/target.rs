//! Connections: a kubeconfig, the pod's own service account, or a vCluster through its Secret, always with verified TLS.

use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::cluster::transport;
use crate::shell::pace::Share;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use kube::{Api, Client, Config};
use std::path::PathBuf;
use std::sync::Arc;

/// Which host cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// A kubeconfig file; without one `KUBECONFIG`, `~/.kube/config` or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; without one the current context.
    pub context: Option<String>,
    /// Its user may log in by a program: a person's own file at a terminal, never the daemon's.
    pub programs: bool,
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

/// How the host cluster is reached.
///
/// # Errors
/// Unreachable when there is no way there; final when the kubeconfig is refused.
pub async fn host(host: &Host) -> Result<Config, Failure> {
    if host.kubeconfig.is_none() && host.context.is_none() && in_pod() {
        Config::incluster().map_err(|error| Failure::unreachable(&error, "failed to use the pod's service account"))
    } else {
        let kubeconfig = match &host.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .map_err(|error| Failure::unreachable(&error, &format!("failed to read {}", path.display())))?,
            None => Kubeconfig::read().map_err(|error| {
                Failure::unreachable(&error, "failed to find a kubeconfig; set --kubeconfig or KUBECONFIG")
            })?,
        };
        if !host.programs {
            refuse_programs(&kubeconfig, host.context.as_deref())?;
        }
        let options = KubeConfigOptions { context: host.context.clone(), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| Failure::unreachable(&error, "failed to use the kubeconfig"))
    }
}

#[expect(clippy::disallowed_methods, reason = "Kubernetes tells pods by this variable that they are pods")]
fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && std::env::var_os("KUBECONFIG").is_none()
}

/// A kubeconfig can name programs to run; whoever can change the file must not be able to run code here
/// (Flux CVE-2022-24817). Users of other contexts than the chosen one are never logged in, so theirs don't matter.
///
/// # Errors
/// Names the user.
pub fn refuse_programs(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(), Failure> {
    let chosen = context.or(kubeconfig.current_context.as_deref());
    let context = kubeconfig.contexts.iter().find(|known| Some(known.name.as_str()) == chosen);
    let user = context.and_then(|known| known.context.as_ref()?.user.as_deref());
    let used = kubeconfig.auth_infos.iter().filter(|known| Some(known.name.as_str()) == user);
    for known in used {
        let Some(auth) = &known.auth_info else { continue };
        if auth.exec.is_some() || auth.auth_provider.is_some() {
            return Err(Failure::last(format!(
                "user {} of the kubeconfig runs a program (exec or auth-provider), which the daemon refuses; use a client \
                 certificate or a token of a service account",
                known.name
            )));
        }
    }
    Ok(())
}

/// How a vCluster is reached: its Service's cluster IP, with the name `localhost` that its certificate always carries.
///
/// # Errors
/// Unreachable when it is not there, forbidden when its access data may not be read.
pub async fn vcluster(host: &Client, of: &VCluster) -> Result<Config, Failure> {
    let secrets: Api<Secret> = Api::namespaced(host.clone(), &of.namespace);
    let services: Api<Service> = Api::namespaced(host.clone(), &of.namespace);
    let (name, namespace) = (&of.name, &of.namespace);
    let missing = |error: kube::Error| {
        let what = format!("failed to find vCluster {name} in namespace {namespace}; is its name right?");
        match Failure::of(&error, &what) {
            failure if failure.kind == FailureKind::Final => Failure { kind: FailureKind::Unreachable, ..failure },
            failure => failure,
        }
    };
    let secret = secrets.get(&of.secret()).await.map_err(missing)?;
    let service = services.get(name).await.map_err(missing)?;
    let gone = |why: String| Failure::new(FailureKind::Unreachable, format!("failed to reach vCluster {name}: {why}"));
    let address = service.spec.and_then(|spec| spec.cluster_ip).filter(|ip| ip != "None");
    let address = address.ok_or_else(|| gone("its Service has no cluster IP".into()))?;
    let data = secret.data.unwrap_or_default();
    let encoded = |key: &str| {
        use base64::Engine as _;
        data.get(key).map(|value| base64::engine::general_purpose::STANDARD.encode(&value.0))
    };
    let authority = encoded("certificate-authority");
    let authority = authority.ok_or_else(|| gone(format!("{} has no CA to verify it by", of.secret())))?;
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
    let wrong = |error| Failure::unreachable(&error, &format!("failed to use Secret {}", of.secret()));
    config.map_err(wrong)
}

/// A client of a cluster.
///
/// # Errors
/// Unreachable when its certificates can't be used.
pub fn client(config: Config) -> Result<Client, Failure> {
    made(transport::client(config, None))
}

/// The same, which sends its requests no faster than the cluster's share allows.
///
/// # Errors
/// As [`client`].
pub fn paced(config: Config, share: &Arc<Share>) -> Result<Client, Failure> {
    made(transport::client(config, Some(share)))
}

fn made(client: Result<Client, kube::Error>) -> Result<Client, Failure> {
    client.map_err(|error| Failure::unreachable(&error, "failed to set up TLS to the cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_user_that_runs_programs_is_refused() -> Result<(), kube::config::KubeconfigError> {
        let file = |auth: &str| {
            Kubeconfig::from_yaml(&format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n- {{name: here, context: {{cluster: c, user: me}}}}\n\
                 - {{name: there, context: {{cluster: c, user: you}}}}\nusers:\n- {{name: me, user: {auth}}}\n- {{name: you, user: {{token: t}}}}\n"
            ))
        };
        let exec = file("{exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh}}")?;
        let refusal = refuse_programs(&exec, None).err().map(|failure| failure.message);
        assert!(refusal.is_some_and(|text| text.contains("user me of the kubeconfig runs a program")));
        assert!(refuse_programs(&exec, Some("here")).is_err());
        assert!(refuse_programs(&exec, Some("there")).is_ok(), "its user logs in by a token");
        assert!(refuse_programs(&file("{auth-provider: {name: gcp, config: {}}}")?, None).is_err());
        assert!(refuse_programs(&file("{token: t}")?, None).is_ok());
        Ok(())
    }
}
