//! Lists, page by page: what a page brings is in memory whole, and nobody knows before how much that is.

use crate::shell::cluster::bounds::Excess;
use kube::Error;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::core::{ListMeta, ObjectList};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::ops::ControlFlow;

/// Objects that a list brings at once.
pub const PAGE: u32 = 50;
/// How much smaller a page is asked for that would be too much.
const SMALLER: u32 = 10;

/// How many objects are asked for at once after so many of them were too much; `None` if that does not help.
pub fn smaller(error: &(dyn std::error::Error + 'static), objects: u32) -> Option<u32> {
    let too_much = matches!(Excess::of(error), Some(Excess::Page(_)));
    (too_much && objects > 1).then(|| (objects / SMALLER).max(1))
}

/// Asks for a list by pages, until `take` has enough; returns what the last page says of the list.
///
/// # Errors
/// What the API server says, after any number of pages.
pub async fn paged<K: Clone, F: Future<Output = Result<ObjectList<K>, Error>>>(
    mut params: ListParams,
    page: impl Fn(ListParams) -> F,
    mut take: impl FnMut(K) -> ControlFlow<()>,
) -> Result<ListMeta, Error> {
    let mut objects = PAGE;
    loop {
        params.limit = Some(objects);
        let list = match page(params.clone()).await {
            Ok(list) => list,
            Err(error) => {
                objects = smaller(&error, objects).ok_or(error)?;
                continue;
            }
        };
        objects = (objects * 2).min(PAGE);
        if list.items.into_iter().try_for_each(&mut take).is_break() {
            return Ok(list.metadata);
        }
        match list.metadata.continue_.as_ref().filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token.clone()),
            None => return Ok(list.metadata),
        }
    }
}

/// A whole list, however long.
///
/// # Errors
/// As [`paged`].
pub async fn all<K: Clone + DeserializeOwned + Debug>(api: &Api<K>, params: ListParams) -> Result<Vec<K>, Error> {
    kept(params, |params| async move { api.list(&params).await }).await
}

/// The same, of metadata alone.
///
/// # Errors
/// As [`paged`].
pub async fn all_metadata<K: Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
    params: ListParams,
) -> Result<Vec<PartialObjectMeta<K>>, Error> {
    kept(params, |params| async move { api.list_metadata(&params).await }).await
}

async fn kept<K: Clone, F: Future<Output = Result<ObjectList<K>, Error>>>(
    params: ListParams,
    page: impl Fn(ListParams) -> F,
) -> Result<Vec<K>, Error> {
    let mut items = vec![];
    let keep = |item| {
        items.push(item);
        ControlFlow::Continue(())
    };
    paged(params, page, keep).await?;
    Ok(items)
}
