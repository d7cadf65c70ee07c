//! The cluster itself: kinds, storage, measurements, security of pods, its clock.

use super::{Finding, Patient, Seen};
use crate::ident::Kind;
use crate::shell::clock;
use http::header::DATE;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

/// Seconds that clocks may differ before times in statuses and pages mislead.
const SKEW: i64 = 5;
/// Of a `StorageClass`: claims that name none are of it.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Label of a namespace with the level of the Pod Security Standards that is enforced.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

pub(super) async fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let mut found = vec![];
    let name = &patient.place.namespace;
    let space = Seen::at(&patient.target, &format!("/api/v1/namespaces/{name}")).await;
    found.push(project(&space, name));
    found.extend(security(&space, name, None));
    if let (Some(host), Some(vcluster)) = (&patient.host, &patient.place.cluster.vcluster) {
        let space = Seen::at(host, &format!("/api/v1/namespaces/{}", vcluster.namespace)).await;
        found.extend(security(&space, &vcluster.namespace, Some(&vcluster.name)));
    }
    found.extend(kinds(patient).await);
    found.push(storage(patient).await);
    found.extend(login(patient).await);
    let metrics = Seen::at(&patient.target, "/apis/metrics.k8s.io/v1beta1").await;
    found.push(measured(&metrics, patient.host.is_some()));
    found.extend(answered_at(&patient.target).await.map(|at| skew(at, clock::now())));
    found
}

fn project(space: &Seen, name: &str) -> Finding {
    match space {
        Seen::There(_) => Finding::ok("project", format!("namespace {name} exists")),
        Seen::Absent => {
            let says = format!("namespace {name} does not exist, and hks makes none");
            Finding::missing("project", says, format!("kubectl create namespace {name}"))
        }
        Seen::Hidden(why) => {
            let says = format!("it can't be seen whether namespace {name} exists: {why}");
            Finding::unseen("project", says, format!("grant get on namespaces, resourceNames: [{name}]"))
        }
    }
}

/// What Pod Security allows in a namespace; of a vCluster's in its host, where its pods really run.
fn security(space: &Seen, name: &str, vcluster: Option<&str>) -> Option<Finding> {
    let Seen::There(space) = space else { return None };
    let level = space["metadata"]["labels"][ENFORCE].as_str();
    let whose = vcluster.map_or_else(String::new, |vcluster| format!(", where the pods of vCluster {vcluster} run,"));
    Some(match level {
        Some("restricted") => Finding::warning(
            "pod security",
            format!(
                "namespace {name}{whose} enforces `restricted`: images that run as root are refused, and pods that only pull an image may be"
            ),
            format!("kubectl label namespace {name} {ENFORCE}=baseline --overwrite"),
        ),
        Some(level) => Finding::ok("pod security", format!("namespace {name}{whose} enforces `{level}`")),
        None if vcluster.is_some() => return None,
        None => Finding::ok("pod security", format!("namespace {name} enforces nothing")),
    })
}

/// Whether the cluster knows every kind, each in the version that hks speaks.
async fn kinds(patient: &Patient<'_>) -> Vec<Finding> {
    let mut groups: Vec<_> = Kind::ALL.iter().map(|kind| kind.api_version()).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut found = vec![];
    for group in groups {
        let path = if group == "v1" { "/api/v1".to_owned() } else { format!("/apis/{group}") };
        let served = Seen::at(&patient.target, &path).await;
        if let Seen::Hidden(why) = &served {
            found.push(Finding::unseen(
                "kinds",
                format!("it can't be seen what of {group} is served: {why}"),
                "kubectl api-resources",
            ));
            continue;
        }
        for kind in Kind::ALL.iter().filter(|kind| kind.api_version() == group && !serves(&served, **kind)) {
            found.extend(unserved(*kind, patient.platform.gateway.is_some(), patient.host.is_some()));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("kinds", "every kind that hks uses is served"));
    }
    found
}

fn serves(list: &Seen, kind: Kind) -> bool {
    let Seen::There(list) = list else { return false };
    list["resources"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == kind.plural()))
}

fn unserved(kind: Kind, gateway: bool, vcluster: bool) -> Option<Finding> {
    if kind != Kind::HTTPRoute {
        let says = format!("{kind} ({}) is not served", kind.api_version());
        return Some(Finding::missing("kinds", says, "upgrade the cluster: hks needs Kubernetes 1.29 or newer"));
    }
    let mend = if vcluster {
        "vcluster.yaml: sync.toHost.gatewayApi.httpRoutes.enabled: true"
    } else {
        "kubectl apply -f https://github.com/kubernetes-sigs/gateway-api/releases/latest/download/standard-install.yaml"
    };
    gateway.then(|| Finding::missing("kinds", "a Gateway is configured, and HTTPRoute is not served", mend))
}

/// Whether the login to the registry of the platform's images is in the project.
async fn login(patient: &Patient<'_>) -> Option<Finding> {
    const ABOUT: &str = "registry";
    let (name, project) = (patient.platform.images.pull_secret.as_ref()?, &patient.place.namespace);
    let seen = Seen::at(&patient.target, &format!("/api/v1/namespaces/{project}/secrets/{name}")).await;
    Some(match seen {
        Seen::There(_) => Finding::ok(ABOUT, format!("the login {name} is there")),
        Seen::Absent => Finding::missing(
            ABOUT,
            format!("there is no Secret {name} in {project}, and the platform's images need it"),
            format!(
                "kubectl -n {project} create secret docker-registry {name} --docker-server=… --docker-username=… --docker-password=…"
            ),
        ),
        Seen::Hidden(why) => {
            Finding::unseen(ABOUT, format!("the login {name} can't be seen: {why}"), "grant get on secrets")
        }
    })
}

/// Which class volumes get, and whether they can grow.
async fn storage(patient: &Patient<'_>) -> Finding {
    const PATH: &str = "/apis/storage.k8s.io/v1/storageclasses";
    let here = Seen::at(&patient.target, PATH).await;
    let below = match &patient.host {
        Some(host) => Some(Seen::at(host, PATH).await),
        None => None,
    };
    classes(&here, below.as_ref(), patient.platform.storage_class.as_deref())
}

fn classes(here: &Seen, below: Option<&Seen>, wanted: Option<&str>) -> Finding {
    const ABOUT: &str = "storage";
    const SHOW: &str = "vcluster.yaml: sync.fromHost.storageClasses.enabled: true";
    let default = |seen: &Seen| {
        seen.items().iter().find(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true").cloned()
    };
    let name = |class: &Value| class["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let grows = |class: &Value| class["allowVolumeExpansion"] == true;
    let grow = |name: &str| {
        format!("kubectl patch storageclass {name} -p '{{\"allowVolumeExpansion\": true}}', if its driver can")
    };
    if let Some(wanted) = wanted {
        return named(here, below, wanted);
    }
    if let Some(class) = default(here) {
        let name = name(&class);
        return if grows(&class) {
            Finding::ok(ABOUT, format!("volumes get class {name}, and can grow"))
        } else {
            Finding::warning(ABOUT, format!("volumes get class {name}, and can't grow later"), grow(&name))
        };
    }
    match (here, below) {
        (Seen::Hidden(why), _) => {
            Finding::unseen(ABOUT, format!("classes can't be seen: {why}"), "grant list on storageclasses")
        }
        (_, Some(below)) => match default(below) {
            Some(class) if grows(&class) => Finding::warning(
                ABOUT,
                format!(
                    "the vCluster shows no class; volumes get {} of its host, and can't grow as long as it is not shown",
                    name(&class)
                ),
                SHOW,
            ),
            Some(class) => Finding::warning(
                ABOUT,
                format!("the vCluster shows no class; volumes get {} of its host, and can't grow", name(&class)),
                format!("{}; {SHOW}", grow(&name(&class))),
            ),
            None if matches!(below, Seen::Hidden(_)) => {
                Finding::unseen(ABOUT, "the vCluster shows no class, and those of its host can't be seen", SHOW)
            }
            None => missing_class(),
        },
        // a default vCluster is such a one, and who has only its kubeconfig can't see its host
        (Seen::There(_), None) if here.items().is_empty() => Finding::unseen(
            ABOUT,
            "no class is shown; in a vCluster volumes get the default of its host, which can't be seen from here",
            SHOW,
        ),
        (_, None) => missing_class(),
    }
}

/// The class that the platform is configured with. A vCluster that shows none hands the name on as it is.
fn named(here: &Seen, below: Option<&Seen>, wanted: &str) -> Finding {
    const ABOUT: &str = "storage";
    let seen = below.filter(|_| here.items().is_empty()).unwrap_or(here);
    if let Seen::Hidden(why) = seen {
        return Finding::unseen(ABOUT, format!("classes can't be seen: {why}"), "grant list on storageclasses");
    }
    let names: Vec<_> = seen.items().iter().filter_map(|class| class["metadata"]["name"].as_str()).collect();
    let found = seen.items().iter().find(|class| class["metadata"]["name"] == wanted);
    match found {
        Some(class) if class["allowVolumeExpansion"] == true => {
            Finding::ok(ABOUT, format!("volumes get class {wanted}, and can grow"))
        }
        Some(_) => Finding::warning(
            ABOUT,
            format!("volumes get class {wanted}, and can't grow later"),
            format!("kubectl patch storageclass {wanted} -p '{{\"allowVolumeExpansion\": true}}', if its driver can"),
        ),
        None if seen.items().is_empty() && below.is_none() => Finding::unseen(
            ABOUT,
            format!(
                "no class is shown; in a vCluster volumes get class {wanted} of its host, which can't be seen from here"
            ),
            "vcluster.yaml: sync.fromHost.storageClasses.enabled: true",
        ),
        None => Finding::missing(
            ABOUT,
            format!("there is no class {wanted}; there are: {}", names.join(", ")),
            "set storageClass (HKS_STORAGE_CLASS) to one of them",
        ),
    }
}

fn missing_class() -> Finding {
    let mend = format!("kubectl annotate storageclass NAME {DEFAULT_CLASS}=true");
    Finding::missing("storage", "there is no default class: databases and volumes get no storage", mend)
}

fn measured(metrics: &Seen, vcluster: bool) -> Finding {
    const ABOUT: &str = "metrics";
    let mend = if vcluster {
        "vcluster.yaml: integrations.metricsServer.enabled: true"
    } else {
        "install metrics-server: https://github.com/kubernetes-sigs/metrics-server"
    };
    match metrics {
        Seen::There(_) => Finding::ok(ABOUT, "what pods use is measured"),
        Seen::Absent | Seen::Hidden(_) => Finding::warning(
            ABOUT,
            "what pods use is not measured: autoscaled apps stay as they are, and usage is not shown",
            mend,
        ),
    }
}

/// What the API server's clock says.
async fn answered_at(client: &Client) -> Option<Timestamp> {
    let request = http::Request::get("/version").body(Body::empty()).ok()?;
    let answer = client.send(request).await.ok()?;
    let date = answer.headers().get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(date).ok().map(|zoned| zoned.timestamp())
}

fn skew(theirs: Timestamp, ours: Timestamp) -> Finding {
    let apart = ours.duration_since(theirs).as_secs();
    if apart.abs() <= SKEW {
        return Finding::ok("clock", "this machine and the API server agree");
    }
    let says = format!("this machine and the API server are {} s apart: times and waits are told wrongly", apart.abs());
    Finding::warning("clock", says, "timedatectl set-ntp true, on the machine that is wrong")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use jiff::ToSpan as _;
    use serde_json::json;

    fn list(classes: &[(&str, bool)]) -> Seen {
        let class = |(name, grows): &(&str, bool)| json!({ "metadata": { "name": name, "annotations": { DEFAULT_CLASS: "true" } }, "allowVolumeExpansion": grows });
        Seen::There(json!({ "items": classes.iter().map(class).collect::<Vec<_>>() }))
    }

    #[test]
    fn a_default_vcluster_shows_no_class_and_its_volumes_do_not_grow() {
        assert_eq!(classes(&list(&[("fast", true)]), None, None).verdict, Verdict::Ok);
        assert_eq!(classes(&list(&[("fast", false)]), None, None).verdict, Verdict::Warning);
        assert_eq!(classes(&list(&[]), None, None).verdict, Verdict::Warning, "its host can't be seen");
        let default = classes(&list(&[]), Some(&list(&[("fast", true)])), None);
        assert_eq!(default.mend.as_deref(), Some("vcluster.yaml: sync.fromHost.storageClasses.enabled: true"));
        assert_eq!(classes(&list(&[]), Some(&list(&[])), None).verdict, Verdict::Missing);
        assert_eq!(classes(&list(&[]), Some(&Seen::Hidden("no".into())), None).verdict, Verdict::Warning);
    }

    #[test]
    fn a_configured_class_has_to_be_there() {
        let both = list(&[("fast", true), ("slow", false)]);
        assert_eq!(classes(&both, None, Some("fast")).verdict, Verdict::Ok);
        assert_eq!(classes(&both, None, Some("slow")).verdict, Verdict::Warning);
        assert_eq!(classes(&list(&[]), Some(&both), Some("fast")).verdict, Verdict::Ok, "its host has it");
        let wrong = classes(&both, None, Some("huge"));
        assert_eq!(
            (wrong.verdict, wrong.says.as_str()),
            (Verdict::Missing, "there is no class huge; there are: fast, slow")
        );
    }

    #[test]
    fn a_project_that_is_not_there_is_made_by_a_command() {
        assert_eq!(project(&Seen::Absent, "shop").mend.as_deref(), Some("kubectl create namespace shop"));
        assert_eq!(project(&Seen::There(json!({})), "shop").verdict, Verdict::Ok);
    }

    #[test]
    fn restricted_is_told_and_baseline_is_well() {
        let level = |level: &str| Seen::There(json!({ "metadata": { "labels": { ENFORCE: level } } }));
        let verdict = |seen: &Seen| security(seen, "shop", None).map(|finding| finding.verdict);
        assert_eq!(verdict(&level("restricted")), Some(Verdict::Warning));
        assert_eq!(verdict(&level("baseline")), Some(Verdict::Ok));
        assert_eq!(verdict(&Seen::There(json!({}))), Some(Verdict::Ok));
        assert_eq!(security(&Seen::There(json!({})), "vcluster-a", Some("a")), None);
    }

    #[test]
    fn only_a_configured_gateway_needs_its_kinds() {
        let served = Seen::There(json!({ "resources": [{ "name": "deployments" }] }));
        assert!(serves(&served, Kind::Deployment) && !serves(&served, Kind::StatefulSet));
        assert_eq!(unserved(Kind::HTTPRoute, false, true), None);
        assert_eq!(unserved(Kind::HTTPRoute, true, true).map(|finding| finding.verdict), Some(Verdict::Missing));
        assert_eq!(unserved(Kind::Job, false, false).map(|finding| finding.verdict), Some(Verdict::Missing));
    }

    #[test]
    fn clocks_may_differ_by_seconds() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(skew(now, now + 4.seconds()).verdict, Verdict::Ok);
        let apart = skew(now + 90.seconds(), now);
        assert!(apart.verdict == Verdict::Warning && apart.says.contains("90 s apart"), "{apart:?}");
    }
}
