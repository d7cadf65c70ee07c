//! Files that cost most of all that were found, or did once.

use std::fmt::Write as _;

const HEAD: &str = "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: a}\n";

/// `apps` of which each waits for the one before, and `environments`.
pub fn chain(apps: usize, environments: usize) -> String {
    let mut text = format!("{HEAD}apps:\n");
    for at in 0..apps {
        let waits = at.checked_sub(1).map_or(String::new(), |before| format!(", dependsOn: {{apps.a{before}: ready}}"));
        let _ = writeln!(text, "  a{at}: {{image: 'a:1'{waits}}}");
    }
    text.push_str(&environments_of(environments, ""));
    text
}

fn environments_of(many: usize, patch: &str) -> String {
    let each = entries(many, |at| format!("  e{at}: {{branch: b{at}, patch: {{{patch}}}}}\n"));
    if each.is_empty() { each } else { format!("environments:\n{each}") }
}

/// Apps of so many variables.
fn apps_with(many: usize, inner: usize, value: &str) -> String {
    let env: Vec<_> = (0..inner).map(|at| format!("E{at}: '{value}'")).collect();
    let env = env.join(", ");
    let apps = entries(many, |at| format!("  a{at}: {{image: 'a:1', env: {{{env}}}}}\n"));
    format!("{HEAD}apps:\n{apps}")
}

fn entries(many: usize, entry: impl Fn(usize) -> String) -> String {
    (0..many).map(entry).collect()
}

/// The files by name.
pub fn known() -> Vec<(&'static str, String)> {
    [files(), more_files(), texts(hks::spec::MAX_BYTES - 300)].concat()
}

fn one(value: &str) -> String {
    format!("{HEAD}apps: {{a: {{image: 'a:1', env: {{A: '{value}'}}}}}}\n")
}

fn files() -> Vec<(&'static str, String)> {
    let most = hks::spec::MAX_BYTES - 300;
    let patch = "apps: {a1: {replicas: 2}}";
    let laughs = entries(9, |at| format!("x-{}: &a{} [{}]\n", at + 1, at + 1, vec![format!("*a{at}"); 10].join(",")));
    let long = "n".repeat(58);
    let blue = "ports: {http: 80}, autoscaling: {max: 2, cpu: 70}, rollout: {strategy: blueGreen}, probes: {readiness: {path: /}}";
    let inherited = entries(60, |at| format!("E{at}: '${{params.p}}', "));
    vec![
        ("1,000 apps in a chain, 400 environments", chain(1_000, 400)),
        ("200 apps in a chain, 20 environments", chain(200, 20)),
        ("50 environments", apps_with(34, 12, "x") + &environments_of(50, "")),
        ("50 environments with changes", apps_with(34, 12, "x") + &environments_of(50, patch)),
        (
            "50 environments, references",
            apps_with(34, 12, "${params.p}") + "params: {p: abcdefghij}\n" + &environments_of(50, patch),
        ),
        (
            "50 environments, mistakes",
            apps_with(20, 12, "x")
                + "jobs:\n"
                + &entries(60, |at| format!("  j{at}: {{app: {long}{at}, run: manual}}\n"))
                + &environments_of(50, patch),
        ),
        ("a long parameter many times", {
            let uses = "${params.p}".repeat(10_000);
            one(&uses) + &format!("params: {{p: '{}'}}\n", "y".repeat(100_000))
        }),
        (
            "one program of all",
            format!("{HEAD}params: {{p: x}}\napps:\n  a0: {{image: 'a:1', env: {{{inherited}}}}}\n")
                + &entries(199, |at| format!("  b{at}: {{from: a0, ports: {{http: 80}}}}\n"))
                + "jobs:\n"
                + &entries(100, |at| format!("  j{at}: {{app: b{at}, run: manual}}\n")),
        ),
        ("objects", format!("{HEAD}apps:\n") + &entries(170, |at| format!("  a{at}: {{image: 'a:1', {blue}}}\n"))),
        (
            "one large file in all",
            format!("{HEAD}apps:\n")
                + &entries(200, |at| {
                    let files = entries(8, |file| format!("/f{file}: {{source: f}}, "));
                    format!("  a{at}: {{image: 'a:1', files: {{{files}}}}}\n")
                }),
        ),
        (
            "names that are nearly right",
            format!("{HEAD}apps:\n")
                + &entries(200, |at| {
                    format!("  {long}{at}: {{image: 'a:1', dependsOn: {{apps.{long}x{at}: ready}}}}\n")
                }),
        ),
        (
            "wrong ports",
            format!("{HEAD}apps:\n")
                + &entries(180, |at| {
                    let ports = entries(8, |port| format!("-{port}: {{port: x, protocol: y}}, "));
                    format!("  a{at}: {{image: 'a:1', ports: {{{ports}}}}}\n")
                }),
        ),
        (
            "wrong ports and paths",
            format!("{HEAD}ingress:\n")
                + &entries(50, |at| {
                    let paths = entries(95, |path| format!("-{path}: {{}}, "));
                    format!("  i{at}: {{paths: {{{paths}}}}}\n")
                }),
        ),
        (
            "small ports",
            format!("{HEAD}apps:\n")
                + &entries(180, |at| {
                    let ports = entries(25, |port| format!("-{port}: {{}}, "));
                    format!("  a{at}: {{image: 'a:1', ports: {{{ports}}}}}\n")
                }),
        ),
        ("wrong keys", HEAD.to_owned() + &entries(4_900, |at| format!("k{at}: 1\n"))),
        ("tags", HEAD.to_owned() + &format!("x-l: [{}]\n", "!t x,".repeat(9_900))),
        ("small mappings", format!("x-l: [{}]\n", "{a: b},".repeat(3_300))),
        ("references", one(&"${x}".repeat(60_000))),
        ("comments", HEAD.to_owned() + &"# x\n".repeat(most / 4)),
        ("deep", "[".repeat(most)),
        ("laughs", format!("{HEAD}x-0: &a0 [x]\n{laughs}")),
        ("bytes", "\u{7f}é".repeat(80_000)),
    ]
}

fn more_files() -> Vec<(&'static str, String)> {
    vec![
        (
            "server parameters that there are not",
            format!("{HEAD}databases:\n")
                + &entries(20, |at| {
                    let parameters = entries(100, |number| format!("shared_bufer{number}: 1, "));
                    format!("  d{at}: {{engine: postgres, version: '16', parameters: {{{parameters}}}}}\n")
                })
                + &environments_of(20, "x-a: b"),
        ),
        (
            "files in folders of one another",
            format!("{HEAD}apps: {{a: {{image: 'a:1', files: {{")
                + &entries(2_500, |at| format!("/{}/f{at}: {{text: x}}, ", "d/".repeat(at % 20)))
                + "}}}\n",
        ),
        (
            "odd spaces in texts, and a mistake",
            HEAD.to_owned()
                + &entries(4_000, |at| format!("x-{at}: |\n  \u{a0}a\n  \u{a0}b\n  \u{a0}c\n"))
                + "nothing: 1\n",
        ),
    ]
}

/// Texts of about so many bytes that invite to go through the rest of them at each place.
pub fn texts(bytes: usize) -> Vec<(&'static str, String)> {
    [
        ("letters", "a"),
        ("assignments", "a="),
        ("assignments of paths", "token=/"),
        ("assignments in open quotes", "token=\"/"),
        ("web tokens", "eyJ"),
        ("web tokens, parted", "eyJ."),
        ("webhooks", "hooks.slack.com/services/,"),
        ("prefixes of tokens", "sk-"),
        ("schemes", "://"),
        ("schemes with words", "://a:b"),
        ("dollars", "$${"),
    ]
    .map(|(name, part)| (name, one(&part.repeat(bytes / part.len()))))
    .into()
}
