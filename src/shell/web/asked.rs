//! The Stack that a request is about.

use crate::report::View;
use crate::shell::web::access::Visitor;
use crate::shell::web::board::Board;
use crate::shell::web::endpoint::error;
use axum::Extension;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use std::sync::Arc;

/// The Stack that is asked for: `{name}` and, if several sources have one of this name, `?source=`.
pub struct Asked {
    name: String,
    source: Option<String>,
    /// Who asks.
    pub visitor: Visitor,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let wrong = || error(StatusCode::BAD_REQUEST, "the address can't be read");
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Ok(Path(path)) = path else { return Err(wrong()) };
        let Some((_, name)) = path.into_iter().find(|(key, _)| key == "name") else { return Err(wrong()) };
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Ok(Query(pairs)) = query else { return Err(wrong()) };
        let source = pairs.into_iter().find(|(key, _)| key == "source").map(|(_, value)| value);
        let Ok(Extension(visitor)) = Extension::<Visitor>::from_request_parts(parts, state).await else {
            return Err(error(StatusCode::UNAUTHORIZED, "nobody may see this"));
        };
        Ok(Self { name, source, visitor })
    }
}

impl Asked {
    /// Name of the Stack.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known by this name.
    pub fn known(&self, board: &Board) -> Vec<(String, Arc<View>)> {
        let mut found = board.named(&self.name);
        found.retain(|(source, _)| {
            self.source.as_ref().is_none_or(|asked| asked == source) && self.visitor.sees(source)
        });
        found
    }

    /// What is known by this name; a single one with what its pods use.
    pub async fn find(&self, board: &Board) -> Vec<(String, Arc<View>)> {
        let mut found = self.known(board);
        if let [(source, view)] = found.as_mut_slice() {
            *view = Arc::new(board.measured(source, view).await);
        }
        found
    }
}
