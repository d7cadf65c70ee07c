//! Before a Stack is acted for: a connection, its Lease, room to begin, and its record.

use super::{Left, Running, changed, next};
use crate::ident::StackName;
use crate::machine::{Content, Fault, Machine};
use crate::record::Record;
use crate::report::{MAX_DESCRIPTION, StackState, Status, StatusState, shorten};
use crate::shell::cluster::lease::{self, Lead};
use crate::shell::cluster::project::Project;
use crate::shell::cluster::{inspect, record};
use crate::shell::forge::statuses::Word;
use crate::shell::metrics::StackLabels;
use crate::shell::pace::doubled;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// First and longest wait between tries to reach a cluster that does not answer.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// How long a Stack rests at least of which there is too much: to begin with it again costs more than to look.
const EXCESS: Duration = Duration::from_secs(1);
/// A Stack that can't be seen for so long tells its commit.
const SILENCE: Duration = Duration::from_secs(20);

impl Running {
    /// Waits for a connection whose watches are in, taking commits meanwhile.
    pub(super) async fn connected(&mut self) -> Option<Arc<Project>> {
        let mut silent = Box::pin(tokio::time::sleep(SILENCE));
        loop {
            let project = self.project.borrow_and_update().clone();
            if let Some(project) = project.as_ref().filter(|of| !self.followed.as_ref().is_some_and(|at| at.is_in(of)))
            {
                self.followed = Some(project.follow(&self.stack));
            }
            let mut changes = project.as_ref().map(|project| project.subscribe(&self.stack));
            let excess = project.as_ref().filter(|project| project.is_ready()).and_then(|of| of.excess(&self.stack));
            let text = match &project {
                None => "connecting to the cluster".to_owned(),
                Some(project) => {
                    let trouble = project.trouble().or_else(|| excess.clone());
                    trouble.unwrap_or_else(|| "looking at what is deployed".into())
                }
            };
            let labels = StackLabels { source: self.setting.source.clone(), stack: self.stack.to_string() };
            self.setting.metrics.over_budget.get_or_create(&labels).set(excess.is_some().into());
            self.show(StackState::Unreachable, &text);
            let seen = async {
                match (&project, &mut changes) {
                    (Some(project), Some(changes)) => tokio::select! {
                        () = project.ready(), if excess.is_none() => project.excess(&self.stack).is_none(),
                        () = changed(changes, Instant::now() + EXCESS), if excess.is_some() => false,
                        () = project.trouble_other_than(&text) => false,
                    },
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = seen => if ready { return project },
                changed = self.project.changed() => changed.ok()?,
                commit = next(&mut self.commits) => self.head = Some(commit?),
                () = &mut silent, if !silent.is_elapsed() => {}
            }
            if silent.is_elapsed() {
                self.tell_silence(&text);
            }
        }
    }

    /// Tells the newest commit, once, that it waits for the cluster.
    fn tell_silence(&mut self, text: &str) {
        let Some(revision) = self.head.as_ref().map(|commit| commit.revision.clone()) else { return };
        if self.told.as_ref() == Some(&revision) {
            return;
        }
        self.told = Some(revision.clone());
        let description = shorten(&format!("waiting for the cluster: {text}"), MAX_DESCRIPTION);
        self.say(Word::Says(Status { revision, state: StatusState::Pending, description }));
    }

    /// Says that another one acts for the Stack: no commit waits for this one, and of one that names the same Stack in another source
    /// it is the end.
    fn tell_standby(&self, holder: &str) {
        let me = &self.setting.me;
        let lasts = !lease::is_by_hand(holder) && !lease::is_by_hand(me);
        let Some(commit) = self.head.as_ref().filter(|_| lasts) else { return };
        let has_it_too = commit.content != Content::Missing && !lease::is_for_the_same_source(holder, me);
        let why = format!("not deployed: {}", lease::acts(holder, me));
        self.say(if has_it_too {
            Word::Says(Status::new(&commit.revision, StatusState::Failure, why))
        } else {
            Word::Leaves(commit.revision.clone())
        });
    }

    /// Becomes the one that acts, then acts until something ends it.
    pub(super) async fn act(&mut self, project: &Arc<Project>) -> Left {
        let mut tries = 0;
        let since = Instant::now();
        let (machine, room) = loop {
            // what is done rarely must not take room in each of thousands of actors that rest
            let waiting = match Box::pin(self.prepare(project)).await {
                Ok(Prepared::Ours(machine, room)) => break (machine, room),
                Ok(Prepared::Ended) => return Left::Ended,
                Ok(Prepared::Theirs(holder)) => {
                    let why = lease::acts(&holder, &self.setting.me);
                    self.show(StackState::Standby, &format!("{why}: {holder}"));
                    tracing::warn!(stack = %self.stack, %holder, "{why}; standing by");
                    self.tell_standby(&holder);
                    tries = 0;
                    Waiting::For(holder)
                }
                Ok(Prepared::Unreadable(why)) => self.cant_begin(StackState::Unreadable, &why, since, &mut tries),
                Err(fault) => {
                    project.suspect();
                    self.cant_begin(StackState::Unreachable, &fault.message, since, &mut tries)
                }
            };
            tokio::select! {
                () = Box::pin(waiting.over(project, &self.stack)) => {}
                _ = self.project.changed() => return Left::Again,
                commit = next(&mut self.commits) => match commit {
                    Some(commit) => self.head = Some(commit),
                    None => return Left::Ended,
                },
            }
        };
        self.drive(project, machine, room).await
    }

    /// Tells why the Stack can't be acted for, and how long until it is tried again.
    fn cant_begin(&mut self, state: StackState, why: &str, since: Instant, tries: &mut u32) -> Waiting {
        self.show(state, why);
        tracing::warn!(stack = %self.stack, error = %why, "failed to begin; trying again");
        if since.elapsed() > SILENCE {
            self.tell_silence(why);
        }
        *tries += 1;
        Waiting::Until(doubled(RETRY, *tries - 1))
    }

    /// Room to begin, then the Lease, then the record: only its holder may read what it will act on, and whoever waits for room between
    /// would have to prove anew that it is. A holder that has to answer first may take long, and others must not wait for room meanwhile.
    async fn prepare(&mut self, project: &Project) -> Result<Prepared, Fault> {
        project.presence(inspect::namespace_exists(project)).await?;
        let me = &self.setting.me;
        // it went from this source to another one
        let gone = self.head.as_ref().is_some_and(|commit| commit.content == Content::Missing);
        if gone && let Some(holder) = lease::held_for_another_source(project, &self.stack, me) {
            return Ok(Prepared::Theirs(holder));
        }
        if lease::is_anothers(project, &self.stack, me)
            && let Lead::Theirs(holder) = lease::acquire(project, &self.stack, me).await?
        {
            return Ok(Prepared::Theirs(holder));
        }
        let room = loop {
            tokio::select! {
                room = Arc::clone(&project.room).acquire_owned() => break room.ok(),
                commit = next(&mut self.commits) => match commit {
                    Some(commit) => self.head = Some(commit),
                    None => return Ok(Prepared::Ended),
                },
            }
        };
        if project.proof(&self.stack).is_none()
            && let Lead::Theirs(holder) = lease::acquire(project, &self.stack, &self.setting.me).await?
        {
            return Ok(Prepared::Theirs(holder));
        }
        let mut record = match record::load(project, &self.stack).await? {
            Ok(record) => record,
            Err(why) => return Ok(Prepared::Unreadable(why)),
        };
        // who may write in the project may have written there
        record.map_history(|text| project.clean(&self.stack, text));
        if record == Record::default() {
            record.suspended = self.suspended.as_deref().cloned();
        }
        if self.setting.retry {
            record.held = None;
        }
        let machine = Machine::new(self.stack.clone(), Arc::clone(&self.setting.context), record);
        Ok(Prepared::Ours(Box::new(machine), room))
    }
}

/// How it ended to become the one that acts.
enum Prepared {
    /// It is, and has room.
    Ours(Box<Machine>, Option<OwnedSemaphorePermit>),
    /// Another daemon is.
    Theirs(String),
    /// What is kept of the Stack can't be read: why.
    Unreadable(String),
    /// The source ends.
    Ended,
}

/// What keeps an actor from acting.
enum Waiting {
    /// Another daemon.
    For(String),
    /// A cluster that does not answer as it should.
    Until(Duration),
}

impl Waiting {
    async fn over(self, project: &Project, stack: &StackName) {
        match self {
            Waiting::For(holder) => lease::wait(project, stack, &holder).await,
            Waiting::Until(wait) => tokio::time::sleep(wait).await,
        }
    }
}
