//! Live objects, read by type: where Kubernetes keeps each fact stands here, and nowhere else. What is not there is told as
//! Kubernetes means it: a count is 0, a text is empty.

use jiff::Timestamp;
use serde_json::Value;

/// When an object was made, by the clock of the API server.
pub fn created(object: &Value) -> Option<Timestamp> {
    time(&object["metadata"]["creationTimestamp"])
}

/// An annotation of an object.
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][name].as_str()
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// What an object says of itself under a name, in `status.conditions`.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a>(&'a Value);

impl<'a> Condition<'a> {
    /// The condition of this type; an object that nobody has looked at has none.
    pub fn of(object: &'a Value, kind: &str) -> Option<Self> {
        list(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == kind).map(Self)
    }

    /// It is so.
    pub fn is_true(self) -> bool {
        self.0["status"] == "True"
    }

    /// It is not so; it may also be unknown.
    pub fn is_false(self) -> bool {
        self.0["status"] == "False"
    }

    /// Since when.
    pub fn since(self) -> Option<Timestamp> {
        time(&self.0["lastTransitionTime"])
    }

    /// Why, in one word.
    pub fn reason(self) -> &'a str {
        text(&self.0["reason"])
    }

    /// Why, for people.
    pub fn message(self) -> &'a str {
        text(&self.0["message"])
    }
}

/// Names of the pods that an `EndpointSlice` sends traffic to; readiness that is not told counts as ready (Kubernetes API,
/// `EndpointConditions`).
pub fn endpoints(slice: &Value) -> impl Iterator<Item = &str> {
    let ready = list(&slice["endpoints"]).iter().filter(|endpoint| endpoint["conditions"]["ready"] != false);
    ready.filter_map(|endpoint| endpoint["targetRef"]["name"].as_str())
}

/// A pod.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a>(pub &'a Value);

impl<'a> Pod<'a> {
    /// It takes traffic.
    pub fn is_ready(self) -> bool {
        Condition::of(self.0, "Ready").is_some_and(Condition::is_true)
    }

    /// `Pending`, `Running`, …; empty where nobody has said it yet.
    pub fn phase(self) -> &'a str {
        text(&self.0["status"]["phase"])
    }

    /// The scheduler has found a node for it.
    pub fn has_node(self) -> bool {
        self.0["spec"]["nodeName"].is_string()
    }

    /// The revision of the template that it was made of, in a StatefulSet.
    pub fn revision(self) -> &'a Value {
        &self.0["metadata"]["labels"]["controller-revision-hash"]
    }

    /// How its containers are. Init containers come first: the others wait for them.
    pub fn statuses(self) -> impl Iterator<Item = Status<'a>> {
        let of = |lists: &str| list(&self.0["status"][lists]).iter();
        of("initContainerStatuses").chain(of("containerStatuses")).map(Status)
    }

    /// Its containers as they were asked for, without init containers.
    pub fn containers(self) -> impl Iterator<Item = Container<'a>> {
        list(&self.0["spec"]["containers"]).iter().map(Container)
    }

    /// The image of a container as it was asked for: a status may name it by digest.
    pub fn image_of(self, status: Status<'a>) -> &'a str {
        let all = ["initContainers", "containers"].into_iter().flat_map(|part| list(&self.0["spec"][part]));
        let asked = all.map(Container).find(|container| container.name() == status.name());
        asked.map(Container::image).filter(|image| !image.is_empty()).unwrap_or_else(|| text(&status.0["image"]))
    }
}

/// A container as it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a>(&'a Value);

impl<'a> Container<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        text(&self.0["name"])
    }

    /// Its image.
    pub fn image(self) -> &'a str {
        text(&self.0["image"])
    }

    /// A variable of its environment that has a plain value.
    pub fn variable(self, name: &str) -> Option<&'a str> {
        list(&self.0["env"]).iter().find(|entry| entry["name"] == name)?["value"].as_str()
    }

    /// What it asks of a node, such as `cpu`.
    pub fn request(self, what: &str) -> Option<&'a str> {
        self.0["resources"]["requests"][what].as_str()
    }

    /// What it may use at most, such as `memory`.
    pub fn limit(self, what: &str) -> Option<&'a str> {
        self.0["resources"]["limits"][what].as_str()
    }
}

/// How a container of a pod is.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a>(&'a Value);

impl<'a> Status<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        text(&self.0["name"])
    }

    /// How often it was started again.
    pub fn restarts(self) -> i64 {
        number(&self.0["restartCount"])
    }

    /// It runs.
    pub fn is_running(self) -> bool {
        self.0["state"]["running"].is_object()
    }

    /// Why it does not run yet, or not again: one word, such as `ImagePullBackOff`.
    pub fn waits_for(self) -> Option<&'a str> {
        self.0["state"]["waiting"]["reason"].as_str()
    }

    /// … and the words of the kubelet.
    pub fn waits_since(self) -> &'a str {
        text(&self.0["state"]["waiting"]["message"])
    }

    /// How it ended, if it has.
    pub fn end(self) -> Option<End<'a>> {
        Some(&self.0["state"]["terminated"]).filter(|end| end.is_object()).map(End)
    }

    /// How it ended the last time, if it was started again.
    pub fn last_end(self) -> Option<End<'a>> {
        Some(&self.0["lastState"]["terminated"]).filter(|end| end.is_object()).map(End)
    }

    /// When it was started, as far as that is still known.
    pub fn starts(self) -> impl Iterator<Item = Timestamp> {
        let ends = [self.end(), self.last_end()].into_iter().flatten().map(|end| &end.0["startedAt"]);
        ends.chain([&self.0["state"]["running"]["startedAt"]]).filter_map(time)
    }
}

/// How a container ended.
#[derive(Clone, Copy, Debug)]
pub struct End<'a>(&'a Value);

impl End<'_> {
    /// Its exit code; -1 where it is none.
    pub fn code(self) -> i32 {
        number(&self.0["exitCode"]).try_into().unwrap_or(-1)
    }

    /// Seconds that it had run for, where that is known.
    pub fn ran(self) -> Option<i64> {
        Some(time(&self.0["finishedAt"])?.duration_since(time(&self.0["startedAt"])?).as_secs())
    }

    /// The kernel has ended it, since it took too much memory.
    pub fn is_out_of_memory(self) -> bool {
        self.0["reason"] == "OOMKilled"
    }
}

/// What makes pods of a template: a Deployment, `ReplicaSet`, StatefulSet or Job.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a>(pub &'a Value);

impl<'a> Workload<'a> {
    /// Its controller has seen the newest spec.
    pub fn is_observed(self) -> bool {
        number(&self.0["status"]["observedGeneration"]) >= number(&self.0["metadata"]["generation"])
    }

    /// How many pods it should have.
    pub fn wanted(self) -> i64 {
        number(&self.0["spec"]["replicas"])
    }

    /// How many it has, of whatever template.
    pub fn all(self) -> i64 {
        number(&self.0["status"]["replicas"])
    }

    /// How many are of the newest template.
    pub fn updated(self) -> i64 {
        number(&self.0["status"]["updatedReplicas"])
    }

    /// How many take traffic.
    pub fn ready(self) -> i64 {
        number(&self.0["status"]["readyReplicas"])
    }

    /// How many have done so for as long as they must.
    pub fn available(self) -> i64 {
        number(&self.0["status"]["availableReplicas"])
    }

    /// The containers of its template, without init containers.
    pub fn containers(self) -> impl Iterator<Item = Container<'a>> {
        list(&self.0["spec"]["template"]["spec"]["containers"]).iter().map(Container)
    }

    /// The number of the rollout that a Deployment is at, or that a `ReplicaSet` belongs to.
    pub fn rollout(self) -> i64 {
        let number = annotation(self.0, "deployment.kubernetes.io/revision");
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// How many pods a `ReplicaSet` had to have when it was the newest.
    pub fn once_wanted(self) -> usize {
        let number = annotation(self.0, "deployment.kubernetes.io/desired-replicas");
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// The template that the pods of a StatefulSet are to have, where its controller has said so.
    pub fn newest_revision(self) -> Option<&'a str> {
        self.0["status"]["updateRevision"].as_str()
    }

    /// All pods of a StatefulSet are of one template.
    pub fn is_of_one_revision(self) -> bool {
        self.0["status"]["updateRevision"] == self.0["status"]["currentRevision"]
    }
}
