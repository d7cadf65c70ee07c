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
use std::path::{Path, PathBuf};
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
        let remote = Remote {
            url: url.to_owned(),
            follows: Follows::Branch("main".into()),
            username: Some("bot".into()),
            password: Some(Hidden::new("s3cret-token")),
            ssh_key: None,
            host_keys: vec![],
        };
        Repository::new(self.mirror(), remote, "**/hks.yaml").by(Path::new(env!("CARGO_BIN_EXE_hks")), limits)
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
