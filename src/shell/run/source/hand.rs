//! Handing a commit on: each Stack whose file has changed gets it, and nobody else is woken.

use super::sort::{Sorted, sort};
use super::{Follower, Told, lock};
use crate::ident::{Revision, StackName};
use crate::machine::{Commit, Content};
use crate::report::{self, Status, StatusState};
use crate::shell::cluster::lease;
use crate::shell::forge::statuses::Statuses;
use crate::shell::git::{Found, MAX_STACKS, Reading, Repository};
use crate::shell::metrics::StackLabels;
use crate::shell::run::actor::Actor;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How long a new commit waits for the Leases of Stacks that are over to be given back.
const DISMISSAL: Duration = Duration::from_secs(5);

/// Where actors find older commits of their files.
#[derive(Default)]
pub(super) struct Library {
    repository: Option<Arc<Repository>>,
    paths: BTreeMap<StackName, Arc<str>>,
}

impl Library {
    /// The file of a Stack in an older commit; `None` as long as the repository could not be read.
    ///
    /// # Errors
    /// It can't be had, in words for who asked for it.
    pub(super) fn older(
        shelf: &RwLock<Self>,
        stack: &StackName,
        sha: &str,
    ) -> impl Future<Output = Result<Option<Commit>, String>> + use<> {
        let (repository, path) = {
            let library = shelf.read().unwrap_or_else(PoisonError::into_inner);
            let path = library.paths.get(stack).cloned().unwrap_or_else(|| "hks.yaml".into());
            (library.repository.clone(), path)
        };
        let sha = sha.to_owned();
        async move {
            let Some(repository) = repository else { return Ok(None) };
            let found = repository.older(&sha, &path).await;
            found.map(Some).map_err(|error| format!("{sha} can't be had from the repository: {error}"))
        }
    }
}

impl Follower {
    /// Gives each Stack whose file has changed the new one. The revision of the others moves without waking them.
    pub(super) fn hand_on(&mut self, found: Found, repository: &Arc<Repository>, told: &Told) -> Reading {
        let Found { revision, message, files, cut, mut reading } = found;
        let Sorted { mut changed, same, owners, names, disputed, refused, mut problems, nameless } =
            sort(files, &self.names, &self.owners);
        for path in &refused {
            reading.again(path);
        }
        if cut > 0 {
            problems.push(format!(
                "{cut} Stacks are left out, since there are too many in one repository; follow some of them as a source of their own"
            ));
        }
        let left_out = self.leave_out(&mut changed);
        for name in &left_out {
            owners.get(name).iter().for_each(|path| reading.again(path));
        }
        if let Some(first) = left_out.first() {
            problems.push(format!(
                "{} Stacks are left out, such as {first}: this source has had {MAX_STACKS} whose objects are still there; hks destroy those whose files are gone",
                left_out.len()
            ));
        }
        let mut same: Vec<_> =
            same.into_iter().filter_map(|name| Some((name.clone(), self.given.get(&name)?.clone()))).collect();
        for name in self.actors.keys().filter(|name| !owners.contains_key(*name)) {
            let given = self.given.get(name);
            if cut > 0 || disputed.contains(name) || self.gone.contains(name) {
                // what is not known to be gone is left as it is
                same.extend(given.map(|given| (name.clone(), given.clone())));
            } else {
                let unread = nameless.clone().map(|message| Content::Unusable { message });
                changed.push((name.clone(), unread.unwrap_or(Content::Missing)));
            }
        }
        self.gone.retain(|name| !owners.contains_key(name));
        self.gone
            .extend(changed.iter().filter(|(_, content)| *content == Content::Missing).map(|(name, _)| name.clone()));
        let all: Vec<_> = changed.iter().map(|(name, _)| name.clone()).collect();
        tell(&mut lock(told), &revision, (&all, &same), &problems);
        self.shared.board.moved(&self.name, &revision, &all);
        for problem in problems.iter().filter(|problem| !self.view.problems.contains(problem)) {
            tracing::warn!(source = %self.name, revision = revision.short(), problem, "a file can't be deployed");
        }
        self.view.problems = problems;
        // a Stack in dispute keeps its file, should it come back
        self.owners.extend(owners.clone());
        self.owners.retain(|name, _| owners.contains_key(name) || disputed.contains(name));
        self.names = names;
        {
            let mut library = self.library.write().unwrap_or_else(PoisonError::into_inner);
            library.repository = Some(Arc::clone(repository));
            library.paths.clone_from(&self.owners);
        }
        for (name, content) in changed {
            self.given.insert(name.clone(), revision.clone());
            self.actor(&name).commit(Commit { revision: revision.clone(), content, message: Some(message.clone()) });
        }
        reading
    }

    /// Takes out the Stacks for which there is no room for an actor.
    fn leave_out(&self, changed: &mut Vec<(StackName, Content)>) -> Vec<StackName> {
        let mut room = self.room();
        let is_left_out = |(name, _): &mut (StackName, Content)| {
            let is_new = !self.actors.contains_key(name);
            let is_left_out = is_new && room == 0;
            room -= usize::from(is_new && !is_left_out);
            is_left_out
        };
        changed.extract_if(.., is_left_out).map(|(name, _)| name).collect()
    }

    /// How many more Stacks may have an actor. Names cost whoever pushes nothing, and an actor is some KiB for as long as the daemon
    /// runs.
    pub(super) fn room(&self) -> usize {
        MAX_STACKS.saturating_sub(self.actors.len())
    }

    /// Ends the actors of Stacks of which there is nothing left, and forgets these.
    pub(super) async fn dismiss(&mut self) {
        let is_over = |name: &StackName, actor: &mut Actor| self.gone.contains(name) && actor.is_over();
        let over: Vec<_> = self.actors.extract_if(.., is_over).collect();
        let mut stops = vec![];
        for (name, actor) in over {
            self.given.remove(&name);
            self.gone.remove(&name);
            let labels = StackLabels { source: self.name.clone(), stack: name.to_string() };
            self.shared.metrics.over_budget.remove(&labels);
            self.shared.board.forget_stack(&self.name, &name);
            stops.push(actor.stop());
        }
        // they end by themselves as well, if a cluster takes longer
        let _ = tokio::time::timeout(DISMISSAL, futures::future::join_all(stops)).await;
    }

    /// Takes up the Stacks of this source in the cluster that no file is of and nobody here acts for: their files went, or
    /// can't be read any more, while no daemon was there to see it.
    pub(super) fn take_up_the_rest(&mut self) {
        let Some(revision) = self.view.head.clone().filter(|_| self.reading.is_some()) else { return };
        let Some(project) = self.project.borrow().clone().filter(|project| project.is_ready()) else { return };
        let is_known = |name: &StackName| self.owners.contains_key(name) || self.actors.contains_key(name);
        for name in lease::of_source(&project, &self.name, is_known).into_iter().take(self.room()) {
            // a file that can't be read may be its: then it is not known to be gone, and what was begun goes on all the same
            let unread = self.view.problems.first().cloned().map(|message| Content::Unusable { message });
            let content = unread.unwrap_or(Content::Missing);
            if content == Content::Missing {
                self.gone.insert(name.clone());
            }
            self.given.insert(name.clone(), revision.clone());
            self.actor(&name).commit(Commit { revision: revision.clone(), content, message: None });
        }
    }

    /// Ends what a daemon before this one has told to be under way.
    pub(super) fn look_back(&self, told: &Told) {
        let repository = self.library.read().unwrap_or_else(PoisonError::into_inner).repository.clone();
        let Some(repository) = repository else { return };
        let (told, board, name) = (Arc::clone(told), Arc::clone(&self.shared.board), self.name.clone());
        tokio::spawn(async move {
            match repository.before().await {
                Ok(earlier) => {
                    let own = board.stacks().into_iter().filter(|(source, _)| *source == name);
                    let ends = own.flat_map(|(_, view)| {
                        // what somebody else has written proves nothing of a commit
                        let seen = view.history.iter().filter(|one| !one.hearsay);
                        seen.map(|one| (view.name.clone(), Status::ended(one))).collect::<Vec<_>>()
                    });
                    lock(&told).end_earlier(&earlier, ends);
                }
                Err(error) => tracing::debug!(source = name, %error, "failed to look for earlier commits"),
            }
        });
    }

    /// The actor of a Stack.
    pub(super) fn actor(&mut self, name: &StackName) -> &Actor {
        let start = || Actor::start(name.clone(), Arc::clone(&self.setting));
        self.actors.entry(name.clone()).or_insert_with(start)
    }
}

/// Tells the forge of a new commit: which Stacks it changes, which it does not, and what is wrong with it.
fn tell(
    told: &mut Statuses,
    revision: &Revision,
    (changed, same): (&[StackName], &[(StackName, Revision)]),
    problems: &[String],
) {
    told.expect(revision, changed, same);
    for problem in problems {
        let description = report::shorten(problem, report::MAX_DESCRIPTION);
        told.whole(Status { revision: revision.clone(), state: StatusState::Failure, description });
    }
    told.tell();
}
