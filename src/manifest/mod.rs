//! Spec × Revision → Manifest: the Kubernetes objects of a Stack, in stages. Infallible and in a stable order, so that
//! equal input gives equal bytes. No secret value occurs here: a Secret is rendered as a recipe for its values.

mod app;
mod database;
mod env;
mod ingress;

pub use database::postgres_image;

use crate::ident::{Kind, ObjectKey, Revision, StackName};
use crate::spec::{Deploy, Drift, Spec};
use ring::digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Label with the Stack's name on every object and pod; the watches select by [`MANAGED_BY`].
pub const STACK_LABEL: &str = "hks.hexabase.ai/stack";
/// Label with the app's name, on what belongs to an app.
pub const APP_LABEL: &str = "hks.hexabase.ai/app";
/// Label with the database's name, on what belongs to a database.
pub const DATABASE_LABEL: &str = "hks.hexabase.ai/database";
/// Annotation with a digest of the rendered object: it tells a dropped field from one that others own.
pub const HASH_ANNOTATION: &str = "hks.hexabase.ai/hash";
/// The recommended label by which hks finds its objects, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "hks");

/// What the daemon knows and the file does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// The project: the one namespace of the Stack.
    pub namespace: String,
    /// Generated hosts end with this, such as `apps.example.com`; may carry a port, which is left out of Ingress hosts.
    pub domain: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `ingressClassName`, or the cluster's default.
    pub ingress_class: Option<String>,
    /// Image of PostgreSQL; `{version}` stands for the major version.
    pub postgres_image: String,
}

/// A part of a deployment; stages are applied and watched one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Pods that prove that new images can be pulled, before any data is touched.
    Preflight,
    /// Secrets, databases and their volumes.
    Databases,
    /// Apps, their Services and public hosts.
    Apps,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 3] = [Stage::Preflight, Stage::Databases, Stage::Apps];

    /// The stage in words, for progress.
    pub fn title(self) -> &'static str {
        match self {
            Stage::Preflight => "pulling images",
            Stage::Databases => "databases",
            Stage::Apps => "apps",
        }
    }
}

/// How a value of a Secret comes to be; never the value itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// Made once, of this many URL-safe characters; kept for ever after.
    Random(usize),
    /// Public text.
    Text(String),
    /// Text and other keys of the same Secret, in order.
    Composed(Vec<Ingredient>),
}

/// A piece of [`Recipe::Composed`].
#[derive(Clone, Debug, PartialEq)]
pub enum Ingredient {
    /// Literal text.
    Text(&'static str),
    /// The value of another key.
    Key(&'static str),
}

/// One object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Kind and name.
    pub key: ObjectKey,
    /// When it is applied.
    pub stage: Stage,
    /// The body for server-side apply, without namespace and without secret values.
    pub body: Value,
    /// For Secrets: how each key's value is made.
    pub recipe: BTreeMap<String, Recipe>,
}

impl Object {
    /// Whether the object holds data that can't be made again: never pruned, never replaced.
    pub fn holds_data(&self) -> bool {
        holds_data(&self.key, &self.body)
    }

    /// The digest in [`HASH_ANNOTATION`].
    pub fn hash(&self) -> &str {
        self.body["metadata"]["annotations"][HASH_ANNOTATION].as_str().unwrap_or_default()
    }
}

/// Whether an object (rendered or live) belongs to a database: its volume, server, credentials.
pub fn holds_data(key: &ObjectKey, body: &Value) -> bool {
    matches!(key.kind, Kind::PersistentVolumeClaim | Kind::StatefulSet)
        || (key.kind == Kind::Secret && body["metadata"]["labels"][DATABASE_LABEL].is_string())
}

/// What an app is, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSummary {
    /// Name in the file.
    pub name: String,
    /// Name of its Deployment.
    pub deployment: String,
    /// Image reference.
    pub image: String,
}

/// A public address and the path by which it is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicUrl {
    /// Name of the ingress in the file.
    pub name: String,
    /// Such as `https://todo-shop.apps.example.com`.
    pub url: String,
    /// Path that answers when the app is ready.
    pub check: String,
}

/// Everything that a Stack is in its project at a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The Stack.
    pub stack: StackName,
    /// The commit.
    pub revision: Revision,
    /// Objects in the order of creation.
    pub objects: Vec<Object>,
    /// Public addresses.
    pub urls: Vec<PublicUrl>,
    /// Apps in order of name.
    pub apps: Vec<AppSummary>,
    /// Names of the databases' StatefulSets.
    pub databases: Vec<String>,
    /// Timeouts and drift policy.
    pub deploy: Deploy,
}

impl Manifest {
    /// A Stack with nothing in it: what a first deployment rolls back to.
    pub fn empty(stack: StackName, revision: Revision) -> Self {
        let deploy =
            Deploy { timeout: Duration::from_mins(15), capacity_wait: Duration::from_mins(30), drift: Drift::Correct };
        Self { stack, revision, objects: vec![], urls: vec![], apps: vec![], databases: vec![], deploy }
    }

    /// The object named `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.objects.iter().find(|object| object.key == *key)
    }

    /// Whether both describe the same objects, whatever their revisions are.
    pub fn same_objects(&self, other: &Self) -> bool {
        self.objects == other.objects && self.deploy == other.deploy && self.urls == other.urls
    }
}

/// Renders `spec` as of `revision`.
pub fn render(spec: &Spec, revision: &Revision, context: &Context) -> Manifest {
    let names = Names { spec, revision, context };
    let mut objects = vec![];
    for (name, secret) in &spec.secrets {
        objects.push(env::generated(&names, name, secret));
    }
    for (name, database) in &spec.databases {
        objects.extend(database::objects(&names, name, database));
    }
    for (name, app) in &spec.apps {
        objects.extend(app::objects(&names, name, app));
    }
    for (name, entry) in &spec.ingress {
        objects.push(ingress::object(&names, name, entry));
    }
    objects.sort_by(|a, b| (a.stage, &a.key).cmp(&(b.stage, &b.key)));
    let apps = spec.apps.iter().map(|(name, app)| AppSummary {
        name: name.clone(),
        deployment: names.object(name),
        image: names.text(&app.image),
    });
    Manifest {
        stack: spec.name.clone(),
        revision: revision.clone(),
        urls: spec.ingress.iter().map(|(name, entry)| ingress::url(&names, name, entry)).collect(),
        apps: apps.collect(),
        databases: spec.databases.keys().map(|name| names.object(name)).collect(),
        deploy: spec.deploy.clone(),
        objects,
    }
}

/// Composes names and public text.
struct Names<'a> {
    spec: &'a Spec,
    revision: &'a Revision,
    context: &'a Context,
}

impl Names<'_> {
    /// `<stack>-<name>`, the name of the objects of app or database `name`.
    fn object(&self, name: &str) -> String {
        format!("{}-{name}", self.spec.name)
    }

    /// The labels of an object; `component` is `(label, name)` of the app or database it belongs to.
    fn labels(&self, component: Option<(&str, &str)>) -> Value {
        let mut labels = json!({
            MANAGED_BY.0: MANAGED_BY.1,
            "app.kubernetes.io/part-of": self.spec.name.as_str(),
            STACK_LABEL: self.spec.name.as_str(),
        });
        if let Some((label, name)) = component {
            labels["app.kubernetes.io/name"] = json!(name);
            labels[label] = json!(name);
        }
        labels
    }

    /// The immutable selector of a component's pods.
    fn selector(&self, label: &str, name: &str) -> Value {
        json!({ STACK_LABEL: self.spec.name.as_str(), label: name })
    }

    /// Finishes an object: adds apiVersion, kind, name, labels and the digest.
    fn finish(&self, stage: Stage, key: ObjectKey, component: Option<(&str, &str)>, mut body: Value) -> Object {
        body["apiVersion"] = json!(key.kind.api_version());
        body["kind"] = json!(key.kind.to_string());
        body["metadata"] = json!({ "name": key.name, "labels": self.labels(component) });
        let digest = digest::digest(&digest::SHA256, body.to_string().as_bytes());
        body["metadata"]["annotations"] = json!({ HASH_ANNOTATION: hex::encode(&digest.as_ref()[..8]) });
        Object { key, stage, body, recipe: BTreeMap::new() }
    }
}

/// Pods that pull `images`, one each: their command does not exist, so all that they can do is to be pulled.
pub fn pull_pods<'a>(
    stack: &StackName,
    images: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> impl Iterator<Item = Object> {
    images.into_iter().map(move |(image, pull_secret)| {
        let id = hex::encode(&digest::digest(&digest::SHA256, image.as_bytes()).as_ref()[..5]);
        let key = ObjectKey::new(Kind::Pod, format!("hks-pull-{stack}-{id}"));
        let body = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": key.name,
                "labels": { MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: stack.as_str() },
                "annotations": { HASH_ANNOTATION: id },
            },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
                "imagePullSecrets": pull_secret.map(|name| json!([{ "name": name }])).unwrap_or(json!([])),
                "containers": [{
                    "name": "pull",
                    "image": image,
                    "command": ["/hks-only-pulls-this-image"],
                    "resources": {
                        "requests": { "cpu": "10m", "memory": "16Mi" },
                        "limits": { "cpu": "10m", "memory": "16Mi" },
                    },
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
            },
        });
        Object { key, stage: Stage::Preflight, body, recipe: BTreeMap::new() }
    })
}
