//! Targets that read what comes from outside: logs, answers of clusters and of the process that reads repositories, compose files.

use super::engine::{Target, measured};
use crate::pure::numbers::Numbers;
use hks::compose;
use hks::ident::Component;
use hks::shell::cluster::failure::{Failure, FailureKind, describe};
use hks::shell::cluster::{inspect, pages, record, target};
use hks::shell::git::{Found, GitError};
use hks::spec::{Code, Diagnostic};
use kube::config::Kubeconfig;
use kube::core::{ListMeta, ObjectList, Status, TypeMeta};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::ops::ControlFlow;

/// One thread is enough for what waits for nothing.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// Answers of the process that reads a repository: one that lies takes no more memory than its answer may be long, many times over.
pub const GIT: Target =
    Target { name: "git", run: git, words: &["\0", "\u{1}", "hks.yaml"], grow: Some(answer), most: 2 << 20, tries: 60 };

/// Answers as they travel: the same fields in the same order as `Found` has them.
fn answer(chance: &mut Numbers) -> Vec<u8> {
    type File = (String, String, Option<(u32, String)>);
    type Seen = (String, (Vec<u8>, i32, Vec<String>, usize, String));
    let text = |chance: &mut Numbers| "a".repeat(chance.index(4));
    let id = vec![7_u8; if chance.below(8) == 0 { 3 } else { 20 }];
    let many = [0, 1, 3, 20, 100, 1000, 5000, 200_000][chance.index(12).saturating_sub(4)];
    // the second of the contents: the file is not there
    let files: Vec<File> =
        (0..many).map(|_| (text(chance), text(chance), (chance.below(2) == 0).then(|| (2, text(chance))))).collect();
    let seen: Vec<Seen> =
        (0..many.min(900)).map(|n| (n.to_string(), (id.clone(), 0, vec![text(chance)], 0, text(chance)))).collect();
    let reading = (id.clone(), chance.below(2) == 0, seen);
    let reading = if reading.1 {
        postcard::to_stdvec(&(reading.0, Some("v1"), reading.2))
    } else {
        postcard::to_stdvec(&(reading.0, None::<&str>, reading.2))
    };
    // Ok(Some(…))
    let mut bytes = vec![0, 1];
    bytes.extend(
        postcard::to_stdvec(&("0123456789abcdef0123456789abcdef01234567", ("author", "subject"), files, 0_usize))
            .unwrap(),
    );
    bytes.extend(reading.unwrap());
    bytes
}

fn git(input: &[u8]) -> String {
    let (cost, read) = measured(|| postcard::from_bytes::<Result<Option<Found>, GitError>>(input));
    let most = (1 << 20) + 16 * input.len() as u64;
    assert!(cost.bytes_max <= most, "{} bytes at once for an answer of {}", cost.bytes_max, input.len());
    let Ok(read) = read else { return "unreadable".into() };
    let written = postcard::to_stdvec(&read).unwrap();
    let again = postcard::from_bytes::<Result<Option<Found>, GitError>>(&written).unwrap();
    assert_eq!(postcard::to_stdvec(&again).unwrap(), written, "written again");
    match again {
        Ok(Some(found)) => {
            format!("found {} {}", found.files.len().min(4), found.files.iter().any(|file| file.content.is_some()))
        }
        Ok(None) => "nothing new".into(),
        Err(error) => error.to_string().split(' ').take(3).collect(),
    }
}

/// URLs of repositories: what is told of one holds neither user nor password.
pub const URL: Target = Target {
    name: "url",
    run: url,
    words: &[
        "https://",
        "ssh://",
        "git@",
        "file://",
        "user:passw0rd@",
        "host",
        "/",
        ":",
        "@",
        "//",
        "?",
        "#",
        "%40",
        "[::1]",
        "../",
        " ",
    ],
    grow: None,
    most: 200,
    tries: 2000,
};

fn url(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let public = hks::shell::git::public_url(&text);
    assert!(public.len() <= text.len(), "{public:?}");
    hks::shell::git::local_folder(&text);
    let Ok(parsed) = reqwest::Url::parse(&text) else { return "no URL".into() };
    // only a browser takes one without slashes for a URL
    if text.starts_with(&format!("{}://", parsed.scheme()))
        && let Some(password) = parsed.password().filter(|password| password.len() > 3)
    {
        let elsewhere = text.replacen(password, "", 1).contains(password);
        assert!(elsewhere || !public.contains(password), "{public:?} of {text:?}");
    }
    format!("{} {} {}", parsed.scheme().len(), parsed.password().is_some(), public == text)
}

/// Lists of an API server, page by page: every object comes once, in order, and no page is asked for that is larger than it may be.
pub const PAGES: Target = Target {
    name: "pages",
    run: paged,
    words: &[
        "{\"items\":[",
        "]}",
        "1,2,3",
        ",\"metadata\":{",
        "\"continue\":\"a\"",
        "\"continue\":\"\"",
        "}",
        "\n",
        "null",
        "410",
        "-",
    ],
    grow: None,
    most: 4 << 10,
    tries: 800,
};

fn paged(input: &[u8]) -> String {
    #[derive(Clone, serde::Deserialize)]
    struct Page {
        items: Vec<i64>,
        #[serde(default)]
        metadata: ListMeta,
    }
    let text = String::from_utf8_lossy(input);
    let lines: Vec<Result<Page, _>> = text.lines().map(serde_json::from_str::<Page>).collect();
    let pages = RefCell::new(lines.iter());
    let asked = RefCell::new(vec![]);
    let page = |params: kube::api::ListParams| {
        assert!(params.limit.is_some_and(|limit| (1..=pages::PAGE).contains(&limit)), "{:?}", params.limit);
        asked.borrow_mut().push(params.continue_token);
        let answer = match pages.borrow_mut().next() {
            Some(Ok(page)) => Ok(ObjectList {
                types: TypeMeta::default(),
                metadata: page.metadata.clone(),
                items: page.items.clone(),
            }),
            Some(Err(_)) => Err(kube::Error::Service("it broke off".into())),
            None => Ok(ObjectList { types: TypeMeta::default(), metadata: ListMeta::default(), items: vec![] }),
        };
        std::future::ready(answer)
    };
    let mut taken = vec![];
    let take = |item: i64| {
        taken.push(item);
        if taken.len() < 100 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let done = block_on(pages::paged(kube::api::ListParams::default(), page, take));
    let asked = asked.into_inner();
    assert!(asked.len() <= lines.len() + 1);
    let answered: Vec<_> = lines.iter().take(asked.len()).filter_map(|line| line.as_ref().ok()).collect();
    let given: Vec<_> = answered.iter().flat_map(|page| page.items.iter().copied()).take(100).collect();
    assert_eq!(taken, given, "objects");
    for (page, token) in answered.iter().zip(asked.iter().skip(1)) {
        assert_eq!(token, &page.metadata.continue_, "goes on where the page before ended");
    }
    format!("{} {} {}", done.is_ok(), asked.len().min(5), taken.len().min(100) / 10)
}

/// What an API server refuses with: whether it may pass hangs on no more than what is known to.
pub const REFUSED: Target = Target {
    name: "refused",
    run: refused,
    words: &[
        "\"code\":",
        "403",
        "404",
        "409",
        "422",
        "429",
        "500",
        "503",
        "\"reason\":",
        "\"Conflict\"",
        "\"message\":",
        "being deleted",
        "the object has been modified",
        "because it is being terminated",
        "namespaces ",
        "error looking up service account",
        "\"Failure\"",
        "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
        "denied the request: ",
        "\\u001b[2J",
    ],
    grow: None,
    most: 2000,
    tries: 800,
};

fn refused(input: &[u8]) -> String {
    let Ok(status) = serde_json::from_slice::<Status>(input) else { return "unreadable".into() };
    let (code, message) = (status.code, status.message.clone());
    let error = kube::Error::Api(Box::new(status));
    let fault = describe(&error, "Deployment/a-web".into(), Component::App("web".into()));
    assert_eq!(fault.message, message);
    if matches!(code, 429 | 500 | 503) {
        assert!(fault.transient, "{code} passes");
    }
    if matches!(code, 400 | 405 | 413 | 415 | 422) && !message.contains("being terminated") {
        assert!(!fault.transient, "{code} stays: {message}");
    }
    let failure = Failure::of(&error, "failed to list Stacks");
    assert!(failure.message.starts_with("failed to list Stacks: ") && failure.message.ends_with(&message));
    assert_eq!(failure.kind == FailureKind::Forbidden, matches!(code, 401 | 403));
    let again = Failure::from(fault.clone());
    assert_eq!(again.kind == FailureKind::Transient, fault.transient);
    format!("{code} {}", fault.transient)
}

/// The `ConfigMap` of a Stack as anybody may have written it.
pub const CONFIGMAP: Target = Target {
    name: "configmap",
    run: configmap,
    words: &[
        "\"data\":",
        "\"binaryData\":",
        "\"record\":",
        "\"record.json\":",
        "\"release\":",
        "\"seal\":",
        "\"metadata\":",
        "\"managedFields\":",
        "\"fieldsV1\":",
        "\"f:data\":",
        "\"manager\":",
        "null",
        "\"{}\"",
        "[]",
        "\"KLUv/Q==\"",
        "\"annotations\":",
        "\"hks.hexabase.ai/kept-at\":",
    ],
    grow: None,
    most: 8 << 10,
    tries: 600,
};

fn configmap(input: &[u8]) -> String {
    let Ok(map) = serde_json::from_slice::<Value>(input) else { return "unreadable".into() };
    let read = record::read(&map);
    record::kept_at(&map);
    let other = record::is_of_another_hand(&map);
    if let Ok(read) = &read {
        assert!(read.settled.as_ref().is_none_or(|release| release.ran.is_none() || map["binaryData"].is_object()));
    }
    format!("{} {other} {}", read.is_ok(), read.is_ok_and(|read| read.settled.is_some()))
}

/// Kubeconfigs: one whose chosen user runs a program is refused.
pub const KUBECONFIG: Target = Target {
    name: "kubeconfig",
    run: kubeconfig,
    words: &[
        "exec:",
        "command: sh",
        "auth-provider:",
        "name: gcp",
        "users:",
        "contexts:",
        "current-context: a",
        "user: u",
        "- name: u",
        "null",
        "{}",
        "\n  ",
        "token: t",
        "kind: Config",
        "as: x",
    ],
    grow: None,
    most: 4 << 10,
    tries: 300,
};

fn kubeconfig(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let Ok(config) = Kubeconfig::from_yaml(&text) else { return "unreadable".into() };
    let taken = target::refuse_programs(&config, None);
    let chosen = config.current_context.as_deref();
    let user = config
        .contexts
        .iter()
        .filter(|context| Some(context.name.as_str()) == chosen)
        .find_map(|context| context.context.as_ref()?.user.clone());
    let named = config.auth_infos.iter().filter(|info| Some(&info.name) == user.as_ref());
    let runs = named
        .filter_map(|info| info.auth_info.as_ref())
        .any(|info| info.exec.is_some() || info.auth_provider.is_some());
    assert!(!runs || taken.is_err(), "a program would run: {text}");
    if let Ok(made) =
        block_on(kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()))
    {
        let runs = made.auth_info.exec.is_some() || made.auth_info.auth_provider.is_some();
        assert!(!runs || taken.is_err(), "a program would run: {text}");
    }
    format!("{} {runs}", taken.is_ok())
}

/// What programs in containers print: `df`, and logs that the kubelet answers for.
pub const PRINTED: Target = Target {
    name: "printed",
    run: printed,
    words: &[
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n",
        "/dev/sda1",
        " ",
        "100",
        "5%",
        "/data",
        "\n",
        "-1",
        "unable to retrieve container logs for ",
        "failed to open log file \"/var/log/pods/",
    ],
    grow: None,
    most: 1000,
    tries: 2000,
};

fn printed(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let free = inspect::available(&text);
    if let Some(free) = free {
        assert!(free.is_multiple_of(1024));
        assert!(text.contains(&(free / 1024).to_string()), "{free} is not in {text:?}");
    }
    let own = inspect::own_words(&text);
    assert!(own.len() <= text.len() && inspect::own_words(&own) == own);
    assert!(
        !own.starts_with("unable to retrieve container logs for ")
            && !own.contains("\nunable to retrieve container logs for ")
    );
    format!("{} {}", free.is_some(), own.len() == text.len())
}

/// What is wrong with the form of a file.
const FORM: [Code; 9] = [
    Code::Syntax,
    Code::DuplicateKey,
    Code::UnknownKey,
    Code::MissingKey,
    Code::WrongType,
    Code::ExactlyOne,
    Code::Contradiction,
    Code::InvalidReference,
    Code::UnresolvedReference,
];

/// Compose files: what can be read of one becomes an hks.yaml of the right form.
pub const COMPOSE: Target = Target {
    name: "compose",
    run: imported,
    words: &[
        "services:",
        "web:",
        "image: a:1",
        "build: .",
        "ports:",
        "- \"80:8080\"",
        "environment:",
        "PASSWORD: passw0rd",
        "${VAR:-x}",
        "${VAR}",
        "depends_on:",
        "healthcheck:",
        "test: [CMD, curl, http://localhost:8080/x]",
        "deploy:",
        "replicas: 3",
        "resources:",
        "volumes:",
        "- data:/data",
        "tmpfs: /tmp",
        "user: 1000:1000",
        "command: sh -c 'a b'",
        "entrypoint: []",
        "image: postgres:16",
        "image: redis",
        "\n  ",
        "\n    ",
        "\n      ",
        "limits: {cpus: '0.5', memory: 512M}",
        "null",
        "\"",
        "'",
        "$$",
        "interval: 10s",
        "secrets:",
        "read_only: true",
    ],
    grow: None,
    most: 3 << 10,
    tries: 60,
};

fn imported(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let mut files = compose::Files::from([("compose.yaml".to_owned(), Ok(text.into_owned()))]);
    let hidden = std::collections::BTreeSet::new();
    let wishes = compose::Wishes { name: "shop", folder: Some(""), hidden: &hidden };
    let made = loop {
        match compose::translate("compose.yaml", &files, &wishes) {
            Ok(made) => break made,
            Err(compose::Failure::Refused(_)) => return "unreadable".into(),
            Err(compose::Failure::Wants(wanted)) => {
                assert!(wanted.iter().all(|file| !files.contains_key(file)), "wanted again: {wanted:?}");
                files.extend(wanted.into_iter().map(|file| (file, Err("it is not there".to_owned()))));
            }
        }
    };
    let lines = || made.notes.iter().flat_map(|section| &section.lines);
    assert!(made.file.len() <= 64 * input.len() + 8192, "{} bytes of {}", made.file.len(), input.len());
    assert!(!lines().any(|note| note.len() > input.len() + 1000), "{:?}", made.notes);
    let spec = match hks::spec::parse(made.file.as_bytes(), "hks.yaml") {
        Ok(spec) => spec,
        // a value may be as wrong here as it was there, but nothing is where it can't be
        Err(found) => {
            let of_form = |found: &&Diagnostic| FORM.contains(&found.code);
            if let Some(found) = found.iter().find(of_form) {
                panic!("{found}\n{}", made.file);
            }
            return found.iter().map(|found| found.code.as_str()).collect();
        }
    };
    json!([
        spec.apps.len().min(3),
        spec.databases.len().min(2),
        spec.caches.len().min(2),
        spec.secrets.len(),
        lines().count().min(4)
    ])
    .to_string()
}
