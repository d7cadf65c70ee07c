//! The verbs that the code uses in a project, and which of them are granted. The chart grants the same; a test compares both.

use super::{Finding, Patient};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
    SelfSubjectRulesReviewSpec,
};
use kube::api::{Api, PostParams};
use kube::{Client, Error};

const ABOUT: &str = "rights";

/// Makes, changes and deletes what a Stack consists of.
const ALL: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// What is needed of resources of a group.
pub(super) struct Need {
    pub group: &'static str,
    pub resources: &'static [&'static str],
    pub verbs: &'static [&'static str],
    /// What goes on without it, if something does.
    pub without: Option<&'static str>,
}

const fn need(group: &'static str, resources: &'static [&'static str], verbs: &'static [&'static str]) -> Need {
    Need { group, resources, verbs, without: None }
}

/// Every right in a project, in the order of the chart.
pub(super) const NEEDED: [Need; 17] = [
    need("", &["secrets", "configmaps", "persistentvolumeclaims", "services"], ALL),
    need("", &["pods"], ALL),
    Need { without: Some("causes are told without log lines"), ..need("", &["pods/log"], &["get"]) },
    Need {
        without: Some("a database is always kept, since it can't be asked for tables"),
        ..need("", &["pods/exec"], &["get", "create"])
    },
    need("", &["events"], &["list", "watch"]),
    Need {
        without: Some("what a quota has refused is not tried again when the quota is changed"),
        ..need("", &["resourcequotas", "limitranges"], &["list", "watch"])
    },
    Need {
        without: Some("the project hears of nothing by Events of Kubernetes"),
        ..need("events.k8s.io", &["events"], &["create", "patch"])
    },
    need("apps", &["deployments", "statefulsets"], ALL),
    need("apps", &["replicasets"], &["list", "watch"]),
    need("discovery.k8s.io", &["endpointslices"], &["list", "watch"]),
    need("autoscaling", &["horizontalpodautoscalers"], ALL),
    need("policy", &["poddisruptionbudgets"], ALL),
    need("batch", &["jobs", "cronjobs"], ALL),
    need("networking.k8s.io", &["ingresses", "networkpolicies"], ALL),
    Need {
        without: Some("public hosts can't be routes of a Gateway"),
        ..need("gateway.networking.k8s.io", &["httproutes"], ALL)
    },
    Need { without: Some("what pods use is not shown"), ..need("metrics.k8s.io", &["pods"], &["list"]) },
    need("coordination.k8s.io", &["leases"], &["get", "list", "watch", "create", "patch"]),
];

/// A verb on a resource that is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    group: &'static str,
    resource: &'static str,
    verbs: Vec<&'static str>,
    without: Option<&'static str>,
}

pub(super) async fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let namespace = &patient.place.namespace;
    let rules = match rules(&patient.target, namespace).await {
        Ok(rules) => rules,
        Err(error) => {
            let says = format!("it can't be asked what is allowed: {}", crate::shell::cluster::failure::root(&error));
            return vec![Finding::unseen(ABOUT, says, "kubectl auth can-i --list")];
        }
    };
    let gateway = patient.platform.gateway.is_some();
    let mut found = vec![];
    for mut lack in lacks(&rules) {
        // rules need not be complete: an authorizer that decides by itself lists none
        let mut verbs = vec![];
        for verb in lack.verbs {
            if !may(&patient.target, namespace, lack.group, lack.resource, verb).await {
                verbs.push(verb);
            }
        }
        lack.verbs = verbs;
        if !lack.verbs.is_empty() {
            found.push(told(&lack, namespace, gateway));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(ABOUT, format!("all that is needed in {namespace} is allowed")));
    }
    found
}

fn told(lack: &Lack, namespace: &str, gateway: bool) -> Finding {
    let Lack { group, resource, verbs, without } = lack;
    let says = format!("may not {} {resource} in {namespace}", verbs.join(", "));
    let rule = format!(r#"{{apiGroups: ["{group}"], resources: [{resource}], verbs: [{}]}}"#, verbs.join(", "));
    let mend = format!("add to the role of hks (the chart's rbac.create: true grants it): {rule}");
    match without {
        Some(_) if *resource == "httproutes" && gateway => Finding::missing(ABOUT, says, mend),
        Some(without) => Finding::warning(ABOUT, format!("{says}: {without}"), mend),
        None => Finding::missing(ABOUT, says, mend),
    }
}

async fn rules(client: &Client, namespace: &str) -> Result<Vec<ResourceRule>, Error> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
        ..SelfSubjectRulesReview::default()
    };
    let api: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.map(|status| status.resource_rules).unwrap_or_default())
}

async fn may(client: &Client, namespace: &str, group: &str, resource: &str, verb: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(of, sub)| (of, Some(sub)));
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    answer.is_ok_and(|review| review.status.is_some_and(|status| status.allowed))
}

/// What no rule grants.
fn lacks(rules: &[ResourceRule]) -> Vec<Lack> {
    let mut lacks = vec![];
    for Need { group, resources, verbs, without } in &NEEDED {
        for resource in *resources {
            let granted = |verb: &&str| rules.iter().any(|rule| grants(rule, group, resource, verb));
            let verbs: Vec<_> = verbs.iter().filter(|verb| !granted(verb)).copied().collect();
            if !verbs.is_empty() {
                lacks.push(Lack { group, resource, verbs, without: *without });
            }
        }
    }
    lacks
}

fn grants(rule: &ResourceRule, group: &str, resource: &str, verb: &str) -> bool {
    let has = |list: &[String], wanted: &str| list.iter().any(|one| one == wanted || one == "*");
    let some = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let any_sub = resource.split_once('/').is_some_and(|(_, sub)| some(&rule.resources).contains(&format!("*/{sub}")));
    // a rule for single names grants nothing that can be listed
    some(&rule.resource_names).is_empty()
        && has(&some(&rule.api_groups), group)
        && (has(&some(&rule.resources), resource) || any_sub)
        && has(&rule.verbs, verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> ResourceRule {
        ResourceRule {
            api_groups: Some(vec![group.into()]),
            resources: Some(vec![resource.into()]),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            resource_names: None,
        }
    }

    fn all() -> Vec<ResourceRule> {
        NEEDED.iter().flat_map(|n| n.resources.iter().map(|resource| rule(n.group, resource, n.verbs))).collect()
    }

    #[test]
    fn what_is_granted_is_not_lacking() {
        assert_eq!(lacks(&[rule("*", "*", &["*"])]), []);
        assert_eq!(lacks(&all()), []);
    }

    #[test]
    fn a_missing_verb_is_named_with_the_rule_that_grants_it() {
        let mut rules = all();
        rules.retain(|rule| rule.resources != Some(vec!["jobs".into()]));
        rules.push(rule("batch", "jobs", &["get", "watch"]));
        let found = lacks(&rules);
        assert_eq!(found.iter().map(|lack| lack.verbs.join(" ")).collect::<Vec<_>>(), ["list create patch delete"]);
        let told = told(&found[0], "shop", false);
        assert_eq!(told.says, "may not list, create, patch, delete jobs in shop");
        assert!(told.mend.is_some_and(|mend| {
            mend.ends_with(r#"{apiGroups: ["batch"], resources: [jobs], verbs: [list, create, patch, delete]}"#)
        }));
    }

    #[test]
    fn a_rule_for_one_name_is_no_right_to_list() {
        let one = ResourceRule { resource_names: Some(vec!["x".into()]), ..rule("", "secrets", &["*"]) };
        assert!(!grants(&one, "", "secrets", "get"));
        assert!(grants(&rule("", "*/log", &["get"]), "", "pods/log", "get"));
    }

    #[expect(clippy::disallowed_methods, reason = "a file of this repository")]
    fn file(path: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn the_documentation_lists_what_is_needed() {
        let mut table = "| group | resources | verbs | without |\n|---|---|---|---|\n".to_owned();
        for Need { group, resources, verbs, without } in &NEEDED {
            let group = if group.is_empty() { "core" } else { group };
            let (resources, verbs) = (resources.join(", "), verbs.join(" "));
            table.push_str(&format!("| {group} | {resources} | {verbs} | {} |\n", without.unwrap_or("nothing works")));
        }
        assert!(file("docs/doctor.md").contains(&table), "docs/doctor.md has to say:\n{table}");
    }

    #[test]
    fn the_chart_grants_exactly_what_is_needed() {
        let text = file("charts/hks/templates/rbac.yaml");
        let role = text.split("rules:").nth(1).and_then(|rest| rest.split("---").next()).unwrap_or_default();
        let list = |line: &str| {
            let inner = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(inner, _)| inner);
            let words = inner.unwrap_or_default().split(',').map(|word| word.trim().trim_matches('"').to_owned());
            words.collect::<Vec<_>>()
        };
        let of = |key: &str| role.lines().filter(|line| line.contains(key)).map(list).collect::<Vec<_>>();
        let granted: Vec<_> = of("apiGroups:").into_iter().zip(of("resources:")).zip(of("verbs:")).collect();
        let owned = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let needed: Vec<_> =
            NEEDED.iter().map(|n| ((vec![n.group.to_owned()], owned(n.resources)), owned(n.verbs))).collect();
        assert_eq!(granted, needed);
    }
}
