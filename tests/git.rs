//! Reading repositories: servers that never answer, that send one elsewhere, and repositories made to do harm. Each is read
//! by a process of its own, which ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Signature};
use hks::machine::Content;
use hks::shell::credential::Hidden;
use hks::shell::git::{Follows, GitError, Limits, Remote, Repository};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct World {
    place: TempDir,
    remote: git2::Repository,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let remote = git2::Repository::init_bare(place.path().join("remote.git")).unwrap();
        Self { place, remote }
    }

    /// Makes `tree` the one of the followed branch.
    fn commit(&self, tree: Oid) -> String {
        let (tree, me) = (self.remote.find_tree(tree).unwrap(), Signature::now("me", "me@example.com").unwrap());
        let parent = self.remote.find_reference("refs/heads/main").ok().map(|head| head.peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        self.remote.commit(Some("refs/heads/main"), &me, &me, "change", &tree, &parents).unwrap().to_string()
    }

    fn commit_file(&self, path: &str, text: &str) -> String {
        let empty = self.remote.treebuilder(None).unwrap().write().unwrap();
        let base = self.remote.find_tree(empty).unwrap();
        let blob = self.remote.blob(text.as_bytes()).unwrap();
        let tree = TreeUpdateBuilder::new().upsert(path, blob, FileMode::Blob).create_updated(&self.remote, &base);
        self.commit(tree.unwrap())
    }

    /// A folder in which each name is of the same object.
    fn folder(&self, names: &[&str], of: Oid, mode: FileMode) -> Oid {
        let mut builder = self.remote.treebuilder(None).unwrap();
        for name in names {
            builder.insert(name, of, mode.into()).unwrap();
        }
        builder.write().unwrap()
    }

    fn mirror(&self) -> PathBuf {
        self.place.path().join("mirror")
    }

    fn repository(&self, limits: Limits) -> Repository {
        self.at(self.place.path().join("remote.git").to_str().unwrap(), limits)
    }

    fn at(&self, url: &str, limits: Limits) -> Repository {
        self.following(url, Follows::Branch("main".into()), limits)
    }

    fn following(&self, url: &str, follows: Follows, limits: Limits) -> Repository {
        let remote = Remote {
            url: url.to_owned(),
            follows,
            username: Some("bot".into()),
            password: Some(Hidden::new("s3cret-token")),
            ssh_key: None,
            host_keys: vec![],
            signers: None,
        };
        Repository::new(self.mirror(), remote, "**/hks.yaml").by(Path::new(env!("CARGO_BIN_EXE_hks")), limits)
    }
}

/// The repository, served as forges do: unlike a folder it is fetched with as much of its history as is asked for.
struct Served {
    url: String,
    server: Child,
}

impl Served {
    fn new(world: &World) -> Self {
        // any id is served, as GitHub does
        world.remote.config().unwrap().set_bool("uploadpack.allowAnySHA1InWant", true).unwrap();
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut served = Command::new("git");
            served.args(["daemon", "--export-all", "--listen=127.0.0.1", &format!("--port={port}")]);
            served.arg(format!("--base-path={}", world.place.path().display()));
            let mut server = served.process_group(0).stderr(Stdio::null()).spawn().unwrap();
            // somebody else may have taken the port meanwhile
            while server.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { url: format!("git://127.0.0.1:{port}/remote.git"), server };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // git runs the program that serves as its child
        let _ = Command::new("kill").args(["--", &format!("-{}", self.server.id())]).status();
        let _ = self.server.wait();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Answers each connection by `answer`, and keeps what was asked.
fn server(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut kept = vec![];
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut bytes = [0; 4096];
            let read = connection.read(&mut bytes).unwrap_or(0);
            let question = String::from_utf8_lossy(&bytes[..read]).into_owned();
            heard.lock().unwrap().push_str(&question);
            match answer(&question) {
                Some(answer) => connection.write_all(answer.as_bytes()).unwrap(),
                // it stays open and says nothing
                None => kept.push(connection),
            }
        }
    });
    (address, asked)
}

fn told<T>(found: Result<T, GitError>) -> String {
    found.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn what_is_new_is_read_and_older_commits_are_found() {
    let world = World::new();
    let first = world.commit_file("a/hks.yaml", "apps: {}\n");
    let repository = world.repository(Limits::default());
    let found = wait(repository.look(None)).unwrap().unwrap();
    assert_eq!((found.revision.as_str(), found.files.len()), (first.as_str(), 1));
    let Some(Content::File(document)) = &found.files[0].content else { panic!("{:?}", found.files[0]) };
    assert_eq!(&*document.source, b"apps: {}\n");
    assert!(wait(repository.look(Some(&found.reading))).unwrap().is_none(), "nothing is new");
    world.commit_file("a/hks.yaml", "apps: {web: {image: x}}\n");
    let newer = wait(repository.look(Some(&found.reading))).unwrap().unwrap();
    assert!(newer.files[0].content.is_some());
    let older = wait(repository.older(&first, "a/hks.yaml")).unwrap();
    assert_eq!((older.revision.as_str(), older.message.unwrap().subject.as_str()), (first.as_str(), "change"));
    assert!(told(wait(repository.older("4242424242", "a/hks.yaml"))).contains("has no commit 4242424242"));
}

/// S12: a forge serves any commit by its id, also of forks and of what nobody has merged.
#[test]
fn only_what_was_followed_is_gone_back_to() {
    let world = World::new();
    let served = Served::new(&world);
    let path = "a/hks.yaml";
    let all: Vec<_> = (0..200).map(|number| world.commit_file(path, &format!("# {number}\n"))).collect();
    let head = all.last().unwrap();
    let repository = world.at(&served.url, Limits::default());
    let found = wait(repository.look(None)).unwrap().unwrap();
    assert_eq!(found.revision.as_str(), head);
    let mirror = git2::Repository::open_bare(world.mirror()).unwrap();
    assert!(mirror.is_shallow(), "only the newest commit is fetched");
    // what is merged is found, however old and however short it is said
    for older in [&all[198], &all[120], &all[0]] {
        assert_eq!(wait(repository.older(older, path)).unwrap().revision.as_str(), older);
        assert_eq!(wait(repository.older(&older[..12], path)).unwrap().revision.as_str(), older);
    }
    // what is not, is not, also where the server would give it
    world
        .remote
        .reference("refs/heads/feature", world.remote.refname_to_id("refs/heads/main").unwrap(), true, "")
        .unwrap();
    world.remote.reference("refs/heads/main", Oid::from_str(&all[150]).unwrap(), true, "").unwrap();
    let unmerged = world.commit_file(path, "# not merged\n");
    world.remote.reference("refs/heads/feature", Oid::from_str(&unmerged).unwrap(), true, "").unwrap();
    world.remote.reference("refs/heads/main", Oid::from_str(&all[160]).unwrap(), true, "").unwrap();
    wait(repository.look(Some(&found.reading))).unwrap().unwrap();
    let refused = told(wait(repository.older(&unmerged, path)));
    assert!(refused.contains(&format!("branch main of the repository has no commit {unmerged}")), "{refused}");
    assert!(mirror.find_commit(Oid::from_str(&unmerged).unwrap()).is_err(), "it was fetched");
    // what was followed before somebody has forced the branch back still is
    assert_eq!(wait(repository.older(head, path)).unwrap().revision.as_str(), head);
}

/// The tag of before is on a branch of its own.
#[test]
fn a_tag_of_before_is_gone_back_to() {
    let world = World::new();
    let served = Served::new(&world);
    let me = Signature::now("me", "me@example.com").unwrap();
    let tag = |name: &str, text: &str, annotated: bool| {
        if let Ok(mut main) = world.remote.find_reference("refs/heads/main") {
            main.delete().unwrap();
        }
        let id = world.commit_file("hks.yaml", text);
        let object = world.remote.find_object(Oid::from_str(&id).unwrap(), None).unwrap();
        if annotated {
            world.remote.tag(name, &object, &me, "a release", false).unwrap();
        } else {
            world.remote.tag_lightweight(name, &object, false).unwrap();
        }
        id
    };
    let (plain, annotated) = (tag("v1.0.0", "# 1\n", false), tag("v1.1.0", "# 2\n", true));
    let (other, newest) = (tag("x1.0.0", "# 3\n", false), tag("v2.0.0", "# 4\n", true));
    let repository = world.following(&served.url, Follows::Tag("v*".into()), Limits::default());
    assert_eq!(wait(repository.look(None)).unwrap().unwrap().revision.as_str(), newest);
    for older in [&plain, &annotated, &newest] {
        assert_eq!(wait(repository.older(older, "hks.yaml")).unwrap().revision.as_str(), older);
    }
    assert!(told(wait(repository.older(&other, "hks.yaml"))).contains("tag v* of the repository has no commit"));
}

/// R15: half-open connections are enough for this.
#[test]
fn a_server_that_never_answers_is_given_up() {
    let world = World::new();
    let (address, asked) = server(|_| None);
    let limits = Limits { silence: Duration::from_millis(700), ..Limits::default() };
    let repository = world.at(&format!("http://{address}/x.git"), limits);
    let began = Instant::now();
    let error = told(wait(repository.look(None)));
    assert!(error.contains("the server has not answered for 700ms"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30), "it ends long before a person would");
    assert!(!asked.lock().unwrap().is_empty());
}

/// One server that hangs costs its own source only, and so do many.
#[test]
fn servers_that_never_answer_keep_nobody_else_waiting() {
    let world = World::new();
    world.commit_file("hks.yaml", "apps: {}\n");
    let (address, asked) = server(|_| None);
    let hung: Vec<_> = (0..8)
        .map(|number| {
            let limits = Limits { silence: Duration::from_mins(5), ..Limits::default() };
            let remote = format!("http://{address}/{number}.git");
            (World::new(), remote, limits)
        })
        .collect();
    wait(async {
        let repositories: Vec<_> = hung.iter().map(|(world, url, limits)| world.at(url, *limits)).collect();
        let stuck = futures::future::select_all(repositories.iter().map(|one| Box::pin(one.look(None))));
        let peaceful = world.repository(Limits::default());
        tokio::select! {
            _ = stuck => panic!("a server that never answers has answered"),
            found = async {
                // all places are taken by then
                while asked.lock().unwrap().matches("GET").count() < 4 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                peaceful.look(None).await
            } => assert!(found.unwrap().is_some()),
            () = tokio::time::sleep(Duration::from_mins(1)) => panic!("others wait for those that hang"),
        }
    });
}

/// S8: who controls a redirect of the forge's host gets no token.
#[test]
fn credentials_go_to_no_other_host() {
    let world = World::new();
    let (thief, stolen) = server(|_| {
        Some("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n".into())
    });
    let port = thief.rsplit(':').next().unwrap().to_owned();
    let (address, asked) = server(move |_| {
        Some(format!(
            "HTTP/1.1 302 Found\r\nLocation: http://localhost:{port}/x.git/info/refs?service=git-upload-pack\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    });
    let error = told(wait(world.at(&format!("http://{address}/x.git"), Limits::default()).look(None)));
    assert!(error.contains("another host"), "{error}");
    assert!(!error.contains("s3cret-token"));
    assert!(!asked.lock().unwrap().is_empty());
    assert_eq!(*stolen.lock().unwrap(), "", "nothing is asked of the other host");
}

/// S3: libgit2 recurses into folders on the stack of its thread.
#[test]
fn a_path_of_many_thousand_folders_harms_nobody() {
    let world = World::new();
    let mut tree = world.folder(&["f"], world.remote.blob(b"x").unwrap(), FileMode::Blob);
    for _ in 0..30_000 {
        tree = world.folder(&["d"], tree, FileMode::Tree);
    }
    world.commit(tree);
    // read or refused, but nobody is taken down with it
    let first = wait(world.repository(Limits::default()).look(None));
    assert!(first.as_ref().map_or_else(|error| !error.to_string().is_empty(), Option::is_some), "{first:?}");
    let peaceful = World::new();
    peaceful.commit_file("hks.yaml", "apps: {}\n");
    assert!(wait(peaceful.repository(Limits::default()).look(None)).unwrap().is_some());
}

/// S3: ten folders of ten folders of … with one file in each: 10^10 files in 232 KB.
#[test]
fn a_tree_that_unfolds_without_end_is_given_up() {
    let world = World::new();
    let mut tree = world.folder(&["f"], world.remote.blob(b"x").unwrap(), FileMode::Blob);
    for _ in 0..10 {
        tree = world.folder(&["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"], tree, FileMode::Tree);
    }
    world.commit(tree);
    let limits = Limits { cpu: Duration::from_secs(2), ..Limits::default() };
    let error = told(wait(world.repository(limits).look(None)));
    assert!(error.contains("more than"), "{error}");
}

/// What `git commit -S` has made is taken where its key is known, and nothing else is.
#[test]
fn a_commit_is_taken_if_who_may_has_signed_it() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signed");
    let world = World::new();
    let tree = {
        let blob = world.remote.blob(b"kind: Stack\nmetadata: {name: signed}\n").unwrap();
        world.folder(&["hks.yaml"], blob, FileMode::Blob)
    };
    let key = |kind: &str| std::fs::read_to_string(fixtures.join(format!("{kind}.pub"))).unwrap();
    let repository = |signers: &[String]| {
        let url = world.place.path().join("remote.git");
        let remote = Remote {
            signers: Some(signers.to_vec()),
            url: url.to_str().unwrap().into(),
            follows: Follows::Branch("main".into()),
            username: None,
            password: None,
            ssh_key: None,
            host_keys: vec![],
        };
        let program = Path::new(env!("CARGO_BIN_EXE_hks"));
        Repository::new(world.mirror(), remote, "hks.yaml").by(program, Limits::default())
    };
    let look = |signers: &[String]| wait(repository(signers).look(None)).map(|found| found.unwrap().revision);
    let unsigned = world.commit(tree);
    let told = look(&[key("ed25519")]).unwrap_err().to_string();
    assert!(told.starts_with(&format!("commit {} is not signed", &unsigned[..7])), "{told}");
    for (kind, other) in [("ed25519", "rsa"), ("ecdsa", "ed25519"), ("rsa", "ecdsa")] {
        let commit = std::fs::read(fixtures.join(format!("{kind}.commit"))).unwrap();
        let id = world.remote.odb().unwrap().write(git2::ObjectType::Commit, &commit).unwrap();
        world.remote.reference("refs/heads/main", id, true, "signed").unwrap();
        assert_eq!(look(&[key(other), key(kind)]).unwrap().as_str(), id.to_string());
        let told = look(&[key(other)]).unwrap_err().to_string();
        assert!(told.contains("which is none of policy.signers"), "{told}");
        let older = |id: &str| wait(repository(&[key(kind)]).older(id, "hks.yaml"));
        assert!(older(&id.to_string()).is_ok());
        assert!(older(&unsigned).is_err_and(|error| error.to_string().contains("is not signed")));
    }
}
