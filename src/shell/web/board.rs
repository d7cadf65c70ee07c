//! What is published: the newest view of every Stack and source. The HTTP endpoint reads this and never touches a
//! machine.

use crate::ident::{Revision, StackName};
use crate::report::View;
use crate::shell::clock;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How long a measurement of what pods use is good enough; the cluster itself measures every 15 s.
const FRESH: SignedDuration = SignedDuration::from_secs(15);

/// By app or database: the CPU and memory that its pods use, in words.
pub type Usage = BTreeMap<String, String>;

/// Measures what the pods of a Stack use. There is nothing to watch for this, so it is asked only when somebody looks.
pub type Meter = Arc<dyn Fn() -> BoxFuture<'static, Usage> + Send + Sync>;

/// A measurement and when it was made.
type Reading = (Timestamp, Usage);

/// All Stacks and sources.
#[derive(Default)]
pub struct Board {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    stacks: BTreeMap<(String, StackName), Arc<View>>,
    sources: BTreeMap<String, SourceView>,
    meters: BTreeMap<(String, StackName), (Meter, Option<Reading>)>,
    moves: BTreeMap<String, Moves>,
}

/// A commit leaves most Stacks as they are: they are not woken for it, and their revision is moved when somebody looks.
#[derive(Default)]
struct Moves {
    /// The newest commit.
    head: Option<Revision>,
    /// The commit in which the file of each Stack came to be as it is.
    since: BTreeMap<StackName, Revision>,
}

impl Moves {
    fn shown(&self, stack: &StackName, view: &Arc<View>) -> Arc<View> {
        let (Some(head), Some(since)) = (&self.head, self.since.get(stack)) else { return Arc::clone(view) };
        if head == since || view.desired_revision.as_ref() != Some(since) {
            return Arc::clone(view);
        }
        let mut view = View::clone(view);
        view.desired_revision = Some(head.clone());
        if view.applied_revision.as_ref() == Some(since) {
            view.applied_revision = Some(head.clone());
        }
        Arc::new(view)
    }
}

impl Inner {
    fn shown(&self, source: &str, stack: &StackName, view: &Arc<View>) -> Arc<View> {
        self.moves.get(source).map_or_else(|| Arc::clone(view), |moves| moves.shown(stack, view))
    }
}

/// A repository that is followed.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceView {
    /// Its name in the configuration.
    pub name: String,
    /// URL without credentials.
    pub url: String,
    /// Branch.
    pub branch: String,
    /// Newest commit seen.
    pub head: Option<Revision>,
    /// When the remote last answered.
    pub fetched: Option<Timestamp>,
    /// Why the last fetch failed, if it did.
    pub error: Option<String>,
    /// Files that can't be told apart or belong to no Stack, with the reason.
    pub problems: Vec<String>,
}

impl Board {
    /// Publishes a Stack.
    pub fn publish(&self, source: &str, stack: &StackName, view: View) {
        self.write().stacks.insert((source.to_owned(), stack.clone()), Arc::new(view));
    }

    /// A source has a new commit, in which the files of these Stacks are others than before.
    pub fn moved(&self, source: &str, head: &Revision, changed: &[StackName]) {
        let mut inner = self.write();
        let moves = inner.moves.entry(source.to_owned()).or_default();
        moves.head = Some(head.clone());
        moves.since.extend(changed.iter().map(|stack| (stack.clone(), head.clone())));
    }

    /// Says how a Stack is measured.
    pub fn measure_by(&self, source: &str, stack: &StackName, meter: Meter) {
        self.write().meters.insert((source.to_owned(), stack.clone()), (meter, None));
    }

    /// A view with what its pods use now.
    pub async fn measured(&self, source: &str, view: &View) -> View {
        let mut view = view.clone();
        let Some(stack) = StackName::new(view.name.as_str()) else { return view };
        let key = (source.to_owned(), stack);
        let Some((meter, last)) = self.read().meters.get(&key).cloned() else { return view };
        let now = clock::now();
        let fresh = last.filter(|(at, _)| now.duration_since(*at) < FRESH).map(|(_, usage)| usage);
        let usage = if let Some(usage) = fresh {
            usage
        } else {
            let usage = meter().await;
            if let Some((_, last)) = self.write().meters.get_mut(&key) {
                *last = Some((now, usage.clone()));
            }
            usage
        };
        view.measure(&usage);
        view
    }

    /// Publishes a source.
    pub fn publish_source(&self, view: SourceView) {
        self.write().sources.insert(view.name.clone(), view);
    }

    /// Forgets a Stack: there is nothing left of it.
    pub fn forget_stack(&self, source: &str, stack: &StackName) {
        let (mut inner, key) = (self.write(), (source.to_owned(), stack.clone()));
        inner.stacks.remove(&key);
        inner.meters.remove(&key);
        if let Some(moves) = inner.moves.get_mut(source) {
            moves.since.remove(stack);
        }
    }

    /// Forgets a source and its Stacks: it left the configuration.
    pub fn forget(&self, source: &str) {
        let mut inner = self.write();
        inner.sources.remove(source);
        inner.stacks.retain(|(of, _), _| of != source);
        inner.meters.retain(|(of, _), _| of != source);
        inner.moves.remove(source);
    }

    /// All Stacks with the names of their sources, in order.
    pub fn stacks(&self) -> Vec<(String, Arc<View>)> {
        let inner = self.read();
        let shown = |((source, stack), view): (&(String, StackName), &Arc<View>)| {
            (source.clone(), inner.shown(source, stack, view))
        };
        inner.stacks.iter().map(shown).collect()
    }

    /// The Stacks by this name; several if several sources have one.
    pub fn named(&self, name: &str) -> Vec<(String, Arc<View>)> {
        let inner = self.read();
        let named = inner.stacks.iter().filter(|((_, stack), _)| stack.as_str() == name);
        named.map(|((source, stack), view)| (source.clone(), inner.shown(source, stack, view))).collect()
    }

    /// All sources, in order.
    pub fn sources(&self) -> Vec<SourceView> {
        self.read().sources.values().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StackState;

    #[test]
    fn the_revision_of_unchanged_stacks_moves_without_them() {
        let board = Board::default();
        let (web, api) = (StackName::new("web").unwrap(), StackName::new("api").unwrap());
        let (a, b) = (Revision::new("a"), Revision::new("b"));
        let publish = |stack: &StackName, desired: &Revision, applied: Option<&Revision>| {
            let mut view = View::bare(stack, "p", StackState::Settled, Timestamp::UNIX_EPOCH);
            view.desired_revision = Some(desired.clone());
            view.applied_revision = applied.cloned();
            board.publish("s", stack, view);
        };
        board.moved("s", &a, &[web.clone(), api.clone()]);
        publish(&web, &a, Some(&a));
        publish(&api, &a, Some(&Revision::new("older")));
        board.moved("s", &b, &[]);
        let revisions = |name: &str| {
            let (_, view) = board.named(name).remove(0);
            (view.desired_revision.clone().unwrap(), view.applied_revision.clone().unwrap())
        };
        assert_eq!(revisions("web"), (b.clone(), b.clone()));
        assert_eq!(revisions("api"), (b.clone(), Revision::new("older")), "what runs is still what ran");
        // one that is changed says itself when it has seen the change
        board.moved("s", &Revision::new("c"), std::slice::from_ref(&web));
        assert_eq!(revisions("web").0, a);
        publish(&web, &Revision::new("c"), Some(&a));
        assert_eq!(revisions("web"), (Revision::new("c"), a));
    }
}
