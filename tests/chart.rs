//! The chart: what it renders, what that may, and an installation of it on the kit's host cluster.
//!
//! `tests/fixtures/chart/` holds values and what each set of them changes in `default.expected`; `UPDATE=1` writes that anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use hks::config::Config;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use support::helm::helm;
use support::installed::{Installed, SECOND};
use support::own::text;
use support::release::Release;
use support::{kit, sample, try_on_host, until, worker};

/// Where the cases are.
const CASES: &str = "tests/fixtures/chart";
/// How Helm renders without a cluster.
const TEMPLATE: [&str; 6] = ["template", "hks", "charts/hks", "--namespace=hks", "--kube-version=1.36", "--values"];

/// A right: group, resource, verb.
type Right = (String, String, String);

/// What becomes of values: the text, with another word for the key that is drawn by lot, and the objects.
struct Rendered {
    text: String,
    objects: Vec<Value>,
}

impl Rendered {
    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    fn deployment(&self) -> &Value {
        self.of("Deployment").next().unwrap()
    }

    /// The daemon's configuration.
    fn config(&self) -> &str {
        let mut all = self.of("ConfigMap");
        all.find_map(|object| object["data"]["hks-daemon.yaml"].as_str()).unwrap()
    }

    /// Roles of the cluster and of namespaces: namespace, name, rules.
    fn roles(&self) -> impl Iterator<Item = (&str, &str, &Vec<Value>)> {
        let roles = self.of("ClusterRole").chain(self.of("Role"));
        roles.map(|role| (word(&role["metadata"]["namespace"]), name(role), role["rules"].as_array().unwrap()))
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    word(&object["metadata"]["name"])
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|one| word(one).to_owned()).collect()
}

/// Renders a file of values; nothing where there is no Helm.
fn render(values: &Path) -> Option<Rendered> {
    let folder = tempfile::tempdir().unwrap();
    let output = helm(folder.path())?.args(TEMPLATE).arg(values).output().unwrap();
    assert!(output.status.success(), "{}: {}", values.display(), text(&output));
    let plain = String::from_utf8(output.stdout).unwrap();
    let drawn = plain.lines().find_map(|line| line.strip_prefix("  key: "));
    assert!(drawn.is_none_or(|key| key.len() >= 43), "{drawn:?}");
    let text = drawn.map_or_else(|| plain.clone(), |key| plain.replace(key, "drawn-by-lot"));
    let objects = text.split("\n---\n").map(|one| serde_saphyr::from_str(one).unwrap()).collect();
    Some(Rendered { text, objects })
}

/// By name: a file of values, and what becomes of it.
type Cases = BTreeMap<String, (PathBuf, Rendered)>;

/// Each set of values; nothing where there is no Helm.
fn cases() -> Option<&'static Cases> {
    static RENDERED: OnceLock<Option<Cases>> = OnceLock::new();
    let all = RENDERED.get_or_init(|| {
        let files = std::fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path());
        let values = files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
        let rendered = values.map(|path| {
            let case = path.file_stem().unwrap().to_str().unwrap().to_owned();
            Some((case, (path.clone(), render(&path)?)))
        });
        rendered.collect()
    });
    assert!(all.as_ref().is_none_or(|cases| cases.len() >= 12), "cases are missing");
    all.as_ref()
}

#[test]
fn values_change_what_they_are_for() {
    let Some(cases) = cases() else { return };
    let folder = tempfile::tempdir().unwrap();
    let default = &cases["default"].1.text;
    let mut wrong = vec![];
    for (case, (values, rendered)) in cases {
        let mut lint = helm(folder.path()).unwrap();
        let linted = lint.args(["lint", "charts/hks", "--strict", "--quiet", "--values"]).arg(values).output().unwrap();
        assert!(linted.status.success(), "{case}: {}", text(&linted));
        Config::parse(rendered.config(), values).unwrap();
        let changed = similar::TextDiff::from_lines(default, &rendered.text).unified_diff().to_string();
        let actual = if case == "default" { default } else { &changed };
        let path = values.with_extension("expected");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if expected != *actual {
            let diff = similar::TextDiff::from_lines(&expected, actual);
            wrong.push(format!("{}\n{}", path.display(), diff.unified_diff()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 accepts what is right:\n{}", wrong.join("\n"));
}

/// The rights that a table of docs/doctor.md lists, which are those that the code asks for (`shell::doctor::rights`).
fn documented(heading: &str) -> BTreeSet<Right> {
    let page = std::fs::read_to_string("docs/doctor.md").unwrap();
    let (_, rest) = page.split_once(heading).unwrap();
    let (_, table) = rest.split_once("|---|---|---|---|\n").unwrap();
    let mut rights = BTreeSet::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let groups: Vec<_> = cells[0].split(", ").map(|group| group.replace("core", "")).collect();
        // `leases, in …`: where
        let resources = cells[1].split(", ").filter(|resource| !resource.starts_with("in "));
        for (place, resource) in resources.enumerate() {
            let group = groups.get(place).unwrap_or(&groups[0]);
            rights.extend(cells[2].split(' ').map(|verb| (group.clone(), resource.to_owned(), verb.to_owned())));
        }
    }
    rights
}

fn granted(rules: &[Value]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let verbs = words(&rule["verbs"]);
                rights.extend(verbs.into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    rights
}

#[test]
fn a_project_and_hosts_get_what_the_documentation_lists_and_the_rest_is_read_by_name() {
    let Some(cases) = cases() else { return };
    let project = documented("## Rights in a project");
    let hosts = documented("whose a host is has to be kept and seen");
    let leaders = documented("stand in for each other");
    assert!(project.len() > 60 && hosts.len() == 7 && leaders.len() == 5, "{project:?} {hosts:?} {leaders:?}");
    for (case, (_, rendered)) in cases {
        let (mut of_hosts, mut of_leaders) = (BTreeSet::new(), BTreeSet::new());
        for (_, name, rules) in rendered.roles() {
            if name == "hks-hks-project" {
                assert_eq!(granted(rules), project, "{case}");
            } else if name.ends_with("-hosts") {
                of_hosts.extend(granted(rules));
            } else if name.ends_with("-leader") {
                of_leaders.extend(granted(rules));
            } else {
                for rule in rules {
                    assert!(!words(&rule["resourceNames"]).is_empty(), "{case}: {name}: {rule}");
                }
                let reading = |right: &Right| ["get", "list", "watch"].contains(&right.2.as_str());
                assert!(granted(rules).iter().all(reading), "{case}: {name}: {rules:?}");
            }
        }
        assert!(of_hosts.is_empty() || of_hosts == hosts, "{case}: {of_hosts:?}");
        assert_eq!(!of_hosts.is_empty(), case == "hosts", "{case}");
        assert!(of_leaders.is_empty() || of_leaders == leaders, "{case}: {of_leaders:?}");
        assert_eq!(!of_leaders.is_empty(), case == "standby", "{case}");
        for object in rendered.objects.iter().filter(|object| word(&object["apiVersion"]).starts_with("rbac.")) {
            // two releases of one name do not meet
            assert!(name(object).starts_with("hks-hks-"), "{case}: {}", name(object));
        }
        for binding in rendered.of("RoleBinding").chain(rendered.of("ClusterRoleBinding")) {
            let account = if case == "account" { "gitops" } else { "hks" };
            let who = json!([{ "kind": "ServiceAccount", "name": account, "namespace": "hks" }]);
            assert_eq!(binding["subjects"], who, "{case}: {}", name(binding));
        }
        // what is granted in the whole cluster: whether a project exists, and who answers for a host
        for binding in rendered.of("ClusterRoleBinding") {
            assert!(["hks-hks-namespaces", "hks-hks-hosts"].contains(&name(binding)), "{case}: {}", name(binding));
        }
    }
}

/// Every `secret: NAMESPACE/NAME/KEY`, wherever it stands.
fn credentials(value: &Value, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match word(value).split('/').collect::<Vec<_>>()[..] {
                    [namespace, secret, _] if key == "secret" => {
                        found.insert((namespace.to_owned(), secret.to_owned()));
                    }
                    _ => credentials(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| credentials(item, found)),
        _ => {}
    }
}

#[test]
fn each_source_and_credential_gets_its_right_and_nobody_else_does() {
    let Some(cases) = cases() else { return };
    for (case, (values, rendered)) in cases {
        let mut needed = BTreeSet::new();
        credentials(&serde_saphyr::from_str(rendered.config()).unwrap(), &mut needed);
        let (mut projects, mut services) = (BTreeSet::new(), BTreeSet::new());
        for source in Config::parse(rendered.config(), values).unwrap().sources.into_values() {
            match (source.target.kubeconfig, source.target.vcluster) {
                (Some(_), _) => {}
                (None, Some(vcluster)) => {
                    let namespace = vcluster.namespace.unwrap_or_else(|| format!("vcluster-{}", vcluster.name));
                    needed.insert((namespace.clone(), format!("vc-{}", vcluster.name)));
                    services.insert((namespace, vcluster.name));
                }
                (None, None) => _ = projects.insert(source.namespace),
            }
        }
        if case == "no-rbac" {
            assert!(!needed.is_empty() && !projects.is_empty(), "the case has what needs rights");
            assert!(!rendered.text.contains("rbac.authorization.k8s.io"), "{}", rendered.text);
            continue;
        }
        let bound = |object: &&Value| word(&object["roleRef"]["kind"]) == "Role";
        let own = |object: &Value| (word(&object["metadata"]["namespace"]).to_owned(), name(object).to_owned());
        let roles: BTreeSet<_> = rendered.of("Role").map(own).collect();
        assert_eq!(roles, rendered.of("RoleBinding").filter(bound).map(own).collect(), "{case}: each is bound");
        let in_projects = rendered.of("RoleBinding").filter(|object| !bound(object)).map(|object| own(object).0);
        assert_eq!(projects, in_projects.collect(), "{case}");
        let by_name = |resource: &str| -> BTreeSet<(String, String)> {
            let rules =
                rendered.roles().flat_map(|(namespace, _, rules)| rules.iter().map(move |rule| (namespace, rule)));
            let wanted = rules.filter(|(_, rule)| words(&rule["resources"]) == [resource]);
            wanted
                .flat_map(|(namespace, rule)| {
                    words(&rule["resourceNames"]).into_iter().map(|name| (namespace.to_owned(), name))
                })
                .collect()
        };
        assert_eq!(by_name("secrets"), needed, "{case}");
        assert_eq!(by_name("services"), services, "{case}");
        let spaces: BTreeSet<_> = by_name("namespaces").into_iter().map(|(_, name)| name).collect();
        assert_eq!(spaces, projects, "{case}");
    }
}

#[test]
fn the_pod_has_what_it_needs_and_a_changed_configuration_leaves_it_alone() {
    let Some(cases) = cases() else { return };
    let default = cases["default"].1.deployment();
    for (case, (values, rendered)) in cases {
        let deployment = rendered.deployment();
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["enableServiceLinks"], false, "{case}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{case}");
        assert_eq!(pod["securityContext"]["seccompProfile"], json!({ "type": "RuntimeDefault" }), "{case}");
        for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(pod[namespace], Value::Null, "{case}: {namespace}");
        }
        let containers = pod["containers"].as_array().unwrap();
        assert!(containers.len() == 1 && pod["initContainers"].is_null(), "{case}");
        let least = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] }
        });
        assert_eq!(containers[0]["securityContext"], least, "{case}");
        for amount in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            assert!(containers[0]["resources"].pointer(amount).is_some(), "{case}: {amount}");
        }
        let volumes = pod["volumes"].as_array().unwrap();
        let bounded = |volume: &Value| volume["emptyDir"].is_null() || volume["emptyDir"]["sizeLimit"].is_string();
        assert!(volumes.iter().all(bounded), "{case}: {volumes:?}");
        let mounts = containers[0]["volumeMounts"].as_array().unwrap();
        let written = mounts.iter().filter(|mount| mount["readOnly"] != true).map(name_of);
        assert_eq!(written.collect::<Vec<_>>(), ["data", "tmp"], "{case}");
        let given: Value = serde_saphyr::from_str(&std::fs::read_to_string(values).unwrap()).unwrap();
        if case != "default" && given.as_object().unwrap().keys().all(|key| key == "config") {
            assert_ne!(rendered.config(), cases["default"].1.config(), "{case}");
            assert_eq!(deployment, default, "{case}: a configuration is read again, it restarts nothing");
        }
    }
}

fn name_of(mount: &Value) -> &str {
    word(&mount["name"])
}

#[test]
fn only_who_is_meant_reaches_the_pod_and_no_pod_of_it_a_clouds_metadata() {
    let Some(cases) = cases() else { return };
    for (case, (_, rendered)) in cases {
        let Some(policy) = rendered.of("NetworkPolicy").next() else {
            assert_eq!(case, "no-policy");
            continue;
        };
        let labels = &rendered.deployment()["spec"]["template"]["metadata"]["labels"];
        let selected = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
        assert!(!selected.is_empty() && selected.iter().all(|(key, value)| labels[key] == *value), "{case}");
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]), "{case}");
        let ports = &rendered.deployment()["spec"]["template"]["spec"]["containers"][0]["ports"];
        let listened: Vec<_> = ports.as_array().unwrap().iter().map(|port| &port["containerPort"]).collect();
        let ingress = policy["spec"]["ingress"].as_array().unwrap();
        let open: Vec<_> = ingress.iter().map(|rule| &rule["ports"][0]["port"]).collect();
        assert_eq!(open, listened, "{case}: numbers in the policy are those of the pod");
        assert_eq!(ingress[0]["from"].is_null(), case != "narrow", "{case}");
        // to a peer that is an address, the metadata service is left out
        for rule in policy["spec"]["egress"].as_array().unwrap().iter().filter(|_| case != "narrow") {
            let to: Vec<_> = rule["to"].as_array().into_iter().flatten().collect();
            let blocks: Vec<_> = to.iter().filter(|peer| !peer["ipBlock"].is_null()).collect();
            let left_out: Vec<_> = blocks.iter().flat_map(|peer| words(&peer["ipBlock"]["except"])).collect();
            let numbers: Vec<_> =
                rule["ports"].as_array().unwrap().iter().filter_map(|port| port["port"].as_u64()).collect();
            if to.is_empty() {
                assert!(!numbers.is_empty() && !numbers.contains(&80), "{case}: {rule}");
            } else {
                assert_eq!(left_out, ["169.254.0.0/16", "fd00:ec2::/32"], "{case}");
            }
        }
    }
}

#[test]
fn whoever_stands_by_is_there_and_is_asked_nothing() {
    let Some(cases) = cases() else { return };
    for (case, (values, rendered)) in cases {
        let stands_by = case == "standby";
        let election = Config::parse(rendered.config(), values).unwrap().leader_election;
        assert_eq!(
            election.map(|election| (election.lease, election.namespace)),
            stands_by.then(|| ("hks".into(), Some("hks".into()))),
            "{case}"
        );
        let spec = &rendered.deployment()["spec"];
        assert_eq!(spec["strategy"]["type"], if stands_by { "RollingUpdate" } else { "Recreate" }, "{case}");
        let selector = &rendered.of("Service").next().unwrap()["spec"]["selector"];
        assert_eq!(selector["hks.hexabase.ai/leads"].as_str(), stands_by.then_some("hks"), "{case}");
        // one that can't be evicted would keep its node from being drained
        assert_eq!(rendered.of("PodDisruptionBudget").count(), usize::from(stands_by), "{case}");
    }
}

#[test]
fn an_account_that_is_not_made_has_to_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut helm) = helm(folder.path()) else { return };
    let default = Path::new(CASES).join("default.yaml");
    let refused = helm.args(TEMPLATE).arg(default).args(["--set", "serviceAccount.create=false"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(text(&refused).contains("serviceAccount.name must be set"), "{}", text(&refused));
}

/// What the API server says of the pod in a namespace that enforces `restricted`.
fn admitted(release: &Release, pod: &Value) -> String {
    let body = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "hks" }, "spec": pod });
    let file = release.file("pod.json", &body.to_string());
    text(&try_on_host(&["-n", &release.name, "create", "--dry-run=server", "-f", file.to_str().unwrap()]))
}

#[test]
fn pod_security_restricted_admits_the_pod_and_not_one_with_less() {
    if kit().vcluster.is_none() {
        return;
    }
    let release = Release::new("restricted");
    for account in ["hks", "gitops"] {
        release.kubectl(&["create", "serviceaccount", account]);
    }
    for (case, (_, rendered)) in cases().unwrap() {
        let pod = &rendered.deployment()["spec"]["template"]["spec"];
        let answer = admitted(&release, pod);
        assert!(answer.contains("pod/hks created (server dry run)"), "{case}: {answer}");
        for lost in [
            "/securityContext/runAsNonRoot",
            "/securityContext/seccompProfile",
            "/containers/0/securityContext/allowPrivilegeEscalation",
            "/containers/0/securityContext/capabilities",
        ] {
            let mut less = pod.clone();
            *less.pointer_mut(lost).unwrap() = Value::Null;
            let answer = admitted(&release, &less);
            assert!(answer.contains("violates PodSecurity"), "{case}: {lost}: {answer}");
        }
    }
}

#[test]
fn installed_it_deploys_and_goes_on_through_upgrade_and_rollback_until_it_is_uninstalled() {
    let Some(forge) = &kit().forge else { return };
    let mut all = Installed::new(forge);
    all.upgrade();
    let (name, seal) = (all.release.name.clone(), all.release.seal());
    let inner = worker("inner", "1", "sleep 3601", "");
    let sha = all.push(&inner, &sample("outer", "1.0.0"));
    all.wait("inner", "settled", &sha);
    all.wait("outer", "settled", &sha);
    assert!(until(30, || all.repository.statuses(&sha).last().is_some_and(|(state, _)| state == "success")));

    // a database that a failed release has brought is asked for tables, and goes
    let crashing = worker("outer", "1", "exit 1", "");
    let (_, app) = crashing.split_once("apps:\n").unwrap();
    let database = "databases:\n  extra: {engine: postgres, version: \"15\", storage: {size: 64Mi}, resources: {requests: {cpu: 20m, \
                    memory: 64Mi}, limits: {memory: 128Mi}}}\n";
    let bad = sample("outer", "1.0.0").replace("databases:\n", database).replace("apps:\n", &format!("apps:\n{app}"));
    let held = all.push(&inner, &bad);
    let view = all.wait("outer", "held", &held);
    assert!(view["cause"].as_str().is_some_and(|cause| cause.contains("job crashes")), "{view:#}");
    let databases = || all.in_project(&["get", "statefulset,pvc", "-o", "name"]);
    assert!(until(60, || !databases().contains("extra")), "{}", databases());
    assert!(databases().contains("main"), "{}", databases());
    let sha = all.push(&inner, &sample("outer", "2.0.0"));
    all.wait("outer", "settled", &sha);

    // the account may what is needed, as the program itself says, and never wanted more
    let doctor = ["-n", &name, "exec", &format!("deployment/{name}"), "--", "/hks", "doctor", "--config"];
    let told = text(&try_on_host(&[&doctor[..], &["/etc/hks/hks-daemon.yaml"]].concat()));
    let well = |project: &str| told.contains(&format!("all that is needed in {project} is allowed"));
    assert!(well(&all.release.project) && well(&all.world.namespace), "{told}");
    let log = all.release.log();
    assert!(!log.contains("forbidden") && !log.contains("may not"), "{log}");

    // another configuration is read by the pod that runs
    let pod = all.release.pod();
    assert_eq!(all.release.get("/api/v1/status", SECOND).0, 401);
    let reader = json!({ "token": { "secret": format!("{name}/credentials/second") }, "sources": ["*"] });
    all.values["config"]["access"]["tokens"]["second"] = reader;
    all.upgrade();
    assert!(until(180, || all.release.get("/api/v1/status", SECOND).0 == 200), "{}", all.release.log());
    assert_eq!(all.release.pod(), pod, "nothing was restarted");

    // another pod goes on where that one was
    all.values["log"] = json!("debug");
    all.upgrade();
    assert_ne!(all.release.pod(), pod);
    all.wait("outer", "settled", &sha);
    let sha = all.push(&worker("inner", "1", "sleep 3602", ""), &sample("outer", "1.0.0"));
    all.wait("inner", "settled", &sha);

    // a second pod stands by, and goes on when the leader is gone
    all.values["replicas"] = json!(2);
    all.upgrade();
    all.wait("inner", "settled", &sha);
    let leader = all.release.leader();
    all.release.kubectl(&["delete", "pod", &leader, "--grace-period=0", "--force"]);
    let sha = all.push(&worker("inner", "1", "sleep 3603", ""), &sample("outer", "1.0.0"));
    all.wait("inner", "settled", &sha);
    assert_ne!(all.release.leader(), leader);

    all.release.helm(&["rollback", &name, "1", "--wait", "--timeout=4m"]);
    all.wait("outer", "settled", &sha);
    assert_eq!(all.release.get("/api/v1/status", SECOND).0, 401, "as it was installed");
    assert_eq!(all.release.seal(), seal);

    all.release.helm(&["uninstall", &name, "--wait"]);
    let kept = [format!("secret/{name}-seal")];
    assert!(until(60, || all.left() == kept), "{:?}", all.left());
    assert!(
        all.in_project(&["get", "deployment", "outer-web", "-o", "name"]).contains("outer-web"),
        "what it deployed stays"
    );
    all.upgrade();
    assert_eq!(all.release.seal(), seal, "what it sealed before is still its own");
    all.wait("outer", "settled", &sha);
}
