//! What the HTTP endpoint, its pages and the command line show of a Stack.

use super::StackState;
use super::state::{Ended, Why};
use crate::ident::{Revision, StackName};
use crate::plan::{Added, Difference};
use crate::record::{Deployment, Outcome, Suspended};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Stack at a moment. It is additive: fields are added, never renamed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Name of the Stack.
    pub name: String,
    /// The project.
    pub namespace: String,
    /// One word: see [`StackState::word`].
    pub state: StackState,
    /// What is being done or waited for.
    pub activity: String,
    /// Since when it waits for room.
    pub waiting_since: Option<Timestamp>,
    /// The newest commit.
    pub desired_revision: Option<Revision>,
    /// The release that is in effect.
    pub applied_revision: Option<Revision>,
    /// Since when that release is in effect.
    pub applied_since: Option<Timestamp>,
    /// The commit whose deployment a suspension has stopped on the way: some of it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<Revision>,
    /// Why the newest commit is not in effect.
    pub cause: Option<String>,
    /// The log lines that explain it.
    pub log: Option<String>,
    /// Who asked for an older release, if that is why the newest commit is not in effect.
    pub requested_by: Option<String>,
    /// Why what was put back is not well, or was refused, where a rollback ended like that.
    pub ending: Option<String>,
    /// What the newest commit still waits for.
    pub lacking: Vec<LackingView>,
    /// What else it waits for, such as `Deployment/todo-web is resumed`.
    pub waits_for: Vec<String>,
    /// Data of the settled release that is gone.
    pub lost: Vec<String>,
    /// What of the settled release is not well.
    pub troubles: Vec<TroubleView>,
    /// What people have asked for that nobody has answered yet.
    pub asked: Vec<AskedView>,
    /// Who has suspended the Stack, when and why, if somebody has.
    pub suspended: Option<Suspended>,
    /// Public addresses, with their scheme.
    pub urls: Vec<String>,
    /// Apps.
    pub apps: Vec<AppView>,
    /// Databases.
    pub databases: Vec<DatabaseView>,
    /// Caches.
    pub caches: Vec<DatabaseView>,
    /// Fields that somebody else changed.
    pub drift: Vec<DriftView>,
    /// Fields that are not put back, since somebody insists on them or the API server makes them so.
    pub left_alone: Vec<LeftAloneView>,
    /// Fields that others have added to objects of the Stack; they stay through every release. At most 20.
    pub added: Vec<AddedView>,
    /// How often drift was put back since the daemon started.
    pub drift_corrected: u64,
    /// Databases and volumes that left the file and stay.
    pub retained: Vec<String>,
    /// The last deployments, newest first.
    pub history: Vec<Arc<Deployment>>,
    /// When this was composed.
    pub at: Timestamp,
}

/// A wish that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AskedView {
    /// What is wanted, such as `roll back to 4f1c2ab`.
    pub want: String,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl AskedView {
    /// In words.
    pub fn sentence(&self, now: Timestamp) -> String {
        let since = span(now.duration_since(self.at));
        format!("{} asked {since} ago to {}; no daemon has taken it yet", self.by, self.want)
    }
}

/// A field that hks leaves alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftAloneView {
    /// The object and the field.
    pub field: String,
    /// Who sets it, or to what.
    pub by: String,
}

/// Fields of one object that somebody else has added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddedView {
    /// The object.
    pub object: String,
    /// Who, by the name of the field manager.
    pub by: String,
    /// How many they are.
    pub count: usize,
    /// The first of them.
    pub fields: Vec<String>,
}

/// Fields of one object that are named.
const NAMED: usize = 5;

impl AddedView {
    /// What is told of what was added.
    pub fn of(added: &Added) -> Self {
        Self {
            object: added.object.to_string(),
            by: added.by.clone(),
            count: added.fields.len(),
            fields: added.fields.iter().take(NAMED).cloned().collect(),
        }
    }

    /// In words.
    pub fn sentence(&self) -> String {
        let Self { object, by, count, fields } = self;
        let (what, stay) = if *count == 1 { ("field", "stays") } else { ("fields", "stay") };
        let rest = count.saturating_sub(fields.len());
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        format!("{count} {what} of {object} set by {by} {stay}: {}{rest}", fields.join(", "))
    }
}

/// How far something that runs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Readiness {
    /// All of it is.
    Ready,
    /// Some of it is not.
    NotReady,
    /// The file says `replicas: 0`: nothing of it runs, as wished.
    Parked,
    /// The object itself is not there.
    Missing,
}

/// An app.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppView {
    /// Name in the file.
    pub name: String,
    /// How far it is.
    pub readiness: Readiness,
    /// The image that runs, or that should.
    pub image: String,
    /// Pods that are ready.
    pub ready: i64,
    /// Pods that should be.
    pub replicas: i64,
    /// What one pod may use at most: CPU and memory.
    pub limits: String,
    /// What it uses now, where the cluster measures it.
    pub usage: Option<String>,
}

/// A database or a cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseView {
    /// Name of its StatefulSet.
    pub name: String,
    /// How far it is.
    pub readiness: Readiness,
    /// Image of the server.
    pub image: String,
    /// Whether it takes connections.
    pub ready: bool,
    /// Size of its volume; empty if it has none.
    pub storage: String,
    /// What it uses now, where the cluster measures it.
    pub usage: Option<String>,
}

/// Drift of one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftView {
    /// Such as `Deployment/todo-web`.
    pub object: String,
    /// What differs; empty if the object is missing.
    pub fields: Vec<Difference>,
}

/// A key of a secret that somebody has to set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LackingView {
    /// The secret's name in the file.
    pub secret: String,
    /// The key.
    pub key: String,
}

/// Something of the settled release that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TroubleView {
    /// The app, database or cache.
    pub component: String,
    /// What is wrong.
    pub cause: String,
    /// Since when.
    pub since: Timestamp,
}

impl Readiness {
    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Readiness::Ready => "ready",
            Readiness::NotReady => "not ready",
            Readiness::Parked => "parked",
            Readiness::Missing => "missing",
        }
    }
}

impl View {
    /// What others than hks have said, and what quotes it.
    pub fn words(&mut self) -> impl Iterator<Item = &mut String> {
        let asked = self.asked.iter_mut().flat_map(|asked| [&mut asked.want, &mut asked.by]);
        let suspended = self.suspended.iter_mut().flat_map(|suspended| [&mut suspended.by, &mut suspended.reason]);
        let fields = self.drift.iter_mut().flat_map(|drift| &mut drift.fields);
        let drift = fields.flat_map(|field| field.live.iter_mut().chain([&mut field.wanted]));
        let left = self.left_alone.iter_mut().flat_map(|left| [&mut left.field, &mut left.by]);
        let added = self.added.iter_mut().flat_map(|added| added.fields.iter_mut().chain([&mut added.by]));
        let causes = self.troubles.iter_mut().map(|trouble| &mut trouble.cause);
        let own = [&mut self.cause, &mut self.log, &mut self.requested_by, &mut self.ending].into_iter().flatten();
        let all = own.chain(asked).chain(suspended).chain(drift).chain(left).chain(added).chain(causes);
        all.chain(&mut self.waits_for).chain([&mut self.activity]).filter(|text| !text.is_empty())
    }

    /// A view that tells nothing but a state.
    pub fn bare(stack: &StackName, namespace: &str, state: StackState, at: Timestamp) -> Self {
        Self {
            name: stack.to_string(),
            namespace: namespace.into(),
            state,
            activity: String::new(),
            waiting_since: None,
            desired_revision: None,
            applied_revision: None,
            applied_since: None,
            begun: None,
            cause: None,
            log: None,
            requested_by: None,
            ending: None,
            lacking: vec![],
            waits_for: vec![],
            lost: vec![],
            troubles: vec![],
            asked: vec![],
            suspended: None,
            urls: vec![],
            apps: vec![],
            databases: vec![],
            caches: vec![],
            drift: vec![],
            left_alone: vec![],
            added: vec![],
            drift_corrected: 0,
            retained: vec![],
            history: vec![],
            at,
        }
    }

    /// What worked before what runs now, the newest first: where one can go back to.
    pub fn older(&self) -> impl Iterator<Item = &Deployment> {
        let worked = |one: &&Deployment| {
            one.outcome == Outcome::Succeeded && Some(&one.revision) != self.applied_revision.as_ref()
        };
        self.history.iter().map(|one| &**one).filter(worked)
    }

    /// The state in one sentence: what it means here, and what to do where somebody has to do something.
    pub fn sentence(&self, now: Timestamp) -> String {
        let mut told = self.told(now);
        // at rest, what is being done can only be a trouble of the daemon itself
        if !self.activity.is_empty() && !told.contains(&self.activity) {
            told.push_str(&format!("; {}", self.activity));
        }
        told
    }

    /// What is not well of what runs.
    fn ill(&self) -> Option<String> {
        self.troubles.first().map(|first| format!("{}{}", first.cause, more(self.troubles.len())))
    }

    /// How a rollback ended, what runs since, and what brings the next try.
    fn held(&self, ended: Ended, (failed, runs): (&str, &str), again: &str, also: &str) -> String {
        let destroyed = self.cause.as_deref().and_then(|cause| cause.strip_prefix("Stack: "));
        match ended {
            Ended::Restored | Ended::Unhealthy if self.applied_revision.is_none() => match destroyed {
                Some(who) => format!("nothing of it runs: {who}"),
                None => format!("{failed}; what it created was removed again. {again}"),
            },
            Ended::Restored => match (self.ill(), self.not_ready().as_slice()) {
                (Some(ill), _) => format!("{failed}; {runs} is back, but {ill}. {again}"),
                (None, []) => format!("{failed}; {runs} is back and well. {again}"),
                (None, [one, ..]) => format!("{failed}; {runs} is back; {one} is not ready at the moment. {again}"),
            },
            Ended::Unhealthy => {
                let why = self.ending.as_deref().unwrap_or("it is not ready");
                format!("{failed}; {runs} is back, but it is not well either: {why}{also}")
            }
            Ended::Refused => {
                let why = self.ending.as_deref().unwrap_or("the cluster said no");
                match self.applied_revision {
                    Some(_) => {
                        format!("{failed}, and {runs} could not be put back, since that was refused: {why}{also}")
                    }
                    None => format!("{failed}, and nothing was put back: {why}{also}"),
                }
            }
        }
    }

    fn told(&self, now: Timestamp) -> String {
        let newest = short(self.desired_revision.as_ref(), "the newest commit");
        let runs = short(self.applied_revision.as_ref(), "nothing");
        let failed = match &self.requested_by {
            Some(by) => format!("{by} asked to leave {newest}"),
            None => format!("{newest} failed"),
        };
        let again = match self.requested_by {
            Some(_) => "It stays until the next commit".to_owned(),
            None => format!("Push another commit, or run `hks retry {}`", self.name),
        };
        let waits = self.waits_for.first().map(|first| format!("{first}{}", more(self.waits_for.len())));
        let tried =
            waits.as_ref().map(|what| format!("It is tried again when {what}, or by `hks retry {}`", self.name));
        let also = tried.as_ref().map(|tried| format!(". {tried}")).unwrap_or_default();
        let again = tried.unwrap_or(again);
        let ill = self.ill();
        let doing = |what: String| if self.activity.is_empty() { what } else { format!("{what}: {}", self.activity) };
        match self.state {
            StackState::Fresh => "nothing was ever deployed".into(),
            StackState::Deploying => doing(format!("{newest} is being deployed")),
            StackState::Waiting => {
                let since = self.waiting_since.map(|since| format!(" for {}", span(now.duration_since(since))));
                doing(format!("{newest} waits for room in the node pool{}", since.unwrap_or_default()))
            }
            StackState::RollingBack if self.applied_revision.is_none() => {
                doing(format!("{failed}, and what it created is being removed"))
            }
            StackState::RollingBack => doing(format!("{failed}, and {runs} is being put back")),
            StackState::Correcting => doing("what somebody else changed is being put back".into()),
            StackState::Destroying => doing("everything of it is being deleted, since a person said so".into()),
            StackState::Settled => match self.not_ready().as_slice() {
                [] if self.activity.is_empty() => format!("{runs} runs, and all of it is well"),
                [] => format!("{runs} runs, and was well when it was last seen"),
                [one] => format!("{runs} runs; {one} is not ready at the moment"),
                [one, more @ ..] => format!("{runs} runs; {one} and {} more are not ready at the moment", more.len()),
            },
            StackState::Degraded => {
                let first = self.troubles.first();
                let what = first.map_or_else(|| "something of it is not well".into(), |trouble| trouble.cause.clone());
                format!("{runs} runs, but {what}{}", more(self.troubles.len()))
            }
            StackState::Held(ended) => self.held(ended, (&failed, runs), &again, &also),
            StackState::Invalid => match self.lacking.first() {
                Some(LackingView { secret, key }) => format!(
                    "{newest} waits for key {key} of secret {secret}{}: run `hks secret set {} {secret} {key}`",
                    more(self.lacking.len()),
                    self.name
                ),
                None if let Some(what) = waits => format!("{newest} waits until {what}; nothing was touched"),
                None if self.applied_revision.is_none() => format!("{newest} can't be used; nothing was touched"),
                None if let Some(ill) = ill => format!("{newest} can't be used, and {runs} is not well: {ill}"),
                None => format!("{newest} can't be used; {runs} goes on running, untouched"),
            },
            StackState::Suspended(Why::NoFile) => {
                "no file is meant for this project, or it is empty; nothing is changed or deleted until there is one"
                    .into()
            }
            StackState::Suspended(Why::Asked) => {
                let by = self.suspended.as_ref().map(|told| {
                    let reason = if told.reason.is_empty() { String::new() } else { format!(" ({})", told.reason) };
                    format!(" by {} {} ago{reason}", told.by, span(now.duration_since(told.at)))
                });
                let begun = self.begun.as_ref().map(|begun| format!("; parts of {} may run already", begun.short()));
                format!(
                    "suspended{}{}; nothing is changed or deleted until `hks resume {}`",
                    by.unwrap_or_default(),
                    begun.unwrap_or_default(),
                    self.name
                )
            }
            StackState::DataLost => {
                let first = self.lost.first().map_or("data of the settled release", String::as_str);
                format!(
                    "{first}{} is gone, and nothing is made in its place. Restore it, or go on with an empty one: `hks retry {} \
                     --accept-data-loss`",
                    more(self.lost.len()),
                    self.name
                )
            }
            StackState::Standby | StackState::Unreachable | StackState::Unreadable => doing(self.state.title().into()),
        }
    }

    /// Something of the project can't be seen. What was well when it was last seen may be gone, once that lasts.
    pub fn cant_be_seen(&mut self, why: String, lasts: bool) {
        self.activity = why;
        if lasts && matches!(self.state, StackState::Settled | StackState::Degraded) {
            self.state = StackState::Unreachable;
        }
    }

    /// What should run and is not ready.
    fn not_ready(&self) -> Vec<&str> {
        let lacks = |readiness| matches!(readiness, Readiness::NotReady | Readiness::Missing);
        let apps = self.apps.iter().filter(|app| lacks(app.readiness)).map(|app| app.name.as_str());
        let servers = self.databases.iter().chain(&self.caches).filter(|server| lacks(server.readiness));
        apps.chain(servers.map(|server| server.name.as_str())).collect()
    }

    /// Says what the pods of each app, database and cache use now, by name.
    pub fn measure(&mut self, usage: &BTreeMap<String, String>) {
        self.apps.iter_mut().for_each(|app| app.usage = usage.get(&app.name).cloned());
        let servers = self.databases.iter_mut().chain(&mut self.caches);
        servers.for_each(|server| server.usage = usage.get(&server.name).cloned());
    }

    /// As the endpoint and `-o json` give it: the fields, and the sentence at the moment of the view.
    pub fn json(&self) -> Value {
        // the type has no map with other keys than text: this can't fail
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["sentence"] = self.sentence(self.at).into();
        value
    }
}

fn short<'a>(revision: Option<&'a Revision>, otherwise: &'a str) -> &'a str {
    revision.map_or(otherwise, Revision::short)
}

/// How many there are besides the one that was told.
pub(super) fn more(all: usize) -> String {
    if all > 1 { format!(" (and {} more)", all - 1) } else { String::new() }
}

/// A length of time as people say it, in its largest unit.
pub fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;

    fn view(state: StackState) -> View {
        let stack = StackName::new("todo").unwrap_or_else(|| unreachable!("a name"));
        View {
            desired_revision: Some(Revision::new("9d03e7b000")),
            applied_revision: Some(Revision::new("4f1c2ab000")),
            ..View::bare(&stack, "shop", state, Timestamp::UNIX_EPOCH)
        }
    }

    fn told(view: &View) -> String {
        view.sentence(Timestamp::UNIX_EPOCH + 200.seconds())
    }

    #[test]
    fn the_three_ends_of_a_rollback_are_told_apart() {
        let ending = Some("web crashes".to_owned());
        assert_eq!(
            told(&view(StackState::Held(Ended::Restored))),
            "9d03e7b failed; 4f1c2ab is back and well. Push another commit, or run `hks retry todo`"
        );
        assert_eq!(
            told(&View { ending: ending.clone(), ..view(StackState::Held(Ended::Unhealthy)) }),
            "9d03e7b failed; 4f1c2ab is back, but it is not well either: web crashes"
        );
        assert_eq!(
            told(&View { ending, ..view(StackState::Held(Ended::Refused)) }),
            "9d03e7b failed, and 4f1c2ab could not be put back, since that was refused: web crashes"
        );
        let asked = View { requested_by: Some("eve".into()), ..view(StackState::Held(Ended::Restored)) };
        assert_eq!(
            told(&asked),
            "eve asked to leave 9d03e7b; 4f1c2ab is back and well. It stays until the next commit"
        );
        let never = View { applied_revision: None, ..view(StackState::Held(Ended::Restored)) };
        assert!(told(&never).starts_with("9d03e7b failed; what it created was removed again"));
    }

    #[test]
    fn waiting_says_for_what_and_how_long() {
        let waiting = View {
            waiting_since: Some(Timestamp::UNIX_EPOCH),
            activity: "web asks 2 cpu".into(),
            ..view(StackState::Waiting)
        };
        assert_eq!(told(&waiting), "9d03e7b waits for room in the node pool for 3 min: web asks 2 cpu");
        let blind = View { activity: "failed to watch events".into(), ..view(StackState::Settled) };
        assert_eq!(told(&blind), "4f1c2ab runs, and was well when it was last seen; failed to watch events");
    }

    #[test]
    fn a_suspension_says_who_when_and_why() {
        let by = |reason: &str| Suspended { by: "eve".into(), at: Timestamp::UNIX_EPOCH, reason: reason.into() };
        let suspended = View { suspended: Some(by("audit")), ..view(StackState::Suspended(Why::Asked)) };
        let text = "suspended by eve 3 min ago (audit); nothing is changed or deleted until `hks resume todo`";
        assert_eq!(told(&suspended), text);
        let suspended = View { suspended: Some(by("")), ..suspended };
        assert!(told(&suspended).starts_with("suspended by eve 3 min ago; nothing"));
    }

    #[test]
    fn what_is_lacking_is_told_with_the_command_that_sets_it() {
        let lacking = |key: &str| LackingView { secret: "mail".into(), key: key.into() };
        let invalid = View { lacking: vec![lacking("user"), lacking("password")], ..view(StackState::Invalid) };
        assert_eq!(
            told(&invalid),
            "9d03e7b waits for key user of secret mail (and 1 more): run `hks secret set todo mail user`"
        );
        assert_eq!(told(&view(StackState::Invalid)), "9d03e7b can't be used; 4f1c2ab goes on running, untouched");
    }

    #[test]
    fn what_is_settled_is_not_called_well_before_all_of_it_is_ready() {
        let app = |name: &str, readiness| AppView {
            name: name.into(),
            readiness,
            image: String::new(),
            ready: 0,
            replicas: 1,
            limits: String::new(),
            usage: None,
        };
        let of = |apps| told(&View { apps, ..view(StackState::Settled) });
        assert_eq!(of(vec![app("web", Readiness::Parked)]), "4f1c2ab runs, and all of it is well");
        assert_eq!(of(vec![app("web", Readiness::NotReady)]), "4f1c2ab runs; web is not ready at the moment");
        let both = vec![app("web", Readiness::NotReady), app("api", Readiness::Missing)];
        assert_eq!(of(both), "4f1c2ab runs; web and 1 more are not ready at the moment");
    }

    #[test]
    fn what_else_is_waited_for_and_what_is_lost_is_named() {
        let waits_for = vec!["Deployment/todo-web is resumed".to_owned()];
        let waiting = View { waits_for, ..view(StackState::Invalid) };
        assert_eq!(told(&waiting), "9d03e7b waits until Deployment/todo-web is resumed; nothing was touched");
        let waits_for = vec!["a quota or limit of the project is changed, or it is 08:03 UTC".to_owned()];
        assert_eq!(
            told(&View { waits_for, ..view(StackState::Held(Ended::Restored)) }),
            "9d03e7b failed; 4f1c2ab is back and well. It is tried again when a quota or limit of the project is changed, \
             or it is 08:03 UTC, or by `hks retry todo`"
        );
        let lost = vec!["PersistentVolumeClaim/data-todo-main-1".to_owned()];
        let lost = told(&View { lost, ..view(StackState::DataLost) });
        assert!(lost.starts_with("PersistentVolumeClaim/data-todo-main-1 is gone"), "{lost}");
        assert!(lost.ends_with("`hks retry todo --accept-data-loss`"), "{lost}");
    }

    #[test]
    fn what_others_have_added_is_told_in_bounds() {
        let object = crate::ident::ObjectKey::new(crate::ident::Kind::Deployment, "todo-web");
        let fields = |count: usize| (0..count).map(|number| format!("spec.f{number}")).collect();
        let told = |count| {
            AddedView::of(&Added { object: object.clone(), by: "kubectl-edit".into(), fields: fields(count) })
                .sentence()
        };
        assert_eq!(told(1), "1 field of Deployment/todo-web set by kubectl-edit stays: spec.f0");
        assert_eq!(
            told(7),
            "7 fields of Deployment/todo-web set by kubectl-edit stay: spec.f0, spec.f1, spec.f2, spec.f3, spec.f4 and 2 more"
        );
    }

    #[test]
    fn every_state_has_a_sentence_and_its_word_in_json() {
        for state in StackState::ALL {
            let view = view(state);
            assert!(!told(&view).is_empty(), "{state:?}");
            assert_eq!(view.json()["state"], state.word());
            assert!(view.json()["sentence"].is_string());
        }
    }

    #[test]
    fn lengths_are_said_in_their_largest_unit() {
        let words = |seconds| span(SignedDuration::from_secs(seconds));
        assert_eq!([words(-3), words(119), words(120)], ["0 s", "119 s", "2 min"]);
        assert_eq!([words(7_200), words(172_800)], ["2 h", "2 days"]);
    }
}
