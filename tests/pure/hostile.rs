//! Files that try to cost more than they should: building blocks in numbers, and a climb to the most expensive.

pub mod known;

use super::numbers::Numbers;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// How many of what: a kind of building block, how many there are, how many in each, how long their texts are, and the shape
/// of what joins them.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub kind: usize,
    pub many: usize,
    pub inner: usize,
    pub long: usize,
    pub shape: usize,
}

/// Writes a block.
type Write = fn(&Block, &mut String);

/// What can be put together. Each writes entries of one section.
const KINDS: [(&str, Write); 19] = [
    ("apps", apps),
    ("apps", env),
    ("apps", parts),
    ("params", params),
    ("environments", environments),
    ("jobs", jobs),
    ("ingress", ingress),
    ("databases", databases),
    ("caches", caches),
    ("secrets", secrets),
    ("registries", registries),
    ("certificates", certificates),
    ("x-anchors", anchors),
    ("", strangers),
    ("", noise),
    ("apps", aliases),
    ("deploy", strangers_below),
    ("apps", wrong),
    ("apps", names),
];

/// Numbers of things that a climb begins with.
const SIZES: [usize; 14] = [0, 1, 2, 3, 10, 30, 50, 51, 100, 200, 201, 1_000, 5_000, 20_000];

/// Texts that mean something to a check.
const TEXTS: [&str; 20] = [
    "x",
    "${params.p0}",
    "${params.p1}${params.p2}",
    "${apps.a0.url}",
    "${apps.a1.host}:${apps.a2.port}",
    "${databases.d0.url}",
    "${caches.c0.url}",
    "${secrets.s0.k0}",
    "${ingress.i0.url}",
    "${apps.nobody.url}",
    "${params.nobody}",
    "${nothing.at.all}",
    "${git.sha}",
    "${env.name}",
    "$${",
    "${",
    "://a:",
    "sk-a1",
    "-----BEGIN ",
    "Aa0+/",
];

/// The file that is made of `blocks`, in any case one that is small enough to be read.
pub fn file(blocks: &[Block]) -> String {
    let mut text = "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: a}\n".to_owned();
    let mut sections: Vec<(&str, String)> = vec![];
    for block in blocks {
        let (section, write) = KINDS[block.kind % KINDS.len()];
        let mut written = String::new();
        write(block, &mut written);
        match sections.iter_mut().find(|(known, _)| *known == section && !section.is_empty()) {
            Some((_, text)) => text.push_str(&written),
            None => sections.push((section, written)),
        }
    }
    // what others refer to comes first
    sections.sort_by_key(|(section, _)| (!section.starts_with("x-"), section.is_empty()));
    let most = hks::spec::MAX_BYTES;
    for (section, written) in sections {
        let room = most.saturating_sub(text.len() + section.len() + 4);
        let mut end = written.len().min(room);
        if end < written.len() {
            end = written[..written.floor_char_boundary(end)].rfind('\n').map_or(0, |at| at + 1);
        }
        if end == 0 {
            continue;
        }
        if !section.is_empty() {
            let _ = writeln!(text, "{section}:");
        }
        text.push_str(&written[..end]);
    }
    text
}

fn word(block: &Block) -> String {
    let piece = TEXTS[block.shape % TEXTS.len()];
    piece.repeat((block.long / piece.len()).max(1))
}

/// Apps that wait for each other in one shape or another.
fn apps(block: &Block, text: &mut String) {
    let Block { many, inner, long, shape, .. } = *block;
    let pad = "n".repeat(long.min(56));
    for at in 0..many {
        let image = if at > 0 && shape % 7 == 6 { format!("from: a0{pad}") } else { "image: 'a:1'".to_owned() };
        let _ = write!(text, "  a{at}{pad}: {{{image}, ports: {{http: 80}}");
        let edges = |of: usize| match shape % 8 {
            0 => None,
            1 => (of < inner.min(1) && at > 0).then(|| at - 1),
            2 => Some((at + of + 1) % many.max(1)),
            3 => Some(of),
            4 => Some(many + of),
            5 => at.checked_sub(of + 1),
            _ => (at > 0).then_some(at * (of + 3) / 7),
        };
        let mut waits: Vec<usize> = (0..inner.min(300)).filter_map(edges).collect();
        waits.sort_unstable();
        waits.dedup();
        if !waits.is_empty() {
            let waits: Vec<_> = waits.iter().map(|of| format!("apps.a{of}{pad}: started")).collect();
            let _ = write!(text, ", dependsOn: {{{}}}", waits.join(", "));
        }
        text.push_str("}\n");
    }
}

/// One app with many variables, and others that inherit them.
fn env(block: &Block, text: &mut String) {
    let word = word(block);
    text.push_str("  e0:\n    image: 'a:1'\n    ports: {http: 80}\n    env:\n");
    for at in 0..block.inner {
        let _ = writeln!(text, "      E{at}: '{word}'");
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
    for at in 1..block.many {
        let _ = writeln!(text, "  e{at}: {{from: e0, ports: {{http: 80}}}}");
    }
}

/// Apps with something of all.
fn parts(block: &Block, text: &mut String) {
    let word = word(block);
    for at in 0..block.many {
        let _ = writeln!(text, "  p{at}:\n    image: {{repository: a, tag: '1', registry: r0}}");
        let many = |text: &mut String, key: &str, entry: &dyn Fn(usize) -> String| {
            let all: Vec<_> = (0..block.inner.min(600)).map(entry).collect();
            let _ = writeln!(text, "    {key}: {{{}}}", all.join(", "));
        };
        match block.shape % 9 {
            0 => many(text, "ports", &|n| format!("p{n}: {}", n + 1)),
            1 => many(text, "ports", &|n| format!("p{n}: 80")),
            2 => many(text, "files", &|n| format!("/f{n}: {{text: '{word}'}}")),
            3 => many(text, "files", &|n| format!("/f{n}: {{source: f}}")),
            4 => many(text, "volumes", &|n| format!("v{n}: {{mount: /v, scratch: 1Gi}}")),
            5 => many(text, "labels", &|n| format!("l{n}: '1'")),
            6 => many(text, "annotations", &|n| format!("l{n}: '{word}'")),
            7 => many(text, "dependsOn", &|n| format!("apps.nobody{n}: ready")),
            _ => {
                let all = vec!["c0"; block.inner.min(600)];
                let _ = writeln!(text, "    caCertificates: [{}]", all.join(", "));
            }
        }
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

fn params(block: &Block, text: &mut String) {
    for at in 0..block.many {
        let _ = writeln!(text, "  p{at}: '{}'", "y".repeat(block.long));
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

/// Environments, each with changes of its own.
fn environments(block: &Block, text: &mut String) {
    let word = word(block);
    for at in 0..block.many {
        let branch = if block.shape % 3 == 2 { "b".to_owned() } else { format!("b{at}") };
        let _ = write!(text, "  v{at}: {{branch: {branch}, params: {{p0: '{at}'}}, patch: {{");
        let changes: Vec<_> = (0..block.inner.min(300))
            .map(|n| match block.shape % 6 {
                0 => format!("a{n}: {{replicas: 2}}"),
                1 => format!("a{n}: null"),
                2 => format!("z{n}: {{image: 'b:1', env: {{A: '{word}'}}}}"),
                3 => format!("a{n}: {{dependsOn: {{apps.nobody{at}: ready}}}}"),
                4 => format!("a{n}: {{colour{at}: 1}}"),
                _ => format!("a{n}: 5"),
            })
            .collect();
        let _ = writeln!(text, "apps: {{{}}}}}}}", changes.join(", "));
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

fn jobs(block: &Block, text: &mut String) {
    let word = word(block);
    let args = vec![format!("'{word}'"); block.inner.min(1_200)].join(", ");
    for at in 0..block.many {
        let app = if block.shape % 5 == 4 { "nobody" } else { ["a0", "e0"][block.shape % 2] };
        let _ = writeln!(text, "  j{at}: {{app: {app}, run: manual, args: [{args}]}}");
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

fn ingress(block: &Block, text: &mut String) {
    let word = "h".repeat(block.long.clamp(1, 4_000));
    for at in 0..block.many {
        let host = if block.shape % 3 == 2 { "a.example".to_owned() } else { format!("a{at}.example") };
        let app = ["a0", "e0", "nobody"][block.shape / 3 % 3];
        let paths: Vec<_> = (0..block.inner.clamp(1, 600)).map(|n| format!("/p{n}: {app}")).collect();
        let headers: Vec<_> = (0..block.inner.min(600)).map(|n| format!("H{n}: {word}")).collect();
        let headers = if block.shape.is_multiple_of(2) { headers.join(", ") } else { String::new() };
        let _ = writeln!(text, "  i{at}: {{host: {host}, paths: {{{}}}, headers: {{{headers}}}}}", paths.join(", "));
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

fn databases(block: &Block, text: &mut String) {
    for at in 0..block.many {
        let parameters: Vec<_> = (0..block.inner.min(600)).map(|n| format!("p{n}: 'on'")).collect();
        let _ = writeln!(
            text,
            "  d{at}: {{engine: postgres, version: '16', pooler: {{}}, parameters: {{{}}}}}",
            parameters.join(", ")
        );
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

fn caches(block: &Block, text: &mut String) {
    for at in 0..block.many {
        let _ = writeln!(text, "  c{at}: {{engine: redis, version: '7', persistence: {{size: 1Gi}}}}");
    }
}

fn secrets(block: &Block, text: &mut String) {
    for at in 0..block.many {
        let of = if block.shape.is_multiple_of(2) { "keys" } else { "generate" };
        let keys: Vec<_> = (0..block.inner.clamp(1, 5_000))
            .map(|n| if block.shape.is_multiple_of(2) { format!("k{n}") } else { format!("k{n}: {{}}") })
            .collect();
        let (open, close) = if block.shape.is_multiple_of(2) { ('[', ']') } else { ('{', '}') };
        let _ = writeln!(text, "  s{at}: {{{of}: {open}{}{close}}}", keys.join(", "));
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

fn registries(block: &Block, text: &mut String) {
    for at in 0..block.many {
        let _ = writeln!(text, "  r{at}: {{server: r{at}.example, secret: login}}");
    }
}

fn certificates(block: &Block, text: &mut String) {
    let authority = STANDARD.encode(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]);
    for at in 0..block.many {
        // what stands before a certificate is carried along
        let words = "A".repeat(block.long.min(60_000));
        let _ = writeln!(
            text,
            "  c{at}: {{text: '{words}-----BEGIN CERTIFICATE-----{authority}-----END CERTIFICATE-----'}}"
        );
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

/// Values that are named, some of them by others.
fn anchors(block: &Block, text: &mut String) {
    let word = "w".repeat(block.long.max(1));
    let _ = writeln!(text, "  x0: &x0 {{A: '{word}'}}");
    for at in 1..block.many.min(2_000) {
        let before = at - 1;
        let _ = match block.shape % 3 {
            0 => writeln!(text, "  x{at}: &x{at} {{image: 'a:1', env: *x0}}"),
            1 => {
                writeln!(text, "  x{at}: &x{at} [{}]", vec![format!("*x{before}"); block.inner.clamp(1, 10)].join(", "))
            }
            _ => writeln!(text, "  x{at}: [{}]", vec!["*x0"; block.inner.clamp(1, 2_000)].join(", ")),
        };
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

fn aliases(block: &Block, text: &mut String) {
    for at in 0..block.many {
        let _ = writeln!(text, "  q{at}: *x1");
    }
}

/// Apps in which all is of the wrong kind.
fn wrong(block: &Block, text: &mut String) {
    let some = |entry: &dyn Fn(usize) -> String| (0..block.inner.min(3_000)).map(entry).collect::<Vec<_>>().join(", ");
    for at in 0..block.many {
        let body = match block.shape % 11 {
            8 => format!("ports: {{{}}}", some(&|n| format!("-{n}: {{}}"))),
            9 => format!("probes: {{{}}}", some(&|n| format!("p{n}: {{}}"))),
            0 => "image: 5, ports: 5, env: 5, files: 5, replicas: x, volumes: 5, labels: 5".to_owned(),
            1 => format!("env: {{{}}}", some(&|n| format!("-{n}: {{}}"))),
            2 => format!("ports: {{{}}}", some(&|n| format!("-{n}: []"))),
            3 => format!("image: {{{}}}", some(&|n| format!("i{n}: 1"))),
            4 => format!("ports: {{{}}}", some(&|n| format!("P{n}: {{port: x, protocol: y, z: 1}}"))),
            5 => format!("args: [{}]", some(&|_| "[]".to_owned())),
            6 => format!("files: {{{}}}", some(&|n| format!("f{n}: {{mode: 1}}"))),
            _ => some(&|n| format!("k{n}: 1")),
        };
        let _ = writeln!(text, "  w{at}: {{{body}}}");
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

/// Apps with long names that name others wrongly.
fn names(block: &Block, text: &mut String) {
    let pad = "n".repeat(block.long.min(58));
    for at in 0..block.many {
        let of = if block.shape.is_multiple_of(2) { at } else { block.many - at };
        let _ = writeln!(text, "  {pad}{at}: {{image: 'a:1', dependsOn: {{apps.{pad}x{of}: ready}}}}");
    }
}

/// What the language does not have.
fn strangers(block: &Block, text: &mut String) {
    strangers_with(block, "", text);
}

fn strangers_below(block: &Block, text: &mut String) {
    strangers_with(block, "  ", text);
}

fn strangers_with(block: &Block, indent: &str, text: &mut String) {
    let pad = "k".repeat(block.long.min(200));
    for at in 0..block.many {
        let _ = match block.shape % 4 {
            0 => writeln!(text, "{indent}k{at}{pad}: 1"),
            1 => writeln!(text, "{indent}app{at}: {{}}"),
            2 => writeln!(text, "{indent}same: {at}"),
            _ => writeln!(text, "{indent}k{at}: !tag x"),
        };
        if text.len() > hks::spec::MAX_BYTES {
            return;
        }
    }
}

/// What is hardly YAML.
fn noise(block: &Block, text: &mut String) {
    let many = block.many.min(hks::spec::MAX_BYTES);
    match block.shape % 8 {
        0 => text.push_str(&"# x\n".repeat(many)),
        1 => text.push_str(&"[".repeat(many)),
        2 => text.push_str(&"- ".repeat(many)),
        3 => text.push_str(&"? ".repeat(many)),
        4 => text.push_str(&"---\n".repeat(many)),
        5 => text.push_str(&"\u{7f}é\n".repeat(many)),
        6 => text.push_str(&format!("x-l: [{}]\n", "a,".repeat(many))),
        _ => text.push_str(&format!("x-l: [{}]\n", "{a: b},".repeat(many))),
    }
}

impl Block {
    /// A block by chance.
    pub fn any(numbers: &mut Numbers) -> Self {
        let size = |numbers: &mut Numbers| SIZES[numbers.index(SIZES.len())];
        Self {
            kind: numbers.index(KINDS.len()),
            many: size(numbers),
            inner: size(numbers),
            long: size(numbers),
            shape: numbers.index(64),
        }
    }
}

/// Like `blocks`, but for one change.
fn neighbour(blocks: &[Block], numbers: &mut Numbers) -> Vec<Block> {
    let mut next = blocks.to_vec();
    if next.is_empty() || (next.len() < 9 && numbers.index(5) == 0) {
        next.push(Block::any(numbers));
        return next;
    }
    let at = numbers.index(next.len());
    if numbers.index(8) == 0 {
        next.remove(at);
        return next;
    }
    let change = |value: &mut usize, numbers: &mut Numbers| {
        *value = match numbers.index(6) {
            0 => *value * 2,
            1 => *value / 2,
            2 => *value + 1 + *value / 4,
            3 => *value - *value / 4,
            4 => value.saturating_sub(1),
            _ => SIZES[numbers.index(SIZES.len())],
        }
        .min(100_000);
    };
    let block = &mut next[at];
    match numbers.index(6) {
        0 => block.kind = numbers.index(KINDS.len()),
        1 => block.shape = numbers.index(64),
        2 => change(&mut block.inner, numbers),
        3 => change(&mut block.long, numbers),
        _ => change(&mut block.many, numbers),
    }
    next
}

/// Climbs from a file by chance to one that costs most, in `steps` steps, as `cost` sees it.
pub fn climb(seed: u64, steps: usize, cost: &mut dyn FnMut(&str) -> u64) -> (u64, Vec<Block>) {
    let mut numbers = Numbers::new(seed);
    let mut best: Vec<Block> = (0..=numbers.index(5)).map(|_| Block::any(&mut numbers)).collect();
    let mut most = cost(&file(&best));
    for _ in 0..steps {
        let next = neighbour(&best, &mut numbers);
        let costs = cost(&file(&next));
        if costs >= most {
            (most, best) = (costs, next);
        }
    }
    (most, best)
}

/// Other files of the repository.
pub fn files() -> hks::spec::Files {
    let mut files = hks::spec::Files::default();
    files.add("f", vec![b'z'; hks::spec::MAX_FILE]);
    files
}
