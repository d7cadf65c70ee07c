//! Services with types: the many ways in which compose says one thing, as one.

use super::load::Project;
use super::variables::Variables;
use super::words::{bytes, shell_words};
use super::yaml::Node;

/// A service as it will be translated. Texts still have the characters of their variables where that matters.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// Its name in the file.
    pub name: String,
    /// The image, with variables.
    pub image: String,
    /// The folder that its image is built from.
    pub build: Option<String>,
    /// `entrypoint` and `command` as words, with variables.
    pub entrypoint: Option<Vec<String>>,
    /// See there.
    pub command: Option<Vec<String>>,
    /// Environment in order, with variables.
    pub env: Vec<(String, String)>,
    /// What is listened on.
    pub ports: Vec<Port>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Services that come first, and how far they must be.
    pub depends: Vec<(String, Wait)>,
    /// Other names that it is reached by.
    pub aliases: Vec<String>,
    /// Names that others have for it alone: `links`.
    pub links: Vec<(String, String)>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// When it is started again.
    pub restart: Restart,
    /// All of it, variables filled in.
    pub node: Node,
    /// What could not be read: key and message.
    pub notes: Vec<(String, String)>,
}

/// How far a service must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Started,
    Healthy,
    Completed,
}

/// When a service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// Nothing is said.
    Unsaid,
    /// `"no"`: never.
    Never,
    /// `on-failure`, so many times.
    OnFailure(Option<u64>),
    /// Always.
    Always,
}

/// Where a port is reached from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// From the other services.
    Inside,
    /// From this machine alone.
    Loopback,
    /// From everywhere.
    Everywhere,
}

/// A port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub number: u16,
    pub udp: bool,
    pub reach: Reach,
    /// The port of the machine.
    pub host: Option<u16>,
}

/// Where what is mounted comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A volume without a name.
    Anonymous,
    /// A volume by name.
    Named(String),
    /// A path of the machine.
    Host(String),
    /// Memory, of this size.
    Memory(Option<u64>),
    /// Something else, such as an image.
    Other(String),
}

/// Something that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub source: Source,
    pub target: String,
    pub read_only: bool,
}

/// All services of a project.
pub(super) fn services(project: &Project) -> Vec<Service> {
    project.services.iter().map(|(name, node)| service(name, node, project)).collect()
}

fn filled(node: &Node, variables: &Variables) -> Node {
    match node {
        Node::Scalar(text) => Node::Scalar(variables.plain(text)),
        Node::List(items) => Node::List(items.iter().map(|item| filled(item, variables)).collect()),
        Node::Map(entries) => {
            Node::Map(entries.iter().map(|(key, value)| (key.clone(), filled(value, variables))).collect())
        }
        other => other.clone(),
    }
}

fn service(name: &str, raw: &Node, project: &Project) -> Service {
    let variables = &project.variables;
    let node = filled(raw, variables);
    let words = |key: &str| match raw.get(key) {
        Node::Null => None,
        Node::Scalar(text) => Some(shell_words(text)),
        list => Some(list.texts()),
    };
    let mut notes = vec![];
    let build = node.get("build");
    let build = match build {
        Node::Null => None,
        Node::Scalar(text) => Some(text.clone()),
        other => Some(other.get("context").text().unwrap_or(".").to_owned()),
    };
    let ports = ports(&node, &mut notes);
    let mounts = mounts(raw, variables, &mut notes);
    let text = |key: &str| node.get(key).text().map(str::to_owned);
    let mut aliases: Vec<String> = [text("container_name"), text("hostname")].into_iter().flatten().collect();
    if let (Some(host), Some(domain)) = (text("hostname"), text("domainname")) {
        aliases.push(format!("{host}.{domain}"));
    }
    for (_, network) in node.get("networks").entries() {
        aliases.extend(network.get("aliases").texts());
        // an address that is fixed is a name like any other
        aliases.extend(network.get("ipv4_address").text().map(str::to_owned));
    }
    let links = node.get("links").texts().into_iter();
    let links = links.filter_map(|link| link.split_once(':').map(|(of, name)| (name.to_owned(), of.to_owned())));
    let labels = node.get("labels").pairs().into_iter().chain(node.get("deploy").get("labels").pairs());
    let policy = node.get("deploy").get("restart_policy");
    let restart = match text("restart").as_deref().or(policy.get("condition").text()) {
        None => Restart::Unsaid,
        Some("no" | "false" | "none") => Restart::Never,
        Some(text) if text.starts_with("on-failure") => {
            let times = text.split_once(':').map(|(_, times)| times).or(policy.get("max_attempts").text());
            Restart::OnFailure(times.and_then(|times| times.parse().ok()))
        }
        Some(_) => Restart::Always,
    };
    Service {
        name: name.to_owned(),
        image: raw.get("image").text().unwrap_or_default().to_owned(),
        build,
        entrypoint: words("entrypoint"),
        command: words("command"),
        env: project.environments.get(name).cloned().unwrap_or_default(),
        ports,
        mounts,
        depends: depends(&node),
        aliases,
        links: links.collect(),
        labels: labels.map(|(key, value)| (key, value.unwrap_or_default())).collect(),
        restart,
        node,
        notes,
    }
}

fn depends(node: &Node) -> Vec<(String, Wait)> {
    let on = node.get("depends_on");
    let mapped = on.entries().iter().map(|(name, how)| {
        let wait = match how.get("condition").text() {
            Some("service_healthy") => Wait::Healthy,
            Some("service_completed_successfully") => Wait::Completed,
            _ => Wait::Started,
        };
        (name.clone(), wait)
    });
    mapped.chain(on.texts().into_iter().map(|name| (name, Wait::Started))).collect()
}

/// `ports` and `expose`: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, ranges, and the long form.
fn ports(node: &Node, notes: &mut Vec<(String, String)>) -> Vec<Port> {
    let mut found: Vec<Port> = vec![];
    let exposed = node.get("expose").items().iter().map(|entry| (entry, false));
    for (entry, published) in node.get("ports").items().iter().map(|entry| (entry, true)).chain(exposed) {
        let Some(some) = port(entry, published) else {
            let shown = entry.text().or_else(|| entry.get("target").text()).unwrap_or("an entry");
            notes.push(("ports".into(), format!("`{shown}` can't be read; add the port under `ports`")));
            continue;
        };
        for one in some {
            match found.iter_mut().find(|known| known.number == one.number && known.udp == one.udp) {
                // the widest reach counts
                Some(known) if known.reach == Reach::Everywhere || one.reach == Reach::Inside => {}
                Some(known) => *known = one,
                None => found.push(one),
            }
        }
    }
    found
}

fn port(entry: &Node, published: bool) -> Option<Vec<Port>> {
    let local = |ip: &str| ip.starts_with("127.") || matches!(ip.trim_matches(['[', ']']), "::1" | "localhost");
    let (ip, host, target, protocol) = match entry {
        Node::Scalar(text) => {
            let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (rest, target) = text.rsplit_once(':').unwrap_or(("", text));
            let (ip, host) = match rest.rsplit_once(':') {
                Some((ip, host)) => (ip.to_owned(), host.to_owned()),
                None if rest.contains('.') => (rest.to_owned(), String::new()),
                None => (String::new(), rest.to_owned()),
            };
            (ip, host, target.to_owned(), protocol.to_owned())
        }
        other => {
            let text = |key: &str| other.get(key).text().unwrap_or_default().to_owned();
            (text("host_ip"), text("published"), text("target"), text("protocol"))
        }
    };
    let (from, to) = range(&target)?;
    let reach = match (published, local(&ip)) {
        (false, _) => Reach::Inside,
        (true, true) => Reach::Loopback,
        (true, false) => Reach::Everywhere,
    };
    let first = range(&host).map(|(first, _)| first);
    let single = from == to;
    let ports = (from..=to).map(|number| {
        let host = first.and_then(|first| if single { Some(first) } else { first.checked_add(number - from) });
        Port { number, udp: protocol.eq_ignore_ascii_case("udp"), reach, host }
    });
    Some(ports.collect())
}

/// `80`, or `80-90`; no more than 200 at once.
fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.trim().split_once('-').unwrap_or((text.trim(), text.trim()));
    let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
    (from > 0 && from <= to && to - from < 200).then_some((from, to))
}

/// `volumes` and `tmpfs`.
fn mounts(raw: &Node, variables: &Variables, notes: &mut Vec<(String, String)>) -> Vec<Mount> {
    let mut found = vec![];
    for entry in raw.get("volumes").items() {
        match entry {
            Node::Scalar(text) => found.push(short(text, variables)),
            other => {
                let text = |key: &str| variables.plain(other.get(key).text().unwrap_or_default());
                let source = other.get("source").text().unwrap_or_default();
                let source = match text("type").as_str() {
                    "tmpfs" => {
                        Source::Memory(bytes(&variables.plain(other.get("tmpfs").get("size").text().unwrap_or(""))))
                    }
                    "bind" => Source::Host(shown(source, variables)),
                    "volume" | "" if source.is_empty() => Source::Anonymous,
                    "volume" | "" => named(source, variables),
                    kind => Source::Other(kind.to_owned()),
                };
                found.push(Mount { source, target: text("target"), read_only: text("read_only") == "true" });
            }
        }
    }
    for text in raw.get("tmpfs").texts() {
        let text = variables.plain(&text);
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        let size = options.split(',').find_map(|option| bytes(option.strip_prefix("size=")?));
        found.push(Mount { source: Source::Memory(size), target: path.to_owned(), read_only: false });
    }
    for mount in &mut found {
        let whole = mount.target.trim_end_matches('/').len();
        if whole > 0 {
            mount.target.truncate(whole);
        }
        if !mount.target.starts_with('/') {
            notes.push(("volumes".into(), format!("`{}` is no path in the container; it is left out", mount.target)));
        }
    }
    found.retain(|mount| mount.target.starts_with('/'));
    found
}

fn short(text: &str, variables: &Variables) -> Mount {
    let Some((source, rest)) = text.split_once(':') else {
        return Mount { source: Source::Anonymous, target: variables.plain(text), read_only: false };
    };
    let rest = variables.plain(rest);
    let (target, mode) = rest.split_once(':').unwrap_or((&rest, ""));
    // `/data:ro` is a volume without a name
    if !target.starts_with('/') && source.starts_with('/') {
        let read_only = target.split(',').any(|option| option == "ro");
        return Mount { source: Source::Anonymous, target: source.to_owned(), read_only };
    }
    let read_only = mode.split(',').any(|option| option == "ro");
    Mount { source: named(source, variables), target: target.to_owned(), read_only }
}

fn named(source: &str, variables: &Variables) -> Source {
    let shown = shown(source, variables);
    let path = shown.starts_with(['.', '/', '~', '$']) || shown.contains(['/', '\\']);
    if path { Source::Host(shown) } else { Source::Named(shown) }
}

/// A text for people: what is not known is `${NAME}` again.
pub(super) fn shown(text: &str, variables: &Variables) -> String {
    let text = variables.known(text);
    let one = |c: char| match variables.of(c) {
        Some(variable) => format!("${{{}}}", variable.name),
        None => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_every_form() -> Result<(), String> {
        let text = "ports: ['80', '8001-8003', '9090-9091:8080-8081', '53:53/udp', '127.0.0.1:1:2', '[::1]:3:4', '0.0.0.0::5', \
                    '9000-9010:6', {target: 7, published: '70', host_ip: 127.0.0.1}, 'x']\nexpose: [8, '80']\n";
        let node = super::super::yaml::read(text)?;
        let mut notes = vec![];
        let made: Vec<_> = ports(&node, &mut notes)
            .into_iter()
            .map(|port| format!("{}{}{:?}", port.number, if port.udp { "u" } else { "" }, port.reach))
            .collect();
        let wanted = [
            "80Everywhere",
            "8001Everywhere",
            "8002Everywhere",
            "8003Everywhere",
            "8080Everywhere",
            "8081Everywhere",
            "53uEverywhere",
            "2Loopback",
            "4Loopback",
            "5Everywhere",
            "6Everywhere",
            "7Loopback",
            "8Inside",
        ];
        assert_eq!(made, wanted);
        assert_eq!(notes.len(), 1);
        Ok(())
    }

    #[test]
    fn mounts_in_every_form() -> Result<(), String> {
        let text = "volumes: ['/a', 'b:/b:ro', './c:/c', '${D}:/d', {type: tmpfs, target: /e, tmpfs: {size: 1m}}, \
                    {type: bind, source: f, target: /f, read_only: true}, {type: volume, target: /g}, {type: image, target: /h}]\n\
                    tmpfs: '/t:size=64m,mode=1777'\n";
        let mut variables = Variables::default();
        let node = variables.interpolate(&super::super::yaml::read(text)?);
        let made: Vec<_> = mounts(&node, &variables, &mut vec![]).into_iter().map(|mount| mount.source).collect();
        let host = |path: &str| Source::Host(path.to_owned());
        let wanted = [
            Source::Anonymous,
            Source::Named("b".into()),
            host("./c"),
            host("${D}"),
            Source::Memory(Some(1 << 20)),
            host("f"),
            Source::Anonymous,
            Source::Other("image".into()),
            Source::Memory(Some(64 << 20)),
        ];
        assert_eq!(made, wanted);
        Ok(())
    }
}
