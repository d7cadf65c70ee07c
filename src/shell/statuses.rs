//! From what Stacks say to what a forge is told: one status for each commit, whatever number of Stacks it concerns.

use crate::ident::{Revision, StackName};
use crate::report::{Status, StatusState, aggregate};
use crate::shell::forge::Poster;
use std::collections::{BTreeMap, VecDeque};

/// Commits that are remembered. Older ones still end, but alone.
const MAX_COMMITS: usize = 50;
/// Stands for the commit as a whole. It can be the name of a Stack too, which then shares the line.
const WHOLE: &str = "repository";

/// The commits of one source.
pub struct Statuses {
    poster: Option<Poster>,
    public_url: Option<String>,
    source: String,
    /// Oldest first.
    commits: VecDeque<Commit>,
}

struct Commit {
    revision: Revision,
    /// What each Stack said, `None` until it says something.
    said: BTreeMap<String, Option<Status>>,
    posted: Option<(Status, Option<String>)>,
}

impl Statuses {
    /// Without a poster nothing is told; `target` is the public URL of the HTTP endpoint, for links.
    pub fn new(poster: Option<Poster>, target: Option<String>, source: &str) -> Self {
        let public_url = target.map(|url| url.trim_end_matches('/').to_owned());
        Self { poster, public_url, source: source.into(), commits: VecDeque::new() }
    }

    /// A new commit concerns these Stacks, and is pending until each has said something final. Silent Stacks that an
    /// earlier call expected, and this one does not, are no longer waited for.
    pub fn expect(&mut self, revision: &Revision, stacks: &[StackName]) {
        let commit = self.commit(revision);
        commit.said.retain(|name, said| said.is_some() || stacks.iter().any(|stack| stack.as_str() == name));
        for stack in stacks {
            commit.said.entry(stack.to_string()).or_default();
        }
        self.tell(revision);
    }

    /// A Stack says something about the commit that `status` names.
    pub fn take(&mut self, stack: &StackName, status: Status) {
        self.say(stack.as_str(), status);
    }

    /// Something about the commit as a whole, such as a file that can't be told apart.
    pub fn whole(&mut self, status: Status) {
        self.say(WHOLE, status);
    }

    fn say(&mut self, name: &str, status: Status) {
        let revision = status.revision.clone();
        self.commit(&revision).said.insert(name.into(), Some(status));
        self.tell(&revision);
    }

    /// The commit, which becomes the newest if it was not known.
    fn commit(&mut self, revision: &Revision) -> &mut Commit {
        let index = self.commits.iter().position(|commit| commit.revision == *revision).unwrap_or_else(|| {
            if self.commits.len() == MAX_COMMITS {
                self.commits.pop_front();
            }
            self.commits.push_back(Commit { revision: revision.clone(), said: BTreeMap::new(), posted: None });
            self.commits.len() - 1
        });
        &mut self.commits[index]
    }

    fn tell(&mut self, revision: &Revision) {
        let (poster, public_url) = (self.poster.clone(), self.public_url.clone());
        let source = self.source.clone();
        let commit = self.commit(revision);
        let Some(status) = commit.whole() else { return };
        let target = public_url.map(|url| match commit.said.keys().collect::<Vec<_>>().as_slice() {
            [only] if *only != WHOLE => format!("{url}/stacks/{only}"),
            _ => format!("{url}/"),
        });
        let told = (status, target);
        if commit.posted.as_ref() == Some(&told) {
            return;
        }
        tracing::debug!(%source, commit = revision.short(), state = told.0.state.word(), "{}", told.0.description);
        commit.posted = Some(told.clone());
        if let Some(poster) = poster {
            poster.post(told.0, told.1);
        }
    }
}

impl Commit {
    /// What is told. While some Stacks are silent, nothing is, unless another one is under way: after a restart each Stack
    /// says again how it ended, and a `pending` in between would make the final status come twice.
    fn whole(&self) -> Option<Status> {
        let silent = self.said.values().any(Option::is_none);
        let busy = self.said.values().flatten().any(|said| said.state == StatusState::Pending);
        if silent && !busy {
            return None;
        }
        let waiting = Status {
            revision: self.revision.clone(),
            state: StatusState::Pending,
            description: "waiting for its turn".into(),
        };
        let all = self.said.iter().map(|(name, said)| (name.as_str(), said.as_ref().unwrap_or(&waiting)));
        aggregate(&self.revision, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(revision: &str, state: StatusState, description: &str) -> Status {
        Status { revision: Revision::new(revision), state, description: description.into() }
    }

    fn stack(name: &str) -> StackName {
        StackName::new(name).unwrap()
    }

    fn told(statuses: &Statuses, revision: &str) -> (StatusState, String, Option<String>) {
        let commit = statuses.commits.iter().find(|commit| commit.revision.as_str() == revision).unwrap();
        let (status, target) = commit.posted.clone().unwrap();
        (status.state, status.description, target)
    }

    #[test]
    fn a_commit_is_pending_until_every_stack_has_ended() {
        let mut statuses = Statuses::new(None, Some("https://hks.example/".into()), "shop");
        statuses.expect(&Revision::new("a"), &[stack("api"), stack("web")]);
        let root = Some("https://hks.example/".to_owned());
        let silence = |statuses: &Statuses| statuses.commits.iter().all(|commit| commit.posted.is_none());
        assert!(silence(&statuses), "nobody has said anything yet");
        statuses.take(&stack("api"), status("a", StatusState::Pending, "deploying"));
        assert_eq!(
            told(&statuses, "a"),
            (StatusState::Pending, "0 of 2 stacks done; api: deploying".into(), root.clone())
        );
        statuses.take(&stack("api"), status("a", StatusState::Failure, "image pull failed"));
        statuses.take(&stack("web"), status("a", StatusState::Success, "no changes"));
        assert_eq!(told(&statuses, "a"), (StatusState::Failure, "api: image pull failed".into(), root));
    }

    #[test]
    fn a_single_stack_is_linked() {
        let mut statuses = Statuses::new(None, Some("https://hks.example".into()), "shop");
        statuses.take(&stack("web"), status("b", StatusState::Success, "1 app ready in 3s"));
        assert_eq!(
            told(&statuses, "b"),
            (StatusState::Success, "1 app ready in 3s".into(), Some("https://hks.example/stacks/web".into()))
        );
    }

    #[test]
    fn a_stack_that_left_is_not_waited_for() {
        let mut statuses = Statuses::new(None, None, "shop");
        statuses.expect(&Revision::new("a"), &[stack("api"), stack("web")]);
        statuses.take(&stack("api"), status("a", StatusState::Success, "fine"));
        statuses.expect(&Revision::new("a"), &[stack("api")]);
        assert_eq!(told(&statuses, "a"), (StatusState::Success, "fine".into(), None));
        statuses.whole(status("a", StatusState::Failure, "two files name the Stack api"));
        assert_eq!(told(&statuses, "a").1, "repository: two files name the Stack api");
    }

    #[test]
    fn only_the_last_commits_are_remembered() {
        let mut statuses = Statuses::new(None, None, "shop");
        for number in 0..200 {
            statuses.take(&stack("web"), status(&number.to_string(), StatusState::Pending, "x"));
        }
        assert_eq!(statuses.commits.len(), MAX_COMMITS);
        assert_eq!(told(&statuses, "199").1, "x");
    }
}
