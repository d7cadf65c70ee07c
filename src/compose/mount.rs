//! What is mounted: volumes that last, memory, files of the repository; each kind told apart.

use super::database::{SIZE, declared, keeps_data, source};
use super::image::Role;
use super::load::join;
use super::service::{Mount, Service, Source};
use super::words::{quantity, unique};
use super::work::{Kind, Work};
use super::write::Map;

/// Parts of paths that data is kept under.
const DATA: [&str; 26] = [
    "data",
    "storage",
    "uploads",
    "upload",
    "media",
    "config",
    "var",
    "db",
    "database",
    "backup",
    "backups",
    "files",
    "library",
    "attachments",
    "logs",
    "log",
    "cache",
    "state",
    "downloads",
    "repositories",
    "workspace",
    "documents",
    "photos",
    "content",
    "export",
    "consume",
];

/// Whether hks takes a path of a container.
fn is_mountable(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.@+-".contains(c))
    };
    let system = ["/proc", "/sys", "/dev", "/hks-certificates"];
    path.len() <= 512
        && path.strip_prefix('/').is_some_and(|path| path.split('/').all(plain))
        && !system.iter().any(|system| path == *system || path.starts_with(&format!("{system}/")))
}

/// Whether a path of the machine looks like a folder of data, not of code or configuration.
fn is_data(source: &str, target: &str) -> bool {
    let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
    let code = matches!(source.trim_end_matches('/'), "." | "..")
        || matches!(target, "/app" | "/src" | "/code" | "/usr/src/app" | "/workspace");
    let word = |text: &str| text.split(['-', '_', '.', '/', '$', '{', '}']).any(|part| DATA.contains(&part));
    !code && !is_file(&last) && (word(&last) || word(&target.to_lowercase()))
}

/// Whether a folder is mounted that an image from elsewhere writes to: its code is in the image.
fn is_data_of_image(service: &Service, source: &str, target: &str) -> bool {
    let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let own = source.starts_with("./") && !matches!(source, "./" | ".");
    service.build.is_none()
        && !service.image.is_empty()
        && own
        && !is_file(last)
        && !target.starts_with("/etc/")
        && !target.contains("initdb.d")
}

/// Whether the last part of a path has the ending of a file.
fn is_file(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(before, ending)| (!before.is_empty(), ending));
    matches!(ending, Some((true, ending)) if (1..=6).contains(&ending.len()) && ending.chars().all(|c| c.is_ascii_alphanumeric()))
        || matches!(name.to_lowercase().as_str(), "caddyfile" | "dockerfile" | "procfile" | "corefile")
}

impl Work<'_> {
    /// The service that keeps a volume which several have.
    fn keeper(&self, volume: &str) -> Option<String> {
        let has = |service: &&Service, writes: bool| {
            service
                .mounts
                .iter()
                .any(|mount| mount.source == Source::Named(volume.to_owned()) && (!writes || !mount.read_only))
        };
        let all = || {
            self.services.iter().filter(|service| {
                !self.facts.left.contains_key(&service.name) && !self.facts.ending.contains(&service.name)
            })
        };
        let served = all().find(|service| self.facts.is_served(&service.name) && has(service, true));
        let proxy = |service: &&Service| self.facts.role(&service.name) == Role::Proxy;
        let writers = || all().filter(|service| has(service, true) && !proxy(service));
        let writer = || writers().find(|service| !service.ports.is_empty()).or_else(|| writers().next());
        let found = served.or_else(writer).or_else(|| all().find(|service| has(service, false)));
        found.map(|service| service.name.clone())
    }

    /// `volumes` of an app; whether one of them lasts.
    pub fn volumes(&mut self, service: &Service, app: &mut Map) -> bool {
        let mut volumes = Map::default();
        let mut mounted: Vec<(String, Source)> = vec![];
        let mut lasting = false;
        for mount in &service.mounts {
            let target = mount.target.clone();
            if !is_mountable(&target) {
                let message =
                    format!("{} at {target} is left out: nothing can be put there, not as a volume", source(mount));
                self.note(Kind::Lost, &service.name, "volumes", &message);
                continue;
            }
            let twice = mounted.iter().find(|(path, from)| {
                *path == target || matches!(&mount.source, Source::Named(_)) && *from == mount.source
            });
            if let Some((first, _)) = twice {
                let message = format!(
                    "{} is mounted twice: at {first}, where it is kept, and at {target}, where it is left out",
                    source(mount)
                );
                self.note(Kind::Lost, &service.name, "volumes", &message);
                continue;
            }
            let Some((size, comment)) = self.volume(service, mount) else { continue };
            let lasts = size.is_none();
            let wanted = match &mount.source {
                Source::Named(name) => name.clone(),
                _ => target.rsplit('/').next().unwrap_or_default().to_owned(),
            };
            let name = unique(&wanted, 30, |name| volumes.get(name).is_some());
            let mut volume = Map::default();
            volume.set("mount", target.clone());
            match size {
                Some(size) => volume.set("scratch", size),
                None => volume.set("size", SIZE),
            }
            volumes.set_because(&name, volume, &comment);
            lasting |= lasts;
            mounted.push((target, mount.source.clone()));
        }
        if keeps_data(self.facts, service) && !lasting {
            let message = "has no volume in compose either: its data ends with its pod; add one under `volumes`";
            self.note(Kind::Changed, &service.name, "volumes", message);
        }
        if !volumes.is_empty() {
            app.set("volumes", volumes);
        }
        lasting
    }

    /// The size of a scratch volume, or nothing for one that lasts, and a comment; nothing at all if it is left out.
    fn volume(&mut self, service: &Service, mount: &Mount) -> Option<(Option<String>, String)> {
        let target = &mount.target;
        match &mount.source {
            Source::Memory(size) => {
                let size = size.filter(|size| *size > 0).unwrap_or(64 << 20);
                Some((Some(quantity(size)), "tmpfs: gone with the pod".to_owned()))
            }
            Source::Anonymous if keeps_data(self.facts, service) => {
                self.note(
                    Kind::Lost,
                    &service.name,
                    "volumes",
                    &format!("the data at {target} is not carried over; the new volume has {SIZE}"),
                );
                Some((None, "an anonymous volume".to_owned()))
            }
            Source::Anonymous => {
                let message = format!(
                    "the anonymous volume at {target} is left out: what the image has there is used, and what is written ends with the pod"
                );
                self.note(Kind::Lost, &service.name, "volumes", &message);
                None
            }
            Source::Named(name) => self.named(service, mount, name),
            Source::Other(kind) => {
                self.note(
                    Kind::Lost,
                    &service.name,
                    "volumes",
                    &format!("a mount of type `{kind}` at {target} can't be had here"),
                );
                None
            }
            Source::Host(path) => self.host(service, mount, path),
        }
    }

    fn named(&mut self, service: &Service, mount: &Mount, name: &str) -> Option<(Option<String>, String)> {
        let target = &mount.target;
        let keeper = self.keeper(name).unwrap_or_else(|| service.name.clone());
        if keeper != service.name {
            let message = format!(
                "the volume `{name}` is shared by `{keeper}` and `{}`; here a volume has one app, so `{keeper}` keeps it and nothing is at \
                 {target}: put both programs into one app, or the files into object storage",
                service.name
            );
            self.note(Kind::Lost, &service.name, "volumes", &message);
            return None;
        }
        let declared = declared(self.project, "volumes", name).cloned().unwrap_or_default();
        let external = declared.get("external");
        if external.is_true() || !external.entries().is_empty() {
            let message = format!(
                "the volume `{name}` is external: it stays where it is, and a new, empty one of {SIZE} is at {target}; copy its data"
            );
            self.note(Kind::Lost, &service.name, "volumes", &message);
        } else if !declared.get("driver_opts").is_null() {
            let message = format!(
                "the volume `{name}` has options of its driver (such as NFS), which are not carried over; the new one is empty"
            );
            self.note(Kind::Lost, &service.name, "volumes", &message);
        } else {
            let message = format!(
                "the data of `{name}` is not carried over; the new volume at {target} has {SIZE}, and with it there is one pod"
            );
            self.note(Kind::Lost, &service.name, "volumes", &message);
        }
        let comment =
            if mount.read_only { "was read-only; the size is a guess" } else { "a guess; it may grow, never shrink" };
        Some((None, comment.to_owned()))
    }

    fn host(&mut self, service: &Service, mount: &Mount, path: &str) -> Option<(Option<String>, String)> {
        let target = &mount.target;
        let note = |work: &mut Self, message: String| work.note(Kind::Lost, &service.name, "volumes", &message);
        if path.ends_with("docker.sock") {
            note(self, format!("{path} is left out: there is no Docker here, and what needs it will not work"));
        } else if matches!(target.as_str(), "/etc/localtime" | "/etc/timezone") {
            note(self, format!("{target} is left out; set the variable TZ instead"));
        } else if self.is_file_carried(service, mount, path) {
            // it stands under `files`
        } else if !mount.read_only && (is_data(path, target) || is_data_of_image(service, path, target)) {
            let kept = self.services.iter().find(|other| {
                !self.facts.left.contains_key(&other.name)
                    && other
                        .mounts
                        .iter()
                        .any(|mount| mount.source == Source::Host(path.to_owned()) && !mount.read_only)
            });
            if let Some(keeper) = kept.filter(|keeper| keeper.name != service.name) {
                let message = format!(
                    "`{path}` of this machine is shared by `{}` and `{}`; here a volume has one app, so `{}` keeps it and nothing is at {target}",
                    keeper.name, service.name, keeper.name
                );
                note(self, message);
                return None;
            }
            note(
                self,
                format!("`{path}` of this machine is a new, empty volume of {SIZE} at {target}; copy what is in it"),
            );
            return Some((None, format!("was {path} of this machine")));
        } else {
            let what = if mount.read_only {
                "put it under `files`, or into the image"
            } else {
                "the image must have it; use `files` for configuration, `volumes` for data"
            };
            note(self, format!("`{path}` of this machine at {target} is not carried over: {what}"));
        }
        None
    }

    /// Whether a file of the machine can stand under `files`: a text of the repository.
    fn is_file_carried(&mut self, service: &Service, mount: &Mount, path: &str) -> bool {
        let last = path.rsplit('/').next().unwrap_or_default();
        (is_file(last) || is_file(mount.target.rsplit('/').next().unwrap_or_default()))
            && self.carried(service, path).is_some()
    }

    /// The path of a text of the repository as hks.yaml names it.
    fn carried(&mut self, service: &Service, path: &str) -> Option<String> {
        let inside = join("", path).ok()?;
        let folder = self.folder?;
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let named = if folder.is_empty() { inside.clone() } else { format!("{folder}/{inside}") };
        if !named.split('/').all(plain) || named.starts_with('.') || named.len() > 512 {
            return None;
        }
        match self.files.get(&inside) {
            Some(Ok(text)) if text.len() <= crate::spec::MAX_FILE && !crate::spec::is_credential(text) => Some(named),
            Some(Ok(_)) => {
                let message =
                    format!("`{path}` can't stand under `files`: it is larger than 64 KiB, or holds a credential");
                self.note(Kind::Lost, &service.name, "volumes", &message);
                None
            }
            Some(Err(_)) => None,
            None => {
                self.wants.insert(inside);
                None
            }
        }
    }

    /// `files` of an app: single files that are mounted, and `configs`.
    pub fn files(&mut self, service: &Service) -> Map {
        let mut files = Map::default();
        for mount in &service.mounts {
            let Source::Host(path) = &mount.source else { continue };
            if !is_mountable(&mount.target)
                || files.get(&mount.target).is_some()
                || !self.is_file_carried(service, mount, path)
            {
                continue;
            }
            if let Some(named) = self.carried(service, path) {
                let mut file = Map::default();
                file.set("source", named);
                files.set_because(&mount.target, file, "from the repository; a change restarts the app");
            }
        }
        for item in service.node.get("configs").items() {
            let name = item.text().or_else(|| item.get("source").text()).unwrap_or_default().to_owned();
            let target = item.get("target").text().map_or_else(|| format!("/{name}"), str::to_owned);
            let declared = declared(self.project, "configs", &name).cloned().unwrap_or_default();
            let mut file = Map::default();
            if let Some(content) = declared.get("content").text() {
                let text = self.text(service, &name, content);
                if Self::is_open(&text) && text.len() <= 65_536 {
                    file.set("text", text);
                }
            } else if let Some(path) = declared.get("file").text().map(|path| self.facts.variables.plain(path))
                && let Some(named) = self.carried(service, &path)
            {
                file.set("source", named);
            }
            if file.is_empty() || !is_mountable(&target) {
                let message = format!(
                    "the config `{name}` at {target} is not carried over: it holds a secret, or is no text of the repository; see `files`"
                );
                self.note(Kind::Lost, &service.name, "configs", &message);
            } else {
                files.set(&target, file);
            }
        }
        for item in service.node.get("secrets").items() {
            let name = item.text().or_else(|| item.get("source").text()).unwrap_or_default();
            let path = item.get("target").text().map_or_else(
                || format!("/run/secrets/{name}"),
                |target| {
                    if target.starts_with('/') { target.to_owned() } else { format!("/run/secrets/{target}") }
                },
            );
            let read = service
                .env
                .iter()
                .any(|(key, value)| key.ends_with("_FILE") && self.facts.variables.plain(value) == path);
            if !read {
                let message = format!(
                    "{path} is not there: hks gives secrets as variables; add `{name}` to `secrets` and refer to it under `env`"
                );
                self.note(Kind::Lost, &service.name, "secrets", &message);
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_told_from_code_and_configuration() {
        for (source, target) in [
            ("./gitea", "/data"),
            ("${UPLOAD_LOCATION}", "/usr/src/app/upload"),
            ("./data/db", "/x"),
            ("/srv/media", "/media"),
        ] {
            assert!(is_data(source, target), "{source}");
        }
        for (source, target) in
            [(".", "/app"), ("./src", "/app/src"), ("./nginx.conf", "/etc/nginx/nginx.conf"), ("./backend", "/code")]
        {
            assert!(!is_data(source, target), "{source}");
        }
        for path in ["/", "/dev/shm", "/proc/x", "/a b", "/a/../b", "a"] {
            assert!(!is_mountable(path), "{path}");
        }
    }
}
