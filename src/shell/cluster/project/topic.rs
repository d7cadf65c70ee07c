//! What is watched of a project.

use super::{Seen, resource};
use crate::ident::Kind;
use crate::manifest::{MANAGED_BY, STACK_LABEL};
use crate::shell::cluster::pages::paged;
use crate::shell::cluster::watch::{Lasting, lasting};
use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta};
use kube::core::{DynamicResourceScope, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Error};
use serde_json::json;
use std::ops::ControlFlow;

/// What one watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Objects of hks of one kind.
    Objects(Kind),
    /// Warnings, about whatever object.
    Events,
    /// Quotas of the project.
    Quotas,
    /// Limits of each of its pods.
    Ranges,
}

impl Topic {
    /// All that a project is not known without.
    pub const NEEDED: [Self; Kind::ALL.len() + 1] = {
        let mut all = [Self::Events; Kind::ALL.len() + 1];
        let mut index = 0;
        while index < Kind::ALL.len() {
            all[index] = Self::Objects(Kind::ALL[index]);
            index += 1;
        }
        all
    };
    /// What is gone without by who may not see it.
    pub const BESIDE: [Self; 2] = [Self::Quotas, Self::Ranges];

    /// Everything that is watched.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NEEDED.into_iter().chain(Self::BESIDE)
    }

    /// The plural in the API's paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Objects(kind) => kind.plural(),
            Self::Events => "events",
            Self::Quotas => "resourcequotas",
            Self::Ranges => "limitranges",
        }
    }

    /// Whether nothing is done in a project while this can't be seen.
    pub fn is_needed(self) -> bool {
        !Self::BESIDE.contains(&self)
    }

    /// Whether a cluster may lack it.
    pub fn is_extension(self) -> bool {
        self == Self::Objects(Kind::HTTPRoute)
    }

    /// All of it in a namespace or, without one, in the cluster.
    pub fn follow(self, client: &Client, namespace: Option<&str>) -> Lasting<Seen> {
        let selection = self.selection();
        let config = watcher::Config { label_selector: selection.0, field_selector: selection.1, ..Default::default() };
        if self.is_told_in_part() {
            let parts: Api<PartialObjectMeta<DynamicObject>> = self.api(client, namespace);
            lasting(parts, config).map(|event| event.map(whole)).boxed()
        } else {
            lasting(self.api(client, namespace), config)
        }
    }

    /// Lists it in a namespace once, page by page, and returns as of which version: what some Stacks have of it, or all.
    ///
    /// # Errors
    /// What the API server says, after any number of pages.
    pub async fn list(
        self,
        client: &Client,
        namespace: &str,
        stacks: &[&str],
        mut take: impl FnMut(Seen),
    ) -> Result<u64, Error> {
        let (mut labels, fields) = self.selection();
        if let Some(labels) = labels.as_mut().filter(|_| !stacks.is_empty()) {
            labels.push_str(&format!(",{STACK_LABEL} in ({})", stacks.join(",")));
        }
        let params = ListParams { label_selector: labels, field_selector: fields, ..ListParams::default() };
        let metadata = if self.is_told_in_part() {
            let parts: Api<DynamicObject> = self.api(client, Some(namespace));
            let page = |params: ListParams| {
                let parts = parts.clone();
                async move { parts.list_metadata(&params).await }
            };
            paged(params, page, |part| {
                take(of_part(&part));
                ControlFlow::Continue(())
            })
            .await?
        } else {
            let objects: Api<Seen> = self.api(client, Some(namespace));
            let page = |params: ListParams| {
                let objects = objects.clone();
                async move { objects.list(&params).await }
            };
            paged(params, page, |object| {
                take(object);
                ControlFlow::Continue(())
            })
            .await?
        };
        Ok(metadata.resource_version.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    fn api<K: kube::Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>>(
        self,
        client: &Client,
        namespace: Option<&str>,
    ) -> Api<K> {
        let core = |kind| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), self.plural());
        let resource = match self {
            Self::Objects(kind) => resource(kind),
            Self::Events => core("Event"),
            Self::Quotas => core("ResourceQuota"),
            Self::Ranges => core("LimitRange"),
        };
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }

    /// By which labels and which fields.
    fn selection(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Objects(_) => (Some(format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)), None),
            Self::Events => (None, Some("type=Warning".into())),
            Self::Quotas | Self::Ranges => (None, None),
        }
    }

    /// Of ConfigMaps, which hold all records, only the metadata is kept, so nothing else is sent.
    fn is_told_in_part(self) -> bool {
        self == Self::Objects(Kind::ConfigMap)
    }
}

type Part = PartialObjectMeta<DynamicObject>;

fn of_part(part: &Part) -> Seen {
    Seen::new(json!({ "metadata": part.metadata }))
}

/// An event about metadata as one about the object.
fn whole(event: Event<Part>) -> Event<Seen> {
    match event {
        Event::Apply(part) => Event::Apply(of_part(&part)),
        Event::Delete(part) => Event::Delete(of_part(&part)),
        Event::Init => Event::Init,
        Event::InitApply(part) => Event::InitApply(of_part(&part)),
        Event::InitDone => Event::InitDone,
    }
}
