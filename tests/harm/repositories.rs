//! Repositories that are made to do harm, by kind and by chance.

use crate::pure::hostile::{Block, file, known};
use crate::pure::numbers::Numbers;
use git2::{ObjectType, Oid, Repository, Signature, Time};
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const BLOB: i32 = 0o100_644;
const LINK: i32 = 0o120_000;
const FOLDER: i32 = 0o040_000;
const COMMIT: i32 = 0o160_000;

/// A repository in the making.
pub struct Making {
    repository: Repository,
    path: PathBuf,
    numbers: Numbers,
    /// The name that its Stacks begin with.
    stack: String,
    /// Hosts and Stacks of others.
    others: Vec<(String, String)>,
}

/// Makes one.
type Make = fn(&mut Making);

/// What a repository can be made to be.
pub const KINDS: [(&str, Make); 26] = [
    ("deep", deep),
    ("wide", wide),
    ("unfolding", unfolding),
    ("crowd", crowd),
    ("crowd of one name", crowd_of_one_name),
    ("large", large),
    ("compressed", compressed),
    ("files", files),
    ("references", references),
    ("reference of what", reference_of_what),
    ("link", link),
    ("submodule", submodule),
    ("names", names),
    ("message", message),
    ("torn", torn),
    ("history", history),
    ("octopus", octopus),
    ("nothing", nothing),
    ("programs", programs),
    ("bytes", bytes),
    ("dear", dear),
    ("dear", dear),
    ("by chance", by_chance),
    ("by chance", by_chance),
    ("thief", thief),
    ("parked", parked),
];

/// Makes the repository of a number at a path; the kind that it is of. `others` are hosts and names of Stacks that are not its own.
pub fn make(number: u64, path: &Path, stack: &str, others: &[(String, String)]) -> &'static str {
    let repository = Repository::init_bare(path).unwrap();
    let (kind, make) = KINDS[usize::try_from(number % KINDS.len() as u64).unwrap()];
    let (numbers, stack, others) = (Numbers::new(number), stack.to_owned(), others.to_vec());
    make(&mut Making { repository, path: path.to_owned(), numbers, stack, others });
    kind
}

impl Making {
    /// A number between the least and the most, small ones as often as large ones.
    fn between(&mut self, least: usize, most: usize) -> usize {
        let doublings = (most / least).max(1).ilog2() as usize;
        (least << self.numbers.index(doublings + 1)).min(most)
    }

    fn blob(&self, text: impl AsRef<[u8]>) -> Oid {
        self.repository.blob(text.as_ref()).unwrap()
    }

    /// A tree as it is written, also with names that git itself refuses.
    fn folder<'a>(&self, entries: impl IntoIterator<Item = (&'a str, Oid, i32)>) -> Oid {
        let mut entries: Vec<_> = entries.into_iter().collect();
        // folders are sorted as if their names ended so
        entries.sort_by_key(|(name, _, mode)| format!("{name}{}", if *mode == FOLDER { "/" } else { "" }));
        let mut tree = vec![];
        for (name, of, mode) in entries {
            tree.extend_from_slice(format!("{mode:o} {name}\0").as_bytes());
            tree.extend_from_slice(of.as_bytes());
        }
        self.repository.odb().unwrap().write(ObjectType::Tree, &tree).unwrap()
    }

    fn commit_with(&self, tree: Oid, who: &str, message: &str, parents: &[Oid]) -> Oid {
        let tree = self.repository.find_tree(tree).unwrap();
        let who = Signature::new(who, "x@example.com", &Time::new(1_800_000_000, 0)).unwrap();
        let parents: Vec<_> = parents.iter().map(|parent| self.repository.find_commit(*parent).unwrap()).collect();
        self.repository.commit(None, &who, &who, message, &tree, &parents.iter().collect::<Vec<_>>()).unwrap()
    }

    fn main(&self, commit: Oid) {
        self.repository.reference("refs/heads/main", commit, true, "").unwrap();
    }

    fn push(&self, tree: Oid) -> Oid {
        let commit = self.commit_with(tree, "me", "change", &[]);
        self.main(commit);
        commit
    }

    fn push_file(&self, text: impl AsRef<[u8]>) -> Oid {
        let blob = self.blob(text);
        self.push(self.folder([("hks.yaml", blob, BLOB)]))
    }

    /// A file that is valid, and deploys an app without pods.
    fn valid(&self, name: &str) -> String {
        format!(
            "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {}-{name}}}\napps: {{web: {{image: 'x:1', replicas: 0}}}}\n",
            self.stack
        )
    }

    /// The objects as they lie there.
    fn objects(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.path.join("objects")).unwrap().map(|entry| entry.unwrap().path());
        let of = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> =
            folders.filter(|folder| folder.is_dir()).flat_map(of).filter(|path| path.is_file()).collect();
        all.sort();
        all
    }
}

fn deep(making: &mut Making) {
    let depth = making.between(50, 50_000);
    let mut tree = making.folder([("hks.yaml", making.blob(making.valid("deep")), BLOB)]);
    for _ in 0..depth {
        tree = making.folder([("d", tree, FOLDER)]);
    }
    making.push(tree);
}

fn wide(making: &mut Making) {
    let (width, blob) = (making.between(1_000, 120_000), making.blob("x"));
    let names: Vec<_> = (0..width).map(|at| format!("f{at}")).collect();
    making.push(making.folder(names.iter().map(|name| (name.as_str(), blob, BLOB))));
}

fn unfolding(making: &mut Making) {
    let (levels, width) = (2 + making.numbers.index(10), making.between(8, 64));
    let mut tree = making.folder([("hks.yaml", making.blob(making.valid("many")), BLOB)]);
    let names: Vec<_> = (0..width).map(|at| format!("d{at}")).collect();
    for _ in 0..levels {
        tree = making.folder(names.iter().map(|name| (name.as_str(), tree, FOLDER)));
    }
    making.push(tree);
}

/// A folder for each file.
fn folders(making: &Making, files: impl Iterator<Item = String>) {
    let folders: Vec<_> = files
        .enumerate()
        .map(|(at, text)| (format!("s{at}"), making.folder([("hks.yaml", making.blob(text), BLOB)])))
        .collect();
    making.push(making.folder(folders.iter().map(|(name, of)| (name.as_str(), *of, FOLDER))));
}

fn crowd(making: &mut Making) {
    let many = making.between(100, 3_000);
    let length = making.between(10, 200_000);
    let rest = format!("x-long: {}\n", "y".repeat(length / many));
    let name = making.stack.clone();
    // each is read, and none is deployed: an image that is no image
    let text = |at| {
        format!(
            "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {name}-{at}}}\napps: {{web: {{image: 'NO'}}}}\n{rest}"
        )
    };
    folders(making, (0..many).map(text));
}

fn crowd_of_one_name(making: &mut Making) {
    let (many, file) = (making.between(100, 3_000), making.valid("one"));
    let rest = "#".repeat(making.between(10, 250_000));
    folders(making, (0..many).map(|_| format!("{file}{rest}\n")));
}

fn large(making: &mut Making) {
    let size = making.between(200_000, 20_000_000);
    let text = match making.numbers.index(4) {
        0 => "a: b\n".repeat(size / 5),
        1 => "[".repeat(size),
        2 => "\u{1b}[2J".repeat(size / 4),
        _ => format!("{}{}", making.valid("large"), "# x\n".repeat(size / 4)),
    };
    making.push_file(text);
}

fn compressed(making: &mut Making) {
    let size = making.between(10_000_000, 80_000_000);
    making.push_file(vec![0; size]);
}

fn files(making: &mut Making) {
    let many = making.between(50, 4_800);
    let mut text = making.valid("files").replace("replicas: 0}", "replicas: 0, files: {");
    for at in 0..many {
        let _ = write!(text, "/f{at}: {{source: data/f}}, ");
    }
    text.push_str("}}}\n");
    let data = making.folder([("f", making.blob(vec![b'z'; 65_536]), BLOB)]);
    let file = making.blob(text);
    making.push(making.folder([("data", data, FOLDER), ("hks.yaml", file, BLOB)]));
}

fn references(making: &mut Making) {
    let commit = making.push_file(making.valid("refs"));
    let many = making.between(1_000, 300_000);
    let mut text = "# pack-refs with: peeled fully-peeled sorted\n".to_owned();
    for at in 0..many {
        let _ = writeln!(text, "{commit} refs/{}/r{at:07}", ["heads", "tags", "pull"][at % 3]);
    }
    std::fs::write(making.path.join("packed-refs"), text).unwrap();
}

fn reference_of_what(making: &mut Making) {
    let commit = making.push_file(making.valid("what"));
    let main = making.path.join("refs/heads/main");
    let blob = making.blob("x").to_string();
    let text = match making.numbers.index(6) {
        0 => format!("{blob}\n"),
        1 => "ref: refs/heads/main\n".into(),
        2 => "ref: refs/heads/../../../../../etc/passwd\n".into(),
        3 => format!("{}\n", "0".repeat(40)),
        4 => String::from_utf8_lossy(&[0xff; 4_096]).into_owned(),
        _ => {
            let mut of = making.repository.find_object(commit, None).unwrap();
            let who = Signature::now("me", "x@example.com").unwrap();
            for at in 0..300 {
                let tag = making.repository.tag_annotation_create(&format!("t{at}"), &of, &who, "x").unwrap();
                of = making.repository.find_object(tag, None).unwrap();
            }
            format!("{}\n", of.id())
        }
    };
    std::fs::write(main, text).unwrap();
}

fn link(making: &mut Making) {
    let to = ["/etc/passwd", "hks.yaml", "../../../../etc/shadow", "/proc/self/environ", "/dev/zero", "d/hks.yaml", ""];
    let to = to[making.numbers.index(to.len())];
    let (link, around) = (making.blob(to), making.blob("."));
    let inner = making.folder([("hks.yaml", making.blob(making.valid("link")), BLOB)]);
    making.push(making.folder([("hks.yaml", link, LINK), ("d", inner, FOLDER), ("e", around, LINK)]));
}

fn submodule(making: &mut Making) {
    let commit = making.push_file(making.valid("sub"));
    let file = making
        .blob("[submodule \"x\"]\npath = x\nurl = -u./x\n[submodule \"../../x\"]\npath = ../../x\nurl = file:///etc\n");
    let name = ["hks.yaml", "x"][making.numbers.index(2)];
    making.push(making.folder([(".gitmodules", file, BLOB), (name, commit, COMMIT)]));
}

fn names(making: &mut Making) {
    let names = [
        "\u{1b}[2J\u{1b}]0;x\u{7}".to_owned(),
        "a\nb\r\n> c".into(),
        "<script>alert(1)</script>".into(),
        "\u{202e}lmay.skh".into(),
        "${secrets.s.k}".into(),
        "'; rm -rf $HOME; '".into(),
        "%2e%2e%2f".into(),
        "n".repeat(60_000),
        " ".into(),
        "C:\\x".into(),
        "..".into(),
        ".git".into(),
        "a/../../b".into(),
        "hks.yaml".into(),
    ];
    let text = making.valid("names");
    let file = |at: usize| making.blob(format!("{text}x-{at}: 1\n"));
    let all: Vec<_> = (0..names.len()).map(|at| making.folder([("hks.yaml", file(at), BLOB)])).collect();
    making.push(making.folder(names.iter().zip(&all).map(|(name, of)| (name.as_str(), *of, FOLDER))));
}

fn message(making: &mut Making) {
    let tree = making.folder([("hks.yaml", making.blob(making.valid("message")), BLOB)]);
    let length = making.between(10, 4_000_000);
    let message =
        ["\u{1b}[31m<b>x</b>\u{7}".repeat(length / 16), "\n".repeat(length), "@everyone ".repeat(length / 10)];
    let message = &message[making.numbers.index(3)];
    let commit = making.commit_with(tree, &"\u{1b}[2J&i".repeat(1 + length / 100), message, &[]);
    making.main(commit);
}

fn torn(making: &mut Making) {
    folders(making, ["a", "b", "c"].iter().map(|name| making.valid(name)));
    let all = making.objects();
    let one = &all[making.numbers.index(all.len())];
    let known = std::fs::read(one).unwrap();
    std::fs::remove_file(one).unwrap();
    match making.numbers.index(4) {
        0 => {}
        1 => std::fs::write(one, &known[..known.len() / 2]).unwrap(),
        2 => std::fs::write(one, vec![0x78; 100_000]).unwrap(),
        // another object under its name
        _ => drop(std::fs::copy(&all[0], one).or_else(|_| std::fs::copy(&all[1], one)).unwrap()),
    }
}

fn history(making: &mut Making) {
    let (many, mut parents) = (making.between(100, 4_000), vec![]);
    let tree = making.folder([("hks.yaml", making.blob(making.valid("history")), BLOB)]);
    for at in 0..many {
        parents = vec![making.commit_with(tree, "me", &format!("change {at}"), &parents)];
    }
    making.main(parents[0]);
}

fn octopus(making: &mut Making) {
    let (many, tree) =
        (making.between(2, 2_000), making.folder([("hks.yaml", making.blob(making.valid("octopus")), BLOB)]));
    let parents: Vec<_> = (0..many).map(|at| making.commit_with(tree, "me", &format!("change {at}"), &[])).collect();
    let commit = making.commit_with(tree, "me", "all", &parents);
    making.main(commit);
}

fn nothing(making: &mut Making) {
    match making.numbers.index(4) {
        0 => {}
        1 => std::fs::remove_file(making.path.join("HEAD")).unwrap(),
        2 => std::fs::write(making.path.join("config"), "[core\n").unwrap(),
        _ => drop(making.push(making.folder([]))),
    }
}

/// Whoever reads it is to run a program, which would leave a trace beside it.
fn programs(making: &mut Making) {
    making.push_file(making.valid("programs"));
    let trace = making.path.with_extension("trace");
    let program = making.path.join("program");
    std::fs::write(&program, format!("#!/bin/sh\ntouch {}\n", trace.display())).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let shown = program.display();
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tfsmonitor = {shown}\n\thooksPath = {path}\n\tsshCommand = {shown}\n\
         [uploadpack]\n\tpackObjectsHook = {shown}\n[credential]\n\thelper = !{shown}\n[include]\n\tpath = /etc/passwd\n",
        path = making.path.display()
    );
    std::fs::write(making.path.join("config"), config).unwrap();
    for hook in ["pre-receive", "post-update", "reference-transaction", "post-checkout"] {
        std::fs::copy(&program, making.path.join(hook)).unwrap();
    }
    std::fs::write(making.path.join("objects/info/alternates"), "/etc\n/proc/self/fd\n").unwrap();
}

fn bytes(making: &mut Making) {
    let length = making.between(16, 250_000);
    let text: Vec<u8> = match making.numbers.index(3) {
        0 => (0..length).map(|_| making.numbers.next().to_le_bytes()[0]).collect(),
        1 => [b"\xef\xbb\xbf\xff\xfe", making.valid("bytes").replace('\n', "\r").as_bytes()].concat(),
        _ => making.valid("bytes").bytes().flat_map(|byte| [byte, 0]).collect(),
    };
    making.push_file(text);
}

fn dear(making: &mut Making) {
    let known = known::known();
    let (_, text) = &known[making.numbers.index(known.len())];
    making.push_file(text.replace("{name: a}", &format!("{{name: {}-dear}}", making.stack)));
}

fn by_chance(making: &mut Making) {
    let blocks: Vec<_> = (0..=making.numbers.index(6)).map(|_| Block::any(&mut making.numbers)).collect();
    making.push_file(file(&blocks).replace("{name: a}", &format!("{{name: {}-chance}}", making.stack)));
}

/// Takes what is others'.
fn thief(making: &mut Making) {
    let (host, stack) = making.others[making.numbers.index(making.others.len())].clone();
    let ingress = |host: &str| format!("ingress: {{public: {{host: '{host}', paths: {{/: web}}}}}}\n");
    let own = making.valid("thief").replace("replicas: 0", "replicas: 0, ports: {http: 80}");
    let text = match making.numbers.index(6) {
        0 => own + &ingress(&host),
        1 => own + &ingress(&format!("*.{}", host.split_once('.').map_or("x", |(_, rest)| rest))),
        2 => own.replace(&format!("{}-thief", making.stack), &stack),
        3 => own.replace("-thief}", "-thief, namespace: kube-system}"),
        4 => own + "secrets: {s: {from: {existing: hks-seal}}}\n",
        _ => own.replace("image: 'x:1'", "image: 'x:1', serviceAccount: admin, hostNetwork: true, privileged: true"),
    };
    making.push_file(text);
}

fn parked(making: &mut Making) {
    let many = making.between(1, 8);
    folders(making, (0..many).map(|at| making.valid(&format!("p{at}"))));
}
