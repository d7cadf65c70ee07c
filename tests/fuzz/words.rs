//! Targets that read what clusters, registries and people say, and what becomes of it: causes, statuses, words without credentials.

use super::engine::Target;
use super::mutate::{CUT, Dictionary, parts};
use hks::ident::{Component, Kind, Message, ObjectKey, Revision};
use hks::manifest::{Manifest, render};
use hks::plan::{Live, Note};
use hks::record::Ending;
use hks::report::{self, MAX_DESCRIPTION, Status, StatusState};
use hks::rollout::text::{self, Pull};
use hks::rollout::{Cause, Progress, hinted, progress};
use hks::spec;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// A description as forges, terminals and pages take it.
pub fn is_fit(description: &str) {
    let length = description.chars().count();
    assert!(length <= MAX_DESCRIPTION, "{length} characters: {description:?}");
    assert!(!description.contains(char::is_control), "{description:?}");
    assert_eq!(report::shorten(description, MAX_DESCRIPTION), description, "shortened again");
}

/// What is told of a cause, everywhere.
pub fn is_told(cause: &Cause) {
    let revision = Revision::new("0123456789abcdef0123456789abcdef01234567");
    is_fit(&Status::new(&revision, StatusState::Failure, cause.to_string()).description);
    is_fit(&report::rejected(cause));
    for ending in [Ending::Open, Ending::Unhealthy { cause: cause.clone() }, Ending::Refused { cause: cause.clone() }] {
        is_fit(&report::rolled_back(Some(&revision), cause, &["a".into()], &ending));
    }
    let kept = serde_json::to_string(cause).unwrap();
    assert_eq!(serde_json::from_str::<Cause>(&kept).unwrap(), *cause, "kept and read again");
    assert!(cause.label().bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "a label of metrics");
}

const REGISTRY: Dictionary = &[
    "manifest unknown",
    "not found",
    "NAME_UNKNOWN",
    "pull access denied",
    "insufficient_scope",
    "unauthorized",
    "403 Forbidden",
    "invalid reference format",
    "429",
    "toomanyrequests",
    "500 Internal Server Error",
    "503 Service Unavailable",
    "timeout",
    "context deadline exceeded",
    "no such host",
    "connection refused",
    "unexpected EOF",
    "failed to pull and unpack image",
    "rpc error: code = NotFound desc = ",
    "\"",
    ": ",
    "<html>",
    "\u{1b}[31m",
    "İ",
];

/// What registries say of a failed pull: what may pass wins, whatever stands around it.
pub const PULL: Target = Target { name: "pull", run: pull, words: REGISTRY, grow: None, most: 2000, tries: 1500 };

fn pull(input: &[u8]) -> String {
    let message = String::from_utf8_lossy(input);
    let read = text::pull(&message);
    assert_eq!(text::pull(&message.to_ascii_uppercase()), read, "{message:?} in capitals");
    let around = text::pull(&format!("failed: {message}: unauthorized"));
    match &read {
        Pull::Transient(reason) => {
            assert_eq!(around, read, "{message:?} may pass");
            assert!(!reason.is_empty() && reason.len() < 40);
        }
        Pull::Final(reason) => {
            assert!(matches!(around, Pull::Final(_)));
            assert!(!reason.is_empty() && reason.len() < 40);
        }
        Pull::Silent => assert!(matches!(around, Pull::Final(_))),
    }
    format!("{read:?}")
}

/// Quota and limit refusals: what is told of them stood in them.
pub const QUOTA: Target = Target {
    name: "quota",
    run: quota,
    words: &[
        "exceeded quota: ",
        "requested: ",
        ", used: ",
        ", limited: ",
        "limits.memory=",
        "requests.storage=",
        "count/pods=",
        "cpu=",
        "pods=",
        "1Gi",
        "512Mi",
        "500m",
        ",",
        "maximum ",
        "memory",
        " usage per Container is ",
        ", but limit is ",
        ", but request is ",
        "usage",
        "is forbidden: ",
        ".",
        "\"",
        "\n",
        "[",
        "]",
    ],
    grow: None,
    most: 1000,
    tries: 1500,
};

fn quota(input: &[u8]) -> String {
    let message = String::from_utf8_lossy(input);
    let component = Component::Database("main".into());
    let Some(cause) = text::limit(&message, &component) else { return "none".into() };
    is_told(&cause);
    let Cause::LimitExceeded { resource, limit, used, asked, component, database } = &cause else {
        panic!("{cause:?}")
    };
    for said in [limit, used, asked] {
        assert!(message.contains(said.as_str()), "{said:?} is not in {message:?}");
    }
    assert_eq!((component.as_str(), *database), ("main", true));
    let resource = match resource {
        hks::rollout::Resource::Other(other) => {
            assert!(message.contains(other.as_str()), "{other:?} is not in {message:?}");
            "other"
        }
        hks::rollout::Resource::Memory => "memory",
        hks::rollout::Resource::Cpu => "cpu",
        hks::rollout::Resource::Storage => "storage",
    };
    format!("{resource} {} {} {}", limit.is_empty(), used.is_empty(), asked.is_empty())
}

/// What scheduler, admission and kubelet refuse with.
pub const REFUSAL: Target = Target {
    name: "refusal",
    run: refusal,
    words: &[
        "0/3 nodes are available: ",
        "Insufficient cpu",
        "Too many pods",
        "untolerated taint",
        " preemption:",
        " no new claims",
        ".",
        "violates PodSecurity",
        "admission webhook",
        "denied the request: ",
        "is forbidden: ",
        "failed calling webhook",
        "error when creating: ",
        "context deadline exceeded",
        "failed to sync",
        "connection refused",
        "denied request",
    ],
    grow: None,
    most: 1000,
    tries: 1500,
};

fn refusal(input: &[u8]) -> String {
    let message = String::from_utf8_lossy(input);
    let head = text::scheduler(&message);
    assert!(message.starts_with(head) && !head.contains(" preemption:"), "{head:?} of {message:?}");
    assert_eq!(text::scheduler(head), head, "cut again");
    let denied = text::denial(&message);
    if let Some(denied) = &denied {
        assert!(message.contains(denied.as_str()), "{denied:?} is not in {message:?}");
        assert!(!message.contains("failed calling webhook"), "a webhook that does not answer denies nothing");
    }
    format!(
        "{} {} {} {}",
        denied.is_some(),
        text::busy(&message),
        text::lacks_room(&message),
        head.len() < message.len()
    )
}

/// Live objects, and the names by which the small Stack below owns them.
static STACK: LazyLock<Manifest> = LazyLock::new(|| {
    let source = include_bytes!("../fixtures/fuzz/stack.yaml");
    let spec = spec::parse(source, "hks.yaml").unwrap();
    render(&spec, &Revision::new("0123456789abcdef0123456789abcdef01234567"), &crate::pure::context())
});

/// What is live as it stands in an input: a list of objects and events, as JSON.
pub fn live(value: &Value) -> Live {
    let mut live = Live::default();
    for item in value.as_array().into_iter().flatten() {
        let Some(kind) = item["kind"].as_str() else { continue };
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(kind) = Kind::named(kind) {
            live.objects.insert(ObjectKey::new(kind, name), Arc::new(item.clone()));
        } else if kind == "Event" {
            let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
            let about = Kind::named(item["involvedObject"]["kind"].as_str().unwrap_or_default()).unwrap_or(Kind::Pod);
            live.events.push(Arc::new(Note {
                about: ObjectKey::new(about, text(&item["involvedObject"]["name"])),
                uid: text(&item["involvedObject"]["uid"]),
                reason: text(&item["reason"]),
                message: text(&item["message"]),
                at: item["lastTimestamp"].as_str().and_then(|at| at.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH),
                count: item["count"].as_i64().and_then(|count| count.try_into().ok()).unwrap_or(1),
            }));
        }
    }
    live
}

/// Objects as a kubelet, a controller or the administrator of a vCluster writes them: whatever they say, a cause comes of it.
pub const KUBELET: Target = Target {
    name: "kubelet",
    run: kubelet,
    words: &[
        "\"ImagePullBackOff\"",
        "\"ErrImagePull\"",
        "\"CrashLoopBackOff\"",
        "\"CreateContainerConfigError\"",
        "\"RunContainerError\"",
        "\"OOMKilled\"",
        "\"exitCode\":137",
        "\"Unschedulable\"",
        "\"Failed\"",
        "\"Pending\"",
        "\"True\"",
        "\"False\"",
        "\"waiting\":",
        "\"terminated\":",
        "\"lastState\":",
        "\"restartCount\":",
        "\"reason\":",
        "\"message\":",
        "\"Unhealthy\"",
        "\"BackOff\"",
        "null",
        "[]",
        "{}",
        "-1",
        "9223372036854775807",
        "\"2026-01-01T00:00:00Z\"",
        "\"-009999-01-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59Z\"",
        "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
        "\"ReplicaFailure\"",
        "\"FailedCreate\"",
        "\"Complete\"",
        "\"deletionTimestamp\":",
        "\"conditions\":",
        "\\u001b[2J",
        "\"observedGeneration\":",
        "\"1Gi\"",
        "\"1e99999999\"",
    ],
    grow: None,
    most: 16 << 10,
    tries: 150,
};

fn kubelet(input: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return "unreadable".into() };
    let live = live(&value);
    let seen = progress(STACK.objects.iter().map(|object| &**object), &live, Timestamp::MIN);
    for object in &STACK.objects {
        hks::rollout::started(object, &live);
        hks::rollout::is_running_job(&object.key, &live);
        if let Some(current) = live.get(&object.key) {
            hks::rollout::unavailable_since(current);
            hks::rollout::was_never_ready(current, &live);
            let differences = hks::plan::differences(&object.body, current);
            assert!(hks::plan::differences(&object.body, &object.body).is_empty());
            for difference in differences {
                assert!(!difference.field.is_empty());
            }
        }
    }
    hks::rollout::stuck(STACK.objects.iter().map(|object| &**object), &live);
    let plan = hks::plan::compare(&STACK, &live, &[]);
    let steps = plan.all_work().count();
    match seen {
        Progress::Failed(cause) => {
            let cause = hinted(cause.with_log("a\nchown: operation not permitted".into()), &STACK);
            is_told(&cause);
            format!("failed {}", cause.label())
        }
        Progress::Progressing(missing) => {
            let cause = missing.into_cause();
            is_told(&cause);
            format!("progressing {}", cause.label())
        }
        other => format!("{} {steps}", if other == Progress::Ready { "ready" } else { "waiting" }),
    }
}

/// Descriptions of commit statuses, from whatever was said.
pub const STATUS: Target = Target {
    name: "status",
    run: status,
    words: &["\u{1b}[31m", "\n", "\r\n", "\t", "\0", "…", "no changes", ": ", "\u{9b}2J", "\u{202e}", "é", "🦀", CUT],
    grow: None,
    most: 1500,
    tries: 1000,
};

fn status(input: &[u8]) -> String {
    let [one, other, url] = parts::<3>(input);
    let revision = Revision::new("0123456789abcdef0123456789abcdef01234567");
    let (first, second) =
        (Status::new(&revision, StatusState::Pending, &one), Status::new(&revision, StatusState::Failure, &other));
    is_fit(&first.description);
    is_fit(&first.still_of(&Revision::new("aaaa")).description);
    is_fit(&second.still_of(&Revision::new("aaaa")).description);
    is_fit(&report::succeeded(
        one.len(),
        other.len(),
        Duration::from_secs(input.len() as u64),
        std::slice::from_ref(&one),
        Some(&url),
    ));
    for statuses in [vec![("a", &first)], vec![("a", &first), ("b", &second)], vec![("a", &second), ("b", &second)]] {
        let all = report::aggregate(&revision, statuses).unwrap();
        is_fit(&all.description);
    }
    assert!(report::shorten(&one, 0).chars().count() <= 1);
    format!("{} {}", first.description.ends_with('…'), second.description.len().min(2))
}

/// What a commit says of itself.
pub const COMMIT: Target = Target {
    name: "commit",
    run: commit,
    words: &["\u{1b}[2J", "\0", "\n", "…", "<a@b>", "\u{85}", CUT],
    grow: None,
    most: 900,
    tries: 1000,
};

fn commit(input: &[u8]) -> String {
    let [author, subject] = parts::<2>(input);
    let message = Message::new(&author, &subject);
    for said in [&message.author, &message.subject] {
        assert!(said.chars().count() <= 101 && !said.contains(char::is_control), "{said:?}");
    }
    let kept = serde_json::to_vec(&message).unwrap();
    assert_eq!(serde_json::from_slice::<Message>(&kept).unwrap(), message);
    format!("{} {}", message.author.ends_with('…'), message.subject.ends_with('…'))
}

/// Causes as a record holds them, which whoever may write a ConfigMap may have written.
pub const CAUSE: Target = Target {
    name: "cause",
    run: cause,
    words: &[
        "\"kind\":",
        "\"invalidSpec\"",
        "\"count\":0",
        "\"crashLoop\"",
        "\"limitExceeded\"",
        "\"secretMissing\"",
        "\"keys\":[]",
        "\"log\":",
        "\"exit_code\":-2147483648",
        "\"first\":\"\"",
        "\"requested\"",
        "\"database\":true",
        "\"used\":\"\"",
        "\\n",
        "\\u001b[2J",
        "null",
    ],
    grow: None,
    most: 2000,
    tries: 1000,
};

fn cause(input: &[u8]) -> String {
    let Ok(cause) = serde_json::from_slice::<Cause>(input) else { return "unreadable".into() };
    is_told(&cause);
    let said = |text: &str| format!("<{}>", text.len());
    is_told(&cause.clone().map_texts(said));
    is_told(&cause.clone().with_log("the last line\n".into()));
    format!("{} {}", cause.label(), cause.to_string().len().min(80) / 20)
}

/// Credentials in what others say: passwords of URLs and tokens are in nothing that is told, and nothing else changes its length.
pub const MASK: Target = Target {
    name: "mask",
    run: mask,
    words: &[
        "postgres://",
        "https://",
        "user",
        ":",
        "@",
        "host",
        "/",
        "?",
        "#",
        "${",
        "}",
        "$(",
        ")",
        "ghp_0123456789abcdefghijABCDEFGHIJ",
        "sk-0123456789abcdefghij",
        "AKIA0123456789ABCDEF",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----END",
        " ",
        "\n",
        ",",
        "'",
        "\"",
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWYwMTIzNDU2Nzg5",
        "\u{1}",
    ],
    grow: None,
    most: 600,
    tries: 1500,
};

fn mask(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let (masked, urls) = (spec::mask(&text), spec::mask_urls(&text));
    for shown in [&masked, &urls] {
        assert_eq!(shown.chars().count(), text.chars().count(), "{text:?} and {shown:?}");
        assert!(
            shown.chars().zip(text.chars()).all(|(shown, was)| shown == was || shown == '*'),
            "{text:?} and {shown:?}"
        );
    }
    assert_eq!(spec::mask_urls(&urls), urls, "masked again");
    assert!(urls.chars().zip(masked.chars()).all(|(url, all)| url != '*' || all == '*'), "{masked:?}");
    for (_, rest) in urls.match_indices("://").map(|(at, _)| urls.split_at(at + 3)) {
        let authority = rest.split(['/', '?', '#', ' ', '"', '\'', '\n', ',', ';']).next().unwrap();
        let password =
            authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
        let refers = |text: &str| text.starts_with('$') || text.contains('\u{1}');
        assert!(password.is_none_or(|password| refers(password) || password.chars().all(|c| c == '*')), "{urls:?}");
    }
    if masked == text && !text.contains('*') {
        assert!(!spec::is_credential(&text), "{text:?} is refused, and told as it is");
    }
    format!("{} {} {}", masked == text, urls == text, spec::is_credential(&text))
}
