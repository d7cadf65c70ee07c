//! Whatever is valid stays in its project, and renders the same bytes each time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pure;

use hks::ident::{Kind, Revision};
use hks::manifest::{Context, render};
use hks::spec;
use proptest::prelude::*;
use pure::generate::{Tape, stack};
use serde_json::Value;

/// What no rendered object may say, wherever it stands in it.
const FORBIDDEN: [&str; 14] = [
    "namespace",
    "serviceAccountName",
    "serviceAccount",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "hostPath",
    "hostPort",
    "hostAliases",
    "privileged",
    "procMount",
    "nodeName",
    "externalName",
    "externalIPs",
];

/// Capabilities that the baseline of the Pod Security Standards allows.
const BASELINE: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The first thing in an object that leaves the project or the baseline.
fn escape(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            let free =
                ["labels", "annotations", "data", "matchLabels", "selector"].iter().any(|part| path.ends_with(part));
            let bad = FORBIDDEN.contains(&key.as_str())
                || (key == "allowPrivilegeEscalation" && *value != false)
                || (key == "automountServiceAccountToken" && *value != false)
                || (key == "add" && !value.as_array().unwrap().iter().all(|c| BASELINE.contains(&c.as_str().unwrap())))
                || (key == "type" && path.ends_with("spec.type"))
                || (key == "seccompProfile" && value["type"] != "RuntimeDefault");
            if bad {
                Some(path)
            } else if free {
                None
            } else {
                escape(value, &path)
            }
        }),
        Value::Array(items) => items.iter().find_map(|item| escape(item, path)),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_valid_stays_in_its_project(tape in prop::collection::vec(any::<u8>(), 0..300), edge in 0_usize..4) {
        let source = serde_saphyr::to_string(&stack(&mut Tape(&tape))).unwrap();
        let spec = spec::parse(source.as_bytes(), "hks.yaml");
        prop_assert!(spec.is_ok(), "{}\n{source}", spec.unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        let edge = pure::edges()[edge].clone();
        let context = Context { edge, ..pure::context() };
        let revision = Revision::new("0123456789abcdef0123456789abcdef01234567");
        let manifest = render(spec.as_ref().unwrap(), &revision, &context);
        let again = render(&spec::parse(source.as_bytes(), "hks.yaml").unwrap(), &revision, &context);
        prop_assert_eq!(&manifest, &again);
        for object in &manifest.objects {
            prop_assert!(Kind::ALL.contains(&object.key.kind));
            prop_assert!(!matches!(object.key.kind, Kind::Pod | Kind::Lease | Kind::ReplicaSet), "{}", object.key);
            prop_assert!(object.key.name.contains(spec.as_ref().unwrap().name.as_str()), "{}", object.key);
            let mut body = object.body.clone();
            if object.key.kind == Kind::HTTPRoute {
                // the one thing of another namespace, named by the platform and not by the file
                let parent = body["spec"]["parentRefs"][0].as_object_mut().unwrap();
                prop_assert_eq!(parent.remove("namespace"), Some("gateways".into()));
                prop_assert_eq!(parent.remove("name"), Some("public".into()));
            }
            let escape = escape(&body, "");
            prop_assert!(escape.is_none(), "{}: {}\n{source}", object.key, escape.unwrap());
        }
        let mut names: Vec<_> = manifest.objects.iter().map(|object| &object.key).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), manifest.objects.len());
    }
}
