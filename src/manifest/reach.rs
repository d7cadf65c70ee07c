//! A job may ask its servers in its first moment, once: whoever enforces `NetworkPolicies` learns of a new pod some time after it has
//! started (on k3s: kube-router, which follows the pods), and refuses its connections until then.

use super::confine::{uses_cache, uses_pooler, uses_server};
use super::names::Names;
use super::pod::resources;
use super::{cache, database};
use crate::engine::postgres;
use crate::spec::Job;
use serde_json::{Value, json};

/// Asks again each second. A server that is not reached after half a minute of refusals, or two minutes of silence, is for the
/// job itself to tell.
const WAIT: &str = "for _ in $(seq 30); do if TRY; then break; fi; sleep 1; done";

/// What runs in a pod of a job before its own container: until each server that the job refers to answers.
pub(super) fn first(names: &Names<'_>, of: &str, job: &Job) -> Vec<Value> {
    let mut first = vec![];
    let mut wait = |image: String, user: u32, host: String, reaches: &str| {
        first.push(json!({
            // longer than the name of the job's own container, and so another
            "name": format!("{of}-waits-{}", first.len() + 1),
            "image": image,
            "command": ["/bin/sh", "-c", WAIT.replace("TRY", reaches), host],
            // what runs before asks for no more than what runs then, and so for nothing
            "resources": resources(&job.resources),
            "securityContext": {
                "runAsUser": user, "runAsGroup": user, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            },
        }));
    };
    for (name, database) in &names.spec.databases {
        let image = database::image(names, database);
        if job.program.refers(uses_server(name)) {
            wait(image.clone(), postgres::USER, names.object(name), postgres::REACHES);
        }
        if job.program.refers(uses_pooler(name)) {
            wait(image, postgres::USER, names.pooler(name), postgres::REACHES);
        }
    }
    for (name, cache) in names.spec.caches.iter().filter(|(name, _)| job.program.refers(uses_cache(name))) {
        let (image, _, client) = cache::engine(names, cache);
        // it asks for a password, which is an answer
        wait(image, cache::USER, names.object(name), &format!("timeout 3 {client} -h \"$0\" ping | grep -q ."));
    }
    first
}

#[cfg(test)]
mod tests {
    use crate::ident::{Kind, Revision};
    use crate::manifest::{Context, Object, render};
    use crate::platform::Platform;
    use crate::spec;
    use serde_json::Value;

    /// The containers that run before that of job `of`, as image and host, and the names of the logins to registries.
    fn first(of: &str, pull_secret: Option<&str>) -> (Vec<(String, String)>, Vec<String>) {
        let text = "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: todo}\nregistries: {own: {server: registry.example, secret: \
                    mine}}\ndatabases: {main: {engine: postgres, version: '16', pooler: {}}, other: {engine: postgres, version: '15'}}\n\
                    caches: {fast: {engine: valkey, version: '8'}}\napps:\n  web: {image: {repository: web, tag: '1', registry: own}, env: \
                    {A: '${databases.main.url}', B: '${databases.main.poolerUrl}', C: '${caches.fast.host}'}}\n  front: {image: 'acme/front:1'}\n\
                    jobs:\n  all: {app: web, run: postDeploy}\n  nightly: {app: front, schedule: '0 3 * * *', args: ['${databases.other.host}']}\n  \
                    none: {app: front, run: manual}\n";
        let spec = spec::parse(text.as_bytes(), "hks.yaml").unwrap();
        let mut platform = Platform::default();
        platform.images.pull_secret = pull_secret.map(str::to_owned);
        let manifest = render(&spec, &Revision::new("aaaa"), &Context::new(&platform, "shop", "main", None));
        let is_it = |object: &&std::sync::Arc<Object>| {
            matches!(object.key.kind, Kind::Job | Kind::CronJob) && object.key.name.starts_with(&format!("todo-{of}"))
        };
        let body = &manifest.objects.iter().find(is_it).unwrap().body["spec"];
        let run = if body["template"].is_object() { body } else { &body["jobTemplate"]["spec"] };
        let pod = &run["template"]["spec"];
        let list = |field: &str| pod[field].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let containers = list("initContainers");
        assert!(containers.iter().all(|container| container["resources"] == pod["containers"][0]["resources"]));
        let waits = containers.iter().map(|container| (text(&container["image"]), text(&container["command"][3])));
        (waits.collect(), list("imagePullSecrets").iter().map(|secret| text(&secret["name"])).collect())
    }

    #[test]
    fn a_job_begins_once_each_server_that_it_refers_to_is_reached() {
        let pair = |image: &str, host: &str| (image.to_owned(), host.to_owned());
        let (waits, logins) = first("all", Some("platform"));
        let servers = ["todo-main", "todo-main-pooler", "todo-fast"];
        assert_eq!(waits.iter().map(|(_, host)| host.as_str()).collect::<Vec<_>>(), servers);
        let images = Platform::default().images;
        assert_eq!(waits[0].0, images.postgres.replace("{version}", "16"));
        assert_eq!(waits[2].0, images.valkey.replace("{version}", "8"));
        assert_eq!(logins, ["mine", "platform"]);
        let other = pair(&images.postgres.replace("{version}", "15"), "todo-other");
        assert_eq!(first("nightly", None), (vec![other], vec![]));
        assert_eq!(first("none", Some("platform")), (vec![], vec![]));
        assert_eq!(first("all", Some("mine")).1, ["mine"], "a list of names has each once");
    }
}
