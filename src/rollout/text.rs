//! Reading what Kubernetes says in prose: pull errors, quota refusals, the scheduler's reasons.
//!
//! Nothing structured carries these facts; the formats are those of the named sources and are pinned by the tests below.

use super::{Cause, Resource};
use crate::ident::Component;

/// What a failed pull means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Trying again won't help: the short reason.
    Final(String),
    /// The registry or the way to it may recover: the short reason.
    Transient(String),
    /// The text says nothing; an earlier one may have.
    Silent,
}

/// Texts of containerd, CRI-O and the registries behind them that mean "not there" or "not for you".
const FINAL: [(&str, &str); 10] = [
    ("manifest unknown", "manifest unknown"),
    ("not found", "not found"),
    ("name unknown", "repository unknown"),
    ("name_unknown", "repository unknown"),
    ("repository does not exist", "repository unknown"),
    ("pull access denied", "access denied"),
    ("insufficient_scope", "access denied"),
    ("unauthorized", "unauthorized"),
    ("403 forbidden", "forbidden"),
    ("invalid reference format", "invalid reference"),
];

/// Texts that mean that the same pull may work later.
const TRANSIENT: [(&str, &str); 14] = [
    ("429", "too many requests"),
    ("toomanyrequests", "too many requests"),
    ("500 internal", "registry error 500"),
    ("502 bad gateway", "registry error 502"),
    ("503 service", "registry error 503"),
    ("504 gateway", "registry error 504"),
    ("timeout", "timeout"),
    ("deadline exceeded", "timeout"),
    ("no such host", "registry's name does not resolve"),
    ("server misbehaving", "registry's name does not resolve"),
    ("connection refused", "connection refused"),
    ("connection reset", "connection reset"),
    ("unexpected eof", "connection lost"),
    ("network is unreachable", "network unreachable"),
];

/// What a message about a failed pull means. Transient texts win: a proxy's error page may well say "not found".
pub fn pull(message: &str) -> Pull {
    let text = message.to_lowercase();
    let find = |table: &[(&str, &str)]| {
        table.iter().find(|(sign, _)| text.contains(sign)).map(|(_, short)| (*short).to_owned())
    };
    match (find(&TRANSIENT), find(&FINAL)) {
        (Some(reason), _) => Pull::Transient(reason),
        (None, Some(reason)) => Pull::Final(reason),
        (None, None) => Pull::Silent,
    }
}

/// Texts of the kubelet and containerd about a container that could not be made yet, and that they try again: an object that
/// has not reached the node's cache, a runtime that is busy (containerd#4604).
const BUSY: [&str; 5] =
    ["failed to sync", "timed out", "deadline exceeded", "failed to reserve container name", "connection refused"];

/// Whether a container that can't be made now will be made later.
pub fn busy(message: &str) -> bool {
    BUSY.iter().any(|sign| message.contains(sign))
}

/// Whether the scheduler's message tells of a lack of room, which waiting may cure, and of nothing else.
/// Format: `0/3 nodes are available: 1 node(s) had untolerated taint {…}, 2 Insufficient cpu. preemption: …`
/// (kube-scheduler, framework/types.go `FitError`). Nodes that are ruled out anyway don't matter when others lack room.
pub fn lacks_room(message: &str) -> bool {
    let head = message.split("preemption:").next().unwrap_or(message);
    head.contains("Insufficient ") || head.contains("Too many pods")
}

/// The scheduler's message without its tails about preemption and resource claims.
pub fn scheduler(message: &str) -> &str {
    let cut = [" preemption:", " no new claims"].iter().filter_map(|tail| message.find(tail)).min();
    message[..cut.unwrap_or(message.len())].trim_end_matches(['.', ',', ' '])
}

/// The words of an admission policy or webhook, of Pod Security or of RBAC that denies a pod, without what the controller
/// says around them. `None` for other refusals, which may pass. Formats: `pods "x" is forbidden: violates PodSecurity …`
/// (pod-security-admission), `admission webhook "n" denied the request: …` (apiserver, webhook dispatcher), `denied request:
/// …` (`ValidatingAdmissionPolicy`).
pub fn denial(message: &str) -> Option<String> {
    let signs = ["violates PodSecurity", "denied the request", "denied request", "admission webhook"];
    let denied = signs.iter().any(|sign| message.contains(sign));
    let passing = ["failed calling webhook", "context deadline exceeded", "connection refused"];
    if !denied || passing.iter().any(|sign| message.contains(sign)) {
        return None;
    }
    let words = message.split_once("is forbidden: ").map_or(message, |(_, words)| words);
    Some(words.trim_start_matches("error when creating: ").trim().to_owned())
}

/// The limit that a refusal names, if it is one. Formats: ResourceQuota admission `exceeded quota: NAME, requested: K=V[,K=V],
/// used: K=V, limited: K=V` and LimitRanger `maximum K usage per Container is V, but limit is V`.
pub fn limit(message: &str, component: &Component) -> Option<Cause> {
    let cause = |key: &str, limit: &str, used: &str, asked: &str| Cause::LimitExceeded {
        component: component.to_string(),
        resource: resource(key),
        limit: limit.into(),
        used: used.into(),
        asked: asked.into(),
        database: matches!(component, Component::Database(_)),
    };
    if let Some(rest) = message.split_once("exceeded quota: ").map(|(_, rest)| rest) {
        let part = |name: &str, end: &str| {
            let text = rest.split_once(name)?.1;
            Some(text.split(end).next().unwrap_or(text))
        };
        let requested = part("requested: ", ", used: ")?;
        let used = part("used: ", ", limited: ")?;
        let limited = rest.split_once("limited: ")?.1.split([' ', '\n', '"']).next()?;
        let value = |list: &str, key: &str| {
            let pair = list.split(',').find_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == key));
            pair.map(|(_, value)| value.trim_end_matches([':', '.']).to_owned()).unwrap_or_default()
        };
        let key = requested.split(',').next()?.trim().split_once('=')?.0;
        return Some(cause(key, &value(limited, key), &value(used, key), &value(requested, key)));
    }
    let (head, asked) = message.split_once(", but limit is ").or_else(|| message.split_once(", but request is "))?;
    let words: Vec<_> = head.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "usage")?;
    let asked = asked.split([',', ' ', ']']).next()?.trim_end_matches('.');
    Some(cause(words.get(at.checked_sub(1)?)?, words.last()?, "", asked))
}

fn resource(key: &str) -> Resource {
    let name = ["requests.", "limits.", "count/"].iter().fold(key, |name, prefix| name.trim_start_matches(prefix));
    match name {
        "memory" => Resource::Memory,
        "cpu" => Resource::Cpu,
        "storage" | "persistentvolumeclaims" => Resource::Storage,
        _ if name.ends_with("/storage") || name.ends_with("/persistentvolumeclaims") => Resource::Storage,
        _ => Resource::Other(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_are_told_apart() {
        let missing = "rpc error: code = NotFound desc = failed to pull and unpack image \"r/web:9\": failed to resolve \
                       reference \"r/web:9\": r/web:9: not found";
        assert_eq!(pull(missing), Pull::Final("not found".into()));
        assert_eq!(pull("unexpected status: 429 Too Many Requests"), Pull::Transient("too many requests".into()));
        assert_eq!(pull("lookup registry: no such host"), Pull::Transient("registry's name does not resolve".into()));
        assert_eq!(pull("Back-off pulling image \"r/web:9\""), Pull::Silent);
        assert!(matches!(pull("503 Service Unavailable: page not found"), Pull::Transient(_)));
    }

    #[test]
    fn what_the_node_tries_again_is_told_from_what_is_wrong() {
        assert!(busy("failed to sync secret cache: timed out waiting for the condition"));
        assert!(busy("failed to reserve container name \"web_x\": name is reserved for \"0a\""));
        assert!(!busy("secret \"registry-login\" not found"));
        assert!(!busy("exec: \"./nosuch\": stat ./nosuch: no such file or directory"));
    }

    #[test]
    fn a_quota_says_limit_used_and_asked() {
        let message = "Error syncing to host cluster: pods \"x\" is forbidden: exceeded quota: vc-team-a, requested: \
                       limits.memory=20Gi,requests.memory=20Gi, used: limits.memory=2304Mi,requests.memory=1Gi, limited: \
                       limits.memory=9Gi,requests.memory=9Gi";
        let Some(Cause::LimitExceeded { resource, limit, used, asked, .. }) =
            limit(message, &Component::App("web".into()))
        else {
            panic!("not read as a limit")
        };
        assert_eq!((resource, &*limit, &*used, &*asked), (Resource::Memory, "9Gi", "2304Mi", "20Gi"));
    }

    #[test]
    fn storage_quotas_and_limit_ranges() {
        let message = "persistentvolumeclaims \"d\" is forbidden: exceeded quota: q, requested: requests.storage=50Gi, \
                       used: requests.storage=1Gi, limited: requests.storage=10Gi";
        let cause = limit(message, &Component::Database("main".into())).map(|cause| cause.to_string());
        let text = "database resources insufficient: storage limit exceeded: main asks 50Gi, used 1Gi of 10Gi";
        assert_eq!(cause.as_deref(), Some(text));
        let message = "pods \"x\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi";
        let cause = limit(message, &Component::App("web".into())).map(|cause| cause.to_string());
        assert_eq!(cause.as_deref(), Some("memory limit exceeded: web asks 2Gi, limit 1Gi"));
        let message =
            "forbidden: exceeded quota: q, requested: count/pods=1, used: count/pods=20, limited: count/pods=20";
        let cause = limit(message, &Component::App("web".into())).map(|cause| cause.to_string());
        assert_eq!(cause.as_deref(), Some("pods limit exceeded: web asks 1, used 20 of 20"));
        assert_eq!(limit("pods \"x\" is forbidden: no", &Component::App("web".into())), None);
    }

    #[test]
    fn who_denies_a_pod_is_quoted() {
        let told = denial(
            "pods \"web-x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod must not \
             set securityContext.runAsNonRoot=false)",
        );
        assert!(told.is_some_and(|told| told.starts_with("violates PodSecurity \"restricted:latest\"")));
        let webhook = "admission webhook \"validate.kyverno.svc\" denied the request: image from docker.io";
        assert_eq!(denial(webhook).as_deref(), Some(webhook));
        assert_eq!(denial("Internal error: failed calling webhook \"a\": denied the request: x"), None);
        assert_eq!(denial("serviceaccount \"default\" not found"), None);
    }

    #[test]
    fn the_schedulers_tails_are_cut() {
        let message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes";
        assert_eq!(scheduler(message), "0/1 nodes are available: 1 Insufficient cpu");
        assert_eq!(
            scheduler("0/1 nodes are available: 1 Insufficient cpu."),
            "0/1 nodes are available: 1 Insufficient cpu"
        );
    }

    #[test]
    fn lack_of_room_is_not_a_taint() {
        assert!(lacks_room("0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available"));
        assert!(lacks_room("0/2 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {a: }"));
        assert!(!lacks_room(
            "0/1 nodes are available: 1 node(s) had untolerated taint {a: }. preemption: Insufficient x"
        ));
    }
}
