//! What every request to an API server needs.

use crate::ident::Kind;
use jiff::Timestamp;
use kube::api::{ApiResource, PatchParams, PostParams};
use kube::core::GroupVersionKind;

/// The field manager of all that hks writes.
pub const MANAGER: &str = "hks";

/// The ConfigMap in which a daemon publishes the platform's settings. Records are `hks-<stack>`; with a dot it can't be the record
/// of any Stack.
pub const PUBLISHED: &str = "hks.platform";

/// The API resource of a kind.
pub fn resource(kind: Kind) -> ApiResource {
    let version = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.to_string());
    ApiResource::from_gvk_with_plural(&version, kind.plural())
}

/// How something is made.
pub fn making() -> PostParams {
    PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }
}

/// How fields are merged into what is there.
pub fn merging() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}

/// A `MicroTime`: RFC 3339 with six digits of fraction.
pub fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
