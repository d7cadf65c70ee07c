//! From what Stacks say to what a forge is told: one status for each commit, whatever number of Stacks it concerns.
//!
//! A commit changes few of a repository's Stacks. The others are not asked again: what they said last of the same file holds
//! for the new commit, and while they are still at it, what they say next.

use crate::ident::{Revision, StackName};
use crate::report::{self, Status, StatusState, aggregate};
use crate::shell::forge::Poster;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Commits that are remembered. Older ones still end, but alone.
const MAX_COMMITS: usize = 50;
/// Stands for the commit as a whole. It can be the name of a Stack too, which then shares the line.
const WHOLE: &str = "repository";

/// What a Stack says about a commit.
#[derive(Debug)]
pub enum Word {
    /// How it stands.
    Says(Status),
    /// Another daemon acts for it, and tells.
    Leaves(Revision),
}

/// The commits of one source.
pub struct Statuses {
    poster: Option<Poster>,
    public_url: Option<String>,
    source: String,
    /// Oldest first.
    commits: VecDeque<Commit>,
    /// What each Stack said last.
    last: BTreeMap<String, Status>,
    /// The newest commit has ended for the first time.
    ended: Arc<Notify>,
    has_ended: bool,
}

struct Commit {
    revision: Revision,
    /// What each Stack said that has something to do with it.
    said: BTreeMap<String, Said>,
    /// Stacks that it does not change and that are well, and the first of them.
    quiet: (usize, Option<String>),
    posted: Option<(Status, Option<String>)>,
    /// Something was said since it was last told.
    news: bool,
}

#[derive(Default)]
struct Said {
    /// `None` until it says something.
    status: Option<Status>,
    /// The earlier commit that had the same file: what is said of that one holds here.
    of: Option<Revision>,
}

impl Statuses {
    /// Nothing is told before there is a poster; `target` is the public URL of the HTTP endpoint, for links. `ended` hears when the newest
    /// commit has its first end: then no earlier one is under way.
    pub fn new(target: Option<String>, source: &str, ended: Arc<Notify>) -> Self {
        let public_url = target.map(|url| url.trim_end_matches('/').to_owned());
        Self {
            poster: None,
            public_url,
            source: source.into(),
            commits: VecDeque::new(),
            last: BTreeMap::new(),
            ended,
            has_ended: false,
        }
    }

    /// Ends those of the commits before the newest that are pending at the forge: a daemon that was killed has told that they are under
    /// way, and nobody else would tell their end. `ends` is how they ended, as far as that is known.
    pub fn end_earlier(&self, earlier: &[Revision], ends: impl IntoIterator<Item = (String, Status)>) {
        let (Some(poster), Some(newest)) = (&self.poster, self.commits.back()) else { return };
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (stack, status) in ends {
            all.entry(status.revision.clone()).or_default().push((stack, status));
        }
        let is_told = |revision: &Revision| self.commits.iter().any(|commit| commit.revision == *revision);
        // what was said here gets its end here
        for revision in earlier.iter().filter(|revision| !is_told(revision)) {
            let ends = all.remove(revision).unwrap_or_default();
            let known = aggregate(revision, ends.iter().map(|(stack, status)| (stack.as_str(), status)));
            let unknown = || Status::new(revision, StatusState::Error, report::forgotten(&newest.revision));
            poster.end(known.unwrap_or_else(unknown), self.public_url.as_ref().map(|url| format!("{url}/")));
        }
    }

    /// From now on the forge is told, beginning with the newest commit as it stands.
    pub fn report_to(&mut self, poster: Poster) {
        if let Some((status, target)) = self.commits.back().and_then(|commit| commit.posted.clone()) {
            poster.post(status, target);
        }
        self.poster = Some(poster);
    }

    /// A new commit changes `changed`, and is pending until each has said something final. The files of `same` are those of
    /// the commit that stands beside each. Silent Stacks that an earlier call expected, and this one does not, are no longer
    /// waited for.
    pub fn expect(&mut self, revision: &Revision, changed: &[StackName], same: &[(StackName, Revision)]) {
        let mut known = vec![];
        let mut quiet = (0, None);
        for (stack, of) in same {
            let status = self.last.get(stack.as_str()).filter(|status| status.revision == *of);
            // that nothing was changed is what is to be said of most, and costs nothing
            if status.is_some_and(|status| status.state == StatusState::Success) && of != revision {
                quiet = (quiet.0 + 1, quiet.1.or_else(|| Some(stack.to_string())));
            } else {
                let status = status.map(|status| status.still_of(revision));
                known.push((stack.to_string(), Said { status, of: Some(of.clone()) }));
            }
        }
        let commit = self.commit(revision);
        let expected = |name: &String| {
            changed.iter().any(|stack| stack.as_str() == name) || known.iter().any(|(known, _)| known == name)
        };
        commit.said.retain(|name, said| said.status.is_some() || expected(name));
        for stack in changed {
            commit.said.entry(stack.to_string()).or_default();
        }
        for (stack, said) in known {
            commit.said.entry(stack).or_insert(said);
        }
        commit.quiet = quiet;
        commit.news = true;
    }

    /// Hears what a Stack says.
    pub fn hear(&mut self, stack: &StackName, word: Word) {
        match word {
            Word::Says(status) => self.take(stack, status),
            Word::Leaves(revision) => {
                if let Some(commit) = self.commits.iter_mut().find(|commit| commit.revision == revision) {
                    commit.news |= commit.said.remove(stack.as_str()).is_some();
                }
            }
        }
    }

    /// A Stack says something about the commit that `status` names.
    fn take(&mut self, stack: &StackName, status: Status) {
        self.last.insert(stack.to_string(), status.clone());
        self.say(stack.as_str(), status);
    }

    /// Something about the commit as a whole, such as a file that can't be told apart.
    pub fn whole(&mut self, status: Status) {
        self.say(WHOLE, status);
    }

    /// A Stack is followed no longer.
    pub fn forget(&mut self, stack: &StackName) {
        self.last.remove(stack.as_str());
    }

    fn say(&mut self, name: &str, status: Status) {
        for commit in &mut self.commits {
            let Some(said) = commit.said.get_mut(name) else { continue };
            if said.of.as_ref() == Some(&status.revision) {
                said.status = Some(Status { revision: commit.revision.clone(), ..status.clone() });
                commit.news = true;
            }
        }
        let revision = status.revision.clone();
        let commit = self.commit(&revision);
        commit.said.insert(name.into(), Said { status: Some(status), of: None });
        commit.news = true;
    }

    /// The commit, which becomes the newest if it was not known.
    fn commit(&mut self, revision: &Revision) -> &mut Commit {
        let index = self.commits.iter().position(|commit| commit.revision == *revision).unwrap_or_else(|| {
            if self.commits.len() == MAX_COMMITS {
                self.commits.pop_front();
            }
            self.commits.push_back(Commit::new(revision.clone()));
            self.commits.len() - 1
        });
        &mut self.commits[index]
    }

    /// Tells the forge what is new. Words that come together are told together.
    pub fn tell(&mut self) {
        for commit in self.commits.iter_mut().filter(|commit| commit.news) {
            commit.news = false;
            let Some(status) = commit.whole() else { continue };
            let target = self.public_url.as_ref().map(|url| match commit.only() {
                Some(only) if only != WHOLE => format!("{url}/stacks/{only}"),
                _ => format!("{url}/"),
            });
            let told = (status, target);
            if commit.posted.as_ref() == Some(&told) {
                continue;
            }
            tracing::debug!(source = %self.source, commit = commit.revision.short(), state = told.0.state.word(), "{}", told.0.description);
            commit.posted = Some(told.clone());
            if let Some(poster) = &self.poster {
                poster.post(told.0, told.1);
            }
        }
        let ended =
            |commit: &Commit| commit.posted.as_ref().is_some_and(|(told, _)| told.state != StatusState::Pending);
        if !self.has_ended && self.poster.is_some() && self.commits.back().is_some_and(ended) {
            self.has_ended = true;
            self.ended.notify_one();
        }
    }
}

impl Commit {
    fn new(revision: Revision) -> Self {
        Self { revision, said: BTreeMap::new(), quiet: (0, None), posted: None, news: false }
    }

    /// The one Stack that it is about, if it is about one.
    fn only(&self) -> Option<&str> {
        let mut all = self.said.keys().chain(&self.quiet.1);
        let first = all.next()?;
        (self.said.len() + self.quiet.0 == 1).then_some(first.as_str())
    }

    /// What is told. While some Stacks are silent, nothing is, unless another one is under way: after a restart each Stack
    /// says again how it ended, and a `pending` in between would make the final status come twice.
    fn whole(&self) -> Option<Status> {
        let silent = self.said.values().any(|said| said.status.is_none());
        let busy = self.said.values().filter_map(|said| said.status.as_ref());
        if silent && !busy.into_iter().any(|said| said.state == StatusState::Pending) {
            return None;
        }
        let waiting = Status {
            revision: self.revision.clone(),
            state: StatusState::Pending,
            description: "waiting for its turn".into(),
        };
        let unchanged = Status::new(&self.revision, StatusState::Success, "no changes");
        let all = self.said.iter().map(|(name, said)| (name.as_str(), said.status.as_ref().unwrap_or(&waiting)));
        let quiet = self.quiet.1.as_deref().unwrap_or_default();
        aggregate(&self.revision, all.chain(std::iter::repeat_n((quiet, &unchanged), self.quiet.0)))
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

    fn told(statuses: &mut Statuses, revision: &str) -> (StatusState, String, Option<String>) {
        statuses.tell();
        let commit = statuses.commits.iter().find(|commit| commit.revision.as_str() == revision).unwrap();
        let (status, target) = commit.posted.clone().unwrap();
        (status.state, status.description, target)
    }

    #[test]
    fn a_commit_is_pending_until_every_stack_has_ended() {
        let mut statuses = Statuses::new(Some("https://hks.example/".into()), "shop", Arc::default());
        statuses.expect(&Revision::new("a"), &[stack("api"), stack("web")], &[]);
        let root = Some("https://hks.example/".to_owned());
        statuses.tell();
        let silence = |statuses: &Statuses| statuses.commits.iter().all(|commit| commit.posted.is_none());
        assert!(silence(&statuses), "nobody has said anything yet");
        statuses.take(&stack("api"), status("a", StatusState::Pending, "deploying"));
        assert_eq!(
            told(&mut statuses, "a"),
            (StatusState::Pending, "0 of 2 stacks done; api: deploying".into(), root.clone())
        );
        statuses.take(&stack("api"), status("a", StatusState::Failure, "image pull failed"));
        statuses.take(&stack("web"), status("a", StatusState::Success, "no changes"));
        assert_eq!(told(&mut statuses, "a"), (StatusState::Failure, "api: image pull failed".into(), root));
    }

    #[test]
    fn a_single_stack_is_linked() {
        let mut statuses = Statuses::new(Some("https://hks.example".into()), "shop", Arc::default());
        statuses.take(&stack("web"), status("b", StatusState::Success, "1 app ready in 3s"));
        assert_eq!(
            told(&mut statuses, "b"),
            (StatusState::Success, "1 app ready in 3s".into(), Some("https://hks.example/stacks/web".into()))
        );
    }

    #[test]
    fn a_stack_that_left_is_not_waited_for() {
        let mut statuses = Statuses::new(None, "shop", Arc::default());
        statuses.expect(&Revision::new("a"), &[stack("api"), stack("web")], &[]);
        statuses.take(&stack("api"), status("a", StatusState::Success, "fine"));
        statuses.expect(&Revision::new("a"), &[stack("api")], &[]);
        assert_eq!(told(&mut statuses, "a"), (StatusState::Success, "fine".into(), None));
        statuses.whole(status("a", StatusState::Failure, "two files name the Stack api"));
        assert_eq!(told(&mut statuses, "a").1, "repository: two files name the Stack api");
    }

    #[test]
    fn only_the_last_commits_are_remembered() {
        let mut statuses = Statuses::new(None, "shop", Arc::default());
        for number in 0..200 {
            statuses.take(&stack("web"), status(&number.to_string(), StatusState::Pending, "x"));
        }
        assert_eq!(statuses.commits.len(), MAX_COMMITS);
        assert_eq!(told(&mut statuses, "199").1, "x");
    }

    #[test]
    fn who_has_the_same_file_is_heard_and_not_asked() {
        let mut statuses = Statuses::new(None, "shop", Arc::default());
        let (a, b) = (Revision::new("a"), Revision::new("b"));
        statuses.expect(&a, &[stack("api"), stack("job"), stack("web")], &[]);
        statuses.take(&stack("api"), status("a", StatusState::Success, "1 app ready in 3s"));
        statuses.take(&stack("job"), status("a", StatusState::Failure, "image pull failed"));
        statuses.take(&stack("web"), status("a", StatusState::Pending, "deploying"));
        let same =
            |names: &[&str], of: &Revision| names.iter().map(|name| (stack(name), of.clone())).collect::<Vec<_>>();
        statuses.expect(&b, &[], &same(&["api", "job", "web"], &a));
        assert_eq!(told(&mut statuses, "b").1, "2 of 3 stacks done; web: deploying");
        // it goes on with the commit that it began with, and what it says holds for both
        statuses.take(&stack("web"), status("a", StatusState::Success, "1 app ready in 9s"));
        assert_eq!(told(&mut statuses, "a").1, "job: image pull failed");
        assert_eq!(
            told(&mut statuses, "b").1,
            "job: no changes; still a: image pull failed",
            "the same file fails for the same reason"
        );
        statuses.take(&stack("job"), status("c", StatusState::Success, "1 app ready in 1s"));
        let mut same = same(&["api", "web"], &a);
        same.push((stack("job"), Revision::new("c")));
        statuses.expect(&Revision::new("d"), &[], &same);
        assert_eq!(told(&mut statuses, "d").1, "3 stacks; api: no changes");
        statuses.expect(&Revision::new("e"), &[], &same[..1]);
        assert_eq!(told(&mut statuses, "e").1, "no changes");
    }

    #[test]
    fn who_leaves_a_commit_to_another_is_not_waited_for() {
        let mut statuses = Statuses::new(None, "shop", Arc::default());
        let a = Revision::new("a");
        statuses.expect(&a, &[stack("api"), stack("web")], &[]);
        statuses.hear(&stack("api"), Word::Says(status("a", StatusState::Success, "fine")));
        statuses.hear(&stack("web"), Word::Leaves(a.clone()));
        assert_eq!(told(&mut statuses, "a").1, "fine");
        let b = Revision::new("b");
        statuses.expect(&b, &[stack("web")], &[]);
        statuses.hear(&stack("web"), Word::Leaves(b));
        statuses.tell();
        assert!(statuses.commits[1].posted.is_none(), "the other one tells of it");
    }
}
