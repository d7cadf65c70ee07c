//! Why a program may not do what it tried, and which key of hks.yaml lets it: its own last line seldom says that.

use super::Cause;
use crate::manifest::{APP_LABEL, JOB_LABEL, Manifest};
use serde_json::Value;

/// Texts of `EPERM` and `EACCES`.
const DENIED: [&str; 4] = ["operation not permitted", "permission denied", "eperm", "eacces"];
/// Texts of `EROFS`.
const READ_ONLY: [&str; 2] = ["read-only file system", "erofs"];
/// Words of what is tried, and the capabilities that it takes (`capabilities(7)`).
const NEEDS: [(&str, &[&str]); 9] = [
    ("chown", &["CHOWN"]),
    ("chmod", &["FOWNER"]),
    ("setgroups", &["SETGID", "SETUID"]),
    ("setgid", &["SETGID", "SETUID"]),
    ("setuid", &["SETGID", "SETUID"]),
    ("gosu", &["SETGID", "SETUID"]),
    ("su-exec", &["SETGID", "SETUID"]),
    ("chroot", &["SYS_CHROOT"]),
    ("bind", &["NET_BIND_SERVICE"]),
];

/// The same cause, with a hint where its log tells that something was denied which the manifest denies.
#[must_use]
pub fn hinted(mut cause: Cause, manifest: &Manifest) -> Cause {
    let (name, log, hint) = match &mut cause {
        Cause::CrashLoop { component, log, hint, .. } | Cause::NotReady { component, log, hint, .. } => {
            (component, log, hint)
        }
        Cause::JobFailed { job, log, hint, .. } => (job, log, hint),
        _ => return cause,
    };
    let program = manifest.objects.iter().find_map(|object| {
        let labels = &object.body["metadata"]["labels"];
        let (section, _) =
            [("apps", APP_LABEL), ("jobs", JOB_LABEL)].into_iter().find(|(_, l)| labels[*l].is_string())?;
        let pods = &object.body["spec"]["template"]["spec"];
        (object.component().to_string() == *name && pods.is_object()).then_some((section, pods))
    });
    *hint = program
        .and_then(|(section, pods)| told(&log.to_lowercase(), &format!("{section}.{name}"), pods))
        .unwrap_or_default();
    cause
}

fn told(log: &str, name: &str, pods: &Value) -> Option<String> {
    let says = |signs: &[&str]| signs.iter().any(|sign| log.contains(sign));
    let (own, all) = (&pods["containers"][0]["securityContext"], &pods["securityContext"]);
    if says(&READ_ONLY) && own["readOnlyRootFilesystem"] == true {
        return Some(format!(
            "its file system is read-only: a volume with `scratch` where it writes, or {name}.security.readOnlyRootFilesystem: \
             false"
        ));
    }
    if !says(&DENIED) {
        return None;
    }
    let user = all["runAsUser"].as_i64();
    if all["runAsNonRoot"] == true || user.is_some_and(|user| user > 0) {
        let user = user.map_or_else(|| "another user than root".to_owned(), |user| format!("user {user}"));
        return Some(format!("it runs as {user}: {name}.security.runAsUser and fsGroup say who it is"));
    }
    let granted = own["capabilities"]["add"].as_array();
    let has = |need: &str| granted.is_some_and(|granted| granted.iter().any(|own| own == need));
    let tried = NEEDS.iter().find(|(word, _)| log.contains(word)).map(|(_, needs)| *needs);
    let lacking: Vec<_> = tried.unwrap_or(&["DAC_OVERRIDE"]).iter().filter(|need| !has(need)).copied().collect();
    if lacking.is_empty() {
        return None;
    }
    let such = if tried.is_some() { "" } else { "what it needs, such as " };
    Some(format!(
        "hks takes all capabilities away: {name}.security.capabilities gives back {such}[{}]",
        lacking.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::told;
    use serde_json::json;

    #[test]
    fn what_is_denied_is_told_with_the_key_that_allows_it() {
        let root = json!({ "containers": [{ "securityContext": { "capabilities": { "drop": ["ALL"] } } }] });
        let of = |log: &str, pods| told(log, "apps.web", pods).unwrap_or_default();
        let chown = "chown: /data: operation not permitted";
        assert_eq!(
            of(chown, &root),
            "hks takes all capabilities away: apps.web.security.capabilities gives back [CHOWN]"
        );
        assert!(of("nginx: setgid(101) failed (1: operation not permitted)", &root).ends_with("[SETGID, SETUID]"));
        assert!(of("open /etc/x: permission denied", &root).ends_with("such as [DAC_OVERRIDE]"));
        assert_eq!(of("panic: nil", &root), "");
        let mut granted = root.clone();
        granted["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["CHOWN"]);
        assert_eq!(of(chown, &granted), "");
        let mut user = root.clone();
        user["securityContext"] = json!({ "runAsUser": 1000, "runAsNonRoot": true });
        assert_eq!(of(chown, &user), "it runs as user 1000: apps.web.security.runAsUser and fsGroup say who it is");
        let mut read_only = root.clone();
        read_only["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = json!(true);
        assert!(of("touch: /x: read-only file system", &read_only).starts_with("its file system is read-only"));
    }
}
