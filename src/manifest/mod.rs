//! Spec × Revision → Manifest: the Kubernetes objects of a Stack, in stages. Infallible and in a stable order, so that
//! equal input gives equal bytes. No secret value occurs here: a Secret is rendered as a recipe for its values.

mod allowed;
mod app;
mod beside;
mod cache;
mod confine;
mod content;
mod context;
mod database;
mod env;
mod ingress;
mod job;
mod names;
mod pod;
mod pooler;
mod pull;
mod reach;

pub use crate::platform::{Images, IngressTls as EdgeTls};
pub use beside::{Taken, Use};
pub use ingress::{Edge, Gateway};
pub use pull::pull_pods;

use crate::ident::{Component, Kind, ObjectKey, Revision, StackName};
use crate::platform::Policy;
use crate::spec::{Deploy, Drift, Secret, Spec};
use names::Names;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Label with the Stack's name on every object and pod; the watches select by [`MANAGED_BY`].
pub const STACK_LABEL: &str = "hks.hexabase.ai/stack";
/// Label with the app's name, on what belongs to an app.
pub const APP_LABEL: &str = "hks.hexabase.ai/app";
/// Label with the job's name, on what belongs to a job.
pub const JOB_LABEL: &str = "hks.hexabase.ai/job";
/// Label with the database's name, on what belongs to a database.
pub const DATABASE_LABEL: &str = "hks.hexabase.ai/database";
/// Label with the cache's name, on what belongs to a cache.
pub const CACHE_LABEL: &str = "hks.hexabase.ai/cache";
/// Label on the pods of a blue/green app, by which its Services tell one version from the other.
pub const SLOT_LABEL: &str = "hks.hexabase.ai/slot";
/// Annotation with a digest of the rendered object: it tells a dropped field from one that others own.
pub const HASH_ANNOTATION: &str = "hks.hexabase.ai/hash";
/// Annotation on what holds data: `delete` allows that it goes when it leaves the file.
pub const ON_DELETE_ANNOTATION: &str = "hks.hexabase.ai/on-delete";
/// Annotation on the Deployment of a blue/green app: for how many seconds it stays after the switch to the next one.
pub const KEEP_ANNOTATION: &str = "hks.hexabase.ai/keep-seconds";
/// Annotation with a time: on a Secret when somebody last set a key of it, on pods when that of their Secrets was.
pub const SECRET_SET_ANNOTATION: &str = "hks.hexabase.ai/secret-set";
/// The recommended label by which hks finds its objects, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "hks");

/// What the daemon knows and the file does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// The project: the one namespace of the Stack.
    pub namespace: String,
    /// The branch that is followed; environments are chosen by it.
    pub branch: String,
    /// The environment that is meant, whatever the branch is.
    pub environment: Option<String>,
    /// Generated hosts end with this, such as `apps.example.com`; may carry a port, which is left out of Ingress hosts.
    pub domain: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `ingressClassName`, or the cluster's default.
    pub ingress_class: Option<String>,
    /// What public hosts are made of, and what that can do.
    pub edge: Edge,
    /// What the platform has set up for TLS.
    pub tls: EdgeTls,
    /// Storage class of volumes that name none.
    pub storage_class: Option<String>,
    /// What generated hosts carry behind Stack and project.
    pub workspace: Option<String>,
    /// Images that hks itself brings.
    pub images: Images,
    /// What files may ask for.
    pub policy: Policy,
}

/// A part of a deployment; stages are applied and watched one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Pods that prove that new images can be pulled, before any data is touched.
    Preflight,
    /// Secrets, databases, caches and their volumes.
    Databases,
    /// Apps, their Services and public hosts: two stages for each wave of `dependsOn`, in the second of which traffic is
    /// switched to what the first has made ready.
    Apps(u16),
    /// Jobs of this release, once the public addresses are live.
    Jobs,
}

impl Stage {
    /// Whether its objects are part of what the project is made to be, and not only of the way there.
    pub fn lasts(self) -> bool {
        !matches!(self, Stage::Preflight | Stage::Jobs)
    }
}

/// How a value of a Secret comes to be; never the value itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Recipe {
    /// Made once, of this many URL-safe characters; kept for ever after.
    Random(usize),
    /// Public text.
    Text(String),
    /// The value of a key of another Secret of the project, taken once.
    Copied {
        /// Name of the Secret.
        secret: String,
        /// Its key.
        key: Cow<'static, str>,
    },
    /// Text and other keys of the same Secret, in order.
    Composed(Vec<Ingredient>),
}

/// A piece of [`Recipe::Composed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ingredient {
    /// Literal text.
    Text(Cow<'static, str>),
    /// The value of another key; it can stand in a URL.
    Key(Cow<'static, str>),
}

/// One object as it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Kind and name.
    pub key: ObjectKey,
    /// When it is applied.
    pub stage: Stage,
    /// The body for server-side apply, without namespace and without secret values.
    pub body: Value,
    /// For Secrets: how each key's value is made.
    pub recipe: BTreeMap<String, Recipe>,
    /// Later stages wait only until its pods run, not until they are ready. In the end, all must be ready.
    pub started_is_enough: bool,
}

impl Object {
    /// Whether the object holds data that can't be made again: never pruned, never replaced.
    pub fn holds_data(&self) -> bool {
        holds_data(&self.key, &self.body)
    }

    /// What of the Stack it belongs to.
    pub fn component(&self) -> Component {
        component(&self.key, &self.body)
    }

    /// The digest in [`HASH_ANNOTATION`].
    pub fn hash(&self) -> &str {
        self.body["metadata"]["annotations"][HASH_ANNOTATION].as_str().unwrap_or_default()
    }
}

/// What of a Stack an object (rendered or live) belongs to.
pub fn component(key: &ObjectKey, body: &Value) -> Component {
    let label = |name: &str| body["metadata"]["labels"][name].as_str().map(str::to_owned);
    let labelled = [
        (DATABASE_LABEL, Component::Database as fn(String) -> Component),
        (APP_LABEL, Component::App),
        (CACHE_LABEL, Component::Cache),
        (JOB_LABEL, Component::Job),
    ];
    let found = labelled.into_iter().find_map(|(of, component)| label(of).map(component));
    found.unwrap_or_else(|| match key.kind {
        Kind::Ingress | Kind::HTTPRoute => Component::Ingress(key.name.clone()),
        Kind::Pod => Component::Image,
        _ => Component::Stack,
    })
}

/// Whether an object (rendered or live) holds data or belongs to what does: volumes; servers and credentials of databases.
pub fn holds_data(key: &ObjectKey, body: &Value) -> bool {
    let database = body["metadata"]["labels"][DATABASE_LABEL].is_string();
    key.kind == Kind::PersistentVolumeClaim || (matches!(key.kind, Kind::StatefulSet | Kind::Secret) && database)
}

/// Whether a live object stays when its entry leaves the file, unless somebody says otherwise: data, and the values that hks has
/// made once and for all, with which an app may have signed or encrypted something.
pub fn outlasts(key: &ObjectKey, body: &Value) -> bool {
    holds_data(key, body) || (key.kind == Kind::Secret && component(key, body) == Component::Stack)
}

/// What an app is, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppSummary {
    /// Name in the file.
    pub name: String,
    /// Name of its Deployment.
    pub deployment: String,
    /// Image reference.
    pub image: String,
}

/// A public address and the path by which it is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublicUrl {
    /// Name of the ingress in the file.
    pub name: String,
    /// Such as `https://todo-shop.apps.example.com`.
    pub url: String,
    /// Paths that answer when it is live: one for each app behind it.
    pub checks: Vec<String>,
    /// Whether the file names the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub named: bool,
}

impl PublicUrl {
    /// The host.
    pub fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split([':', '/']).next().unwrap_or_default()
    }
}

/// A key of a Secret that somebody must have set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Needed {
    /// The Secret.
    pub object: ObjectKey,
    /// Its name in the file.
    pub secret: String,
    /// The key.
    pub key: String,
}

/// Everything that a Stack is in its project at a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The Stack.
    pub stack: StackName,
    /// The commit.
    pub revision: Revision,
    /// Objects in the order of creation. Plans share them: there is one at each look, and most of it is what was there before.
    pub objects: Vec<Arc<Object>>,
    /// Public addresses.
    pub urls: Vec<PublicUrl>,
    /// Apps in order of name.
    pub apps: Vec<AppSummary>,
    /// Names of the databases' `StatefulSets`.
    pub databases: Vec<String>,
    /// What somebody must have set before.
    pub needed: Vec<Needed>,
    /// What the platform does not allow, and what the ingress class or the Gateway can't do: the object and why.
    pub impossible: Vec<(ObjectKey, String)>,
    /// Timeouts and drift policy.
    pub deploy: Deploy,
}

impl Manifest {
    /// A Stack with nothing in it: what a first deployment rolls back to.
    pub fn empty(stack: StackName, revision: Revision) -> Self {
        let deploy =
            Deploy { timeout: Duration::from_mins(15), capacity_wait: Duration::from_mins(30), drift: Drift::Correct };
        Self {
            stack,
            revision,
            objects: vec![],
            urls: vec![],
            apps: vec![],
            databases: vec![],
            needed: vec![],
            impossible: vec![],
            deploy,
        }
    }

    /// The object named `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.objects.iter().find(|object| object.key == *key).map(|object| &**object)
    }

    /// Whether an object is part of it, rendered or set by somebody.
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some() || self.needed.iter().any(|needed| needed.object == *key)
    }

    /// A digest of what it makes of the project: equal for those that [`Manifest::same_objects`].
    pub fn digest(&self) -> String {
        let (lasting, jobs): (Vec<_>, Vec<_>) = self.objects.iter().partition(|object| object.stage.lasts());
        let jobs: Vec<_> = jobs.into_iter().filter(|o| o.stage == Stage::Jobs).map(|job| &job.body["spec"]).collect();
        let parts = (lasting, jobs, &self.deploy, &self.urls, &self.needed);
        names::digest(&serde_json::to_string(&parts).unwrap_or_default(), 32)
    }

    /// The hosts that the file names: they must be nobody else's.
    pub fn named_hosts(&self) -> BTreeSet<String> {
        self.urls.iter().filter(|url| url.named).map(|url| url.host().to_owned()).collect()
    }

    /// Whether both describe the same objects, whatever their revisions are. Jobs of a release carry its revision in their
    /// names, and only what they do counts.
    pub fn same_objects<'a>(&'a self, other: &'a Self) -> bool {
        let lasting = |manifest: &'a Self| manifest.objects.iter().filter(|object| object.stage.lasts());
        let jobs = |manifest: &'a Self| {
            let jobs = manifest.objects.iter().filter(|object| object.stage == Stage::Jobs);
            jobs.map(|job| &job.body["spec"])
        };
        lasting(self).eq(lasting(other))
            && jobs(self).eq(jobs(other))
            && self.deploy == other.deploy
            && self.urls == other.urls
            && self.needed == other.needed
    }
}

/// Renders `spec` as of `revision`.
pub fn render(spec: &Spec, revision: &Revision, context: &Context) -> Manifest {
    let names = Names { spec, revision, context };
    let (mut objects, mut needed, mut impossible) = (vec![], vec![], allowed::refused(&names));
    for (name, secret) in &spec.secrets {
        match secret {
            Secret::Generated(keys) => objects.push(env::generated(&names, name, keys)),
            Secret::Set(keys) => needed.extend(keys.iter().map(|key| Needed {
                object: ObjectKey::new(Kind::Secret, names.object(name)),
                secret: name.clone(),
                key: key.clone(),
            })),
            Secret::Existing(_) => {}
        }
    }
    for (name, database) in &spec.databases {
        objects.extend(database::objects(&names, name, database));
    }
    for (name, cache) in &spec.caches {
        objects.extend(cache::objects(&names, name, cache));
    }
    let mut apps = vec![];
    for (name, app) in &spec.apps {
        let rendered = app::objects(&names, name, app);
        apps.push(AppSummary {
            name: name.clone(),
            deployment: rendered.deployment,
            image: names.text(&app.program.image),
        });
        objects.extend(rendered.objects);
    }
    for (name, job) in &spec.jobs {
        objects.extend(job::objects(&names, name, job));
    }
    for (name, entry) in &spec.ingress {
        let (made, refused) = ingress::objects(&names, name, entry);
        objects.extend(made);
        impossible.extend(refused);
    }
    objects.sort_by(|a, b| (a.stage, &a.key).cmp(&(b.stage, &b.key)));
    // apps with equal certificates share one object
    objects.dedup_by(|a, b| a.key == b.key);
    Manifest {
        stack: spec.name.clone(),
        revision: revision.clone(),
        urls: spec.ingress.iter().map(|(name, entry)| ingress::url(&names, name, entry)).collect(),
        apps,
        databases: spec.databases.keys().map(|name| names.object(name)).collect(),
        needed,
        impossible,
        deploy: spec.deploy.clone(),
        objects: objects.into_iter().map(Arc::new).collect(),
    }
}
