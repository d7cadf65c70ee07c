//! What every request to an API server needs.

use crate::ident::Kind;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;

/// The field manager of all that hks writes.
pub const MANAGER: &str = "hks";

/// The API resource of a kind.
pub fn resource(kind: Kind) -> ApiResource {
    let version = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.to_string());
    ApiResource::from_gvk_with_plural(&version, kind.plural())
}
