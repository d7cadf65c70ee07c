//! Whatever validates is accepted by the real API server: generated files, in a server-side dry run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod pure;
mod support;

use futures::StreamExt as _;
use hks::ident::{Kind, Revision};
use hks::manifest::{Context, Object, render};
use hks::shell::cluster::project::resource;
use hks::spec;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use pure::generate::{Tape, stack};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{World, client};

/// Generated files.
const CASES: usize = 2_000;
/// Requests at the same time.
const PARALLEL: usize = 16;

#[test]
fn what_validates_is_accepted() {
    let world = World::new("accepted");
    let mut runner = TestRunner::deterministic();
    let tapes = prop::collection::vec(any::<u8>(), 0..300);
    let (runtime, client) = client();
    let gateways = runtime.block_on(client.list_api_group_resources(Kind::HTTPRoute.api_version())).is_ok();
    let edges = &pure::edges()[..if gateways { 4 } else { 3 }];
    // equal objects need asking once
    let mut objects: BTreeMap<String, (Arc<Object>, String)> = BTreeMap::new();
    for case in 0..CASES {
        let tape = tapes.new_tree(&mut runner).unwrap().current();
        let source = serde_saphyr::to_string(&stack(&mut Tape(&tape))).unwrap();
        let spec = spec::parse(source.as_bytes(), "hks.yaml").unwrap_or_else(|found| panic!("{found:?}\n{source}"));
        let edge = edges[case % edges.len()].clone();
        let context = Context { edge, namespace: world.namespace.clone(), ..pure::context() };
        let manifest = render(&spec, &Revision::new("0123456789abcdef0123456789abcdef01234567"), &context);
        for object in manifest.objects {
            objects.entry(object.body.to_string()).or_insert((object, source.clone()));
        }
    }
    let params = PatchParams {
        force: true,
        field_manager: Some("hks".into()),
        field_validation: Some(ValidationDirective::Strict),
        dry_run: true,
    };
    let ask = async |object: Arc<Object>, source: String| {
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &world.namespace, &resource(object.key.kind));
        let mut body = object.body.clone();
        body["metadata"]["namespace"] = json!(world.namespace);
        let answer = api.patch(&object.key.name, &params, &Patch::Apply(&body)).await;
        answer.err().map(|error| format!("{}: {error}\n{body:#}\n{source}", object.key))
    };
    let kinds: std::collections::BTreeSet<Kind> = objects.values().map(|(object, _)| object.key.kind).collect();
    assert!(kinds.len() >= 12, "only {kinds:?} are tried");
    let total = objects.len();
    let refused: Vec<String> = runtime.block_on(async {
        let asked = objects.into_values().map(|(object, source)| ask(object, source));
        futures::stream::iter(asked).buffer_unordered(PARALLEL).filter_map(async |refused| refused).collect().await
    });
    assert!(refused.is_empty(), "{} of {total} objects were refused, such as\n{}", refused.len(), refused[0]);
}
