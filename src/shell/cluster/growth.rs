//! Whether a volume can grow, in words, before the API server refuses it in its own.

use super::project::Project;
use crate::ident::Kind;
use crate::plan::Step;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use serde_json::Value;

/// Why the claim of a step can't grow, where that can be seen: who may not look at classes leaves it to the API server.
pub async fn impossible(project: &Project, step: &Step) -> Option<String> {
    if step.object.key.kind != Kind::PersistentVolumeClaim || step.irreversible.is_none() {
        return None;
    }
    let live = project.get(&step.object.key)?;
    let size =
        |claim: &Value| claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default().to_owned();
    let Some(name) = live["spec"]["storageClassName"].as_str().filter(|name| !name.is_empty()) else {
        return told(&size(&live), &size(&step.object.body), None, None);
    };
    let class = Api::<StorageClass>::all(project.client.clone()).get_opt(name).await.ok()?;
    let grows = class.map(|class| class.allow_volume_expansion == Some(true));
    told(&size(&live), &size(&step.object.body), Some(name), grows)
}

fn told(from: &str, to: &str, class: Option<&str>, grows: Option<bool>) -> Option<String> {
    let (why, mend) = match (class, grows) {
        (Some(_), Some(true)) => return None,
        (Some(class), Some(false)) => (
            format!("its storage class {class} does not let volumes grow"),
            format!(
                "whoever runs the platform can change that, if its driver can: kubectl patch storageclass {class} -p \
                 '{{\"allowVolumeExpansion\": true}}'"
            ),
        ),
        (Some(class), None) => (
            format!("its storage class {class} is not to be seen in this cluster"),
            "whoever runs the platform can make it, or let the vCluster show it (vcluster.yaml: \
             sync.fromHost.storageClasses.enabled: true)"
                .to_owned(),
        ),
        (None, _) => (
            "it was made without a storage class".to_owned(),
            "make a new database or volume, where the platform shows a class (vcluster.yaml: \
             sync.fromHost.storageClasses.enabled: true), and copy the data"
                .to_owned(),
        ),
    };
    Some(format!("it can't grow from {from} to {to}: {why}; set it back to {from}, or {mend}"))
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn what_keeps_a_volume_from_growing_is_named() {
        let of = |class, grows| told("1Gi", "2Gi", class, grows).unwrap_or_default();
        assert_eq!(of(Some("fast"), Some(true)), "");
        let text = of(Some("slow"), Some(false));
        let start =
            "it can't grow from 1Gi to 2Gi: its storage class slow does not let volumes grow; set it back to 1Gi, or ";
        assert!(text.starts_with(start) && text.contains("kubectl patch storageclass slow"), "{text}");
        assert!(of(Some("gone"), None).contains("storage class gone is not to be seen in this cluster"));
        assert!(of(None, None).contains("it was made without a storage class"));
    }
}
