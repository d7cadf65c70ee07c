//! One set of watches for all projects of a cluster: each project sees its own, whenever it comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use hks::ident::Kind;
use hks::manifest::{MANAGED_BY, STACK_LABEL};
use hks::shell::cluster::feed::{Audience, Feeds};
use hks::shell::cluster::project::{Project, resource};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::World;

const PATIENCE: Duration = Duration::from_mins(1);

fn services(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(Kind::Service))
}

async fn make(api: &Api<DynamicObject>, name: &str) {
    let labels = json!({ MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: "web" });
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "labels": labels },
        "spec": { "clusterIP": "None" },
    });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

fn seen(project: &Project) -> BTreeSet<String> {
    project.keys(Kind::Service).into_iter().map(|key| key.name).collect()
}

async fn sees(project: &Project, names: &[&str]) {
    let expected: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let waited = tokio::time::timeout(PATIENCE, async {
        while seen(project) != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{:?} instead of {expected:?}", seen(project));
}

fn audience<'a>(projects: impl IntoIterator<Item = &'a Arc<Project>>) -> Audience {
    projects.into_iter().map(|project| (project.namespace.clone(), Arc::clone(project))).collect()
}

#[test]
fn each_project_sees_its_own_whenever_it_comes() {
    let worlds = ["watched-a", "watched-b", "watched-c"].map(World::new);
    let (runtime, client) = support::client();
    runtime.block_on(async {
        let projects: [Arc<Project>; 3] =
            std::array::from_fn(|index| Project::new(client.clone(), &worlds[index].namespace, Arc::default()));
        let apis: [_; 3] = std::array::from_fn(|index| services(&client, &worlds[index].namespace));
        let [a, b, c] = &projects;
        make(&apis[0], "one").await;
        let feeds = Feeds::open(&client, &Arc::default());
        feeds.serve(audience([a, b]));
        a.ready().await;
        b.ready().await;
        sees(a, &["one"]).await;
        make(&apis[1], "two").await;
        make(&apis[2], "early").await;
        sees(b, &["two"]).await;
        assert!(seen(c).is_empty() && !c.is_ready());
        // the third one comes while things are made and taken away in it all the time
        let enough = Arc::new(AtomicBool::new(false));
        let (api, done) = (apis[2].clone(), Arc::clone(&enough));
        let restless = tokio::spawn(async move {
            for round in 0.. {
                let name = format!("s{}", round % 3);
                make(&api, &name).await;
                api.delete(&name, &DeleteParams::default()).await.unwrap();
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        feeds.serve(audience(&projects));
        tokio::time::timeout(PATIENCE, c.ready()).await.expect("a project that comes later is listed");
        enough.store(true, Ordering::Relaxed);
        restless.await.unwrap();
        make(&apis[2], "late").await;
        sees(c, &["early", "late"]).await;
        let listed = apis[2].list(&ListParams::default()).await.unwrap();
        assert_eq!(listed.items.len(), 2);
        // the others were not listed anew, and go on
        apis[0].delete("one", &DeleteParams::default()).await.unwrap();
        sees(a, &[]).await;
        // who leaves hears no more, and comes again with a picture of its own
        feeds.serve(audience([a, c]));
        make(&apis[1], "three").await;
        make(&apis[2], "more").await;
        sees(c, &["early", "late", "more"]).await;
        assert_eq!(seen(b), ["two".to_owned()].into());
        let again = Project::new(client.clone(), &worlds[1].namespace, Arc::default());
        feeds.serve(audience([a, &again, c]));
        sees(&again, &["three", "two"]).await;
        // nobody is left, and somebody comes
        feeds.serve(Audience::new());
        let last = Project::new(client.clone(), &worlds[0].namespace, Arc::default());
        feeds.serve(audience([&last]));
        make(&apis[0], "last").await;
        tokio::time::timeout(PATIENCE, last.ready()).await.expect("who comes when nobody was left is listed");
        sees(&last, &["last"]).await;
    });
}
