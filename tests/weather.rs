//! Bad input and bad weather: whatever comes from the repository or happens to it, what runs stays as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{World, until, worker};

/// A world with a settled worker; its commit and the uid of its Deployment.
fn running(name: &str) -> (World, String, String) {
    let mut world = World::new(name);
    let sha = world.push_stack(&worker("one", "1", "sleep 3600", ""));
    world.start();
    world.settled("one", &sha);
    let state = generation(&world);
    (world, sha, state)
}

/// uid and generation of the Deployment: they stay equal only if nobody writes to it.
fn generation(world: &World) -> String {
    world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.metadata.uid} {.metadata.generation}"])
}

fn source_error(world: &World) -> String {
    let status = world.get("/api/v1/status").unwrap_or_default();
    status["sources"][0]["error"].as_str().unwrap_or_default().to_owned()
}

fn invalid(world: &World, sha: &str) -> String {
    let view = world.wait("one", "invalid", 30, |view| view["state"] == "invalid" && view["desiredRevision"] == sha);
    view["cause"].as_str().unwrap().to_owned()
}

#[test]
fn bad_files_are_told_with_their_place_and_change_nothing() {
    let (world, first, before) = running("input");
    let good = worker("one", "1", "sleep 3600", "");

    let sha = world.push_stack(&good.replace("    command:", "    comand:"));
    let cause = invalid(&world, &sha);
    assert!(
        cause.starts_with("hks.yaml:7:5: ") && cause.contains("`comand`") && cause.contains("`command`"),
        "{cause}"
    );

    let sha = world.push_stack("apps: [unclosed");
    assert!(invalid(&world, &sha).starts_with("hks.yaml:1:"), "{}", invalid(&world, &sha));

    let sha = world.push_stack(&good.replace("[sh, -c, 'sleep 3600']", "[sh, '${databases.none.url}']"));
    let cause = invalid(&world, &sha);
    assert!(cause.contains("`databases` has no `none`"), "{cause}");

    let bomb = (1..12).fold("x-0: &x0 [lol]\n".to_owned(), |text, n| {
        let many = vec![format!("*x{}", n - 1); 10].join(", ");
        format!("{text}x-{n}: &x{n} [{many}]\n")
    });
    let sha = world.push_stack(&format!("{bomb}{good}"));
    let cause = invalid(&world, &sha);
    assert!(cause.starts_with("hks.yaml:"), "{cause}");

    let sha = world.push_stack(&format!("# {}\n{good}", "x".repeat(5 << 20)));
    let cause = invalid(&world, &sha);
    assert!(cause.contains("5120 KiB") && cause.contains("make it smaller"), "{cause}");

    std::fs::remove_file(world.work().join("hks.yaml")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.work().join("hks.yaml")).unwrap();
    let sha = world.push("a symbolic link");
    let cause = invalid(&world, &sha);
    assert!(cause.contains("symbolic link"), "{cause}");
    std::fs::remove_file(world.work().join("hks.yaml")).unwrap();

    assert_eq!(generation(&world), before, "the app was touched");
    assert_eq!(world.view("one")["appliedRevision"], first.as_str());
    let sha = world.push_stack(&good);
    world.settled("one", &sha);
    assert_eq!(generation(&world), before);
}

#[test]
fn a_broken_or_rewritten_branch_deletes_nothing() {
    let (world, first, before) = running("branch");
    world.git(&world.remote(), &["config", "receive.denyDeleteCurrent", "ignore"]);
    world.git(&world.work(), &["push", "--quiet", "origin", ":main"]);
    let told = || source_error(&world).contains("branch main does not exist in the repository; nothing is deleted");
    assert!(until(20, told), "{}", source_error(&world));
    assert_eq!(generation(&world), before);
    let sha = world.push("the branch is back");
    world.settled("one", &sha);
    assert!(until(10, || source_error(&world).is_empty()));

    // a force-push to an older commit is followed like any other
    let second = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.settled("one", &second);
    world.git(&world.work(), &["reset", "--quiet", "--hard", &first]);
    world.git(&world.work(), &["push", "--quiet", "--force", "origin", "main"]);
    world.settled("one", &first);

    // the remote goes away and comes back
    let hidden = world.folder.path().join("hidden.git");
    std::fs::rename(world.remote(), &hidden).unwrap();
    let config = world.config("daemon", &format!("      url: {}\n      poll: 1s\n", world.remote().display()));
    let told = || source_error(&world).contains("failed to fetch");
    assert!(until(20, told), "{}: {}", config.display(), source_error(&world));
    let now = generation(&world);
    std::fs::rename(&hidden, world.remote()).unwrap();
    assert!(until(30, || source_error(&world).is_empty()), "{}", source_error(&world));
    assert_eq!(generation(&world), now);
}

#[test]
fn wrong_credentials_are_tried_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, signed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (all, with) = (Arc::clone(&asked), Arc::clone(&signed));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                all.fetch_add(1, Ordering::SeqCst);
                if String::from_utf8_lossy(&buffer[..length]).to_lowercase().contains("authorization:") {
                    with.fetch_add(1, Ordering::SeqCst);
                }
                let answer =
                    "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    let mut world = World::new("credentials");
    let password = world.folder.path().join("password");
    std::fs::write(&password, "wrong-one").unwrap();
    let git = format!(
        "      url: http://{address}/x.git\n      username: dev\n      password: {{file: {}}}\n      poll: 1s\n",
        password.display()
    );
    let config = world.config("daemon", &git);
    world.start_with(&config);
    let refused = || source_error(&world).contains("the repository refuses the credentials of dev");
    assert!(until(20, refused), "{}", source_error(&world));
    let polls = || {
        let text = support::request("GET", &format!("http://{}/metrics", world.address), &[], "").1;
        let line = text.lines().find(|line| line.starts_with("hks_fetches_total{result=\"failed\"}"));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<u32>().ok()).unwrap_or(0)
    };
    assert!(until(60, || polls() >= 4), "it has to look again to see whether they changed");
    assert_eq!(signed.load(Ordering::SeqCst), 1, "of {} requests", asked.load(Ordering::SeqCst));
    std::fs::write(&password, "another-one").unwrap();
    assert!(until(60, || signed.load(Ordering::SeqCst) == 2), "changed credentials are tried");
    assert!(!world.log().contains("wrong-one"));
}

#[test]
fn a_second_daemon_says_so_and_takes_over_when_the_first_is_gone() {
    let (mut world, _, before) = running("two");
    let config = world.local_config("second");
    let (mut second, address) = support::spawn(&config, &config.with_file_name("log"), &[]);
    let view = || support::get_json(&format!("http://{address}/api/v1/stacks/one")).unwrap_or_default();
    let standby = until(60, || view()["state"] == "standby");
    let activity = view()["activity"].as_str().unwrap_or_default().to_owned();
    assert!(standby && activity.starts_with("another daemon acts for this Stack: "), "{}", view());
    // the first one still acts
    let sha = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.settled("one", &sha);
    assert_ne!(generation(&world), before);
    world.kill();
    let took_over = until(150, || view()["state"] == "settled");
    let last = view();
    let _ = second.kill();
    let _ = second.wait();
    assert!(took_over && last["appliedRevision"] == sha.as_str(), "{last}");
}

#[test]
fn the_configuration_is_followed() {
    let (world, _, before) = running("config");
    let config = world.local_config("daemon");
    let text = std::fs::read_to_string(&config).unwrap();
    // a mistake changes nothing
    std::fs::write(&config, text.replace("sources:", "sorces:")).unwrap();
    assert!(until(10, || world.log().contains("failed to read the configuration; going on with the old one")));
    assert_eq!(world.view("one")["state"], "settled");
    // a source that is taken out is left alone, not deleted
    std::fs::write(&config, format!("{}sources: {{}}\n", text.split("sources:").next().unwrap())).unwrap();
    assert!(until(20, || world.view("one")["state"] == Value::Null), "{}", world.view("one"));
    assert_eq!(generation(&world), before);
    std::fs::write(&config, &text).unwrap();
    world.wait("one", "settled", 30, |view| view["state"] == "settled");
    assert_eq!(generation(&world), before);
}
