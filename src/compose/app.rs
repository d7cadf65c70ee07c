//! Apps: image, command, environment and ports.

use super::facts::{AppPort, Protocol};
use super::image::Role;
use super::secret::Use;
use super::service::{Restart, Service};
use super::variables::Variable;
use super::work::{Kind, Work, reference};
use super::write::{Map, Value};

impl Work<'_> {
    /// The parts of an app that a job has as well: image and environment.
    pub fn program(&mut self, service: &Service) -> Map {
        let mut app = Map::default();
        let (image, comment) = self.image(service);
        app.set_because("image", image, &comment);
        let env = self.env(service);
        if !env.is_empty() {
            app.set("env", env);
        }
        app
    }

    /// An app with all that it has.
    pub fn app(&mut self, service: &Service) {
        let name = self.facts.name(&service.name).to_owned();
        let mut app = Map::default();
        let (image, comment) = self.image(service);
        app.set_because("image", image, &comment);
        self.command(service, &mut app);
        let ports = self.facts.ports.get(&service.name).cloned().unwrap_or_default();
        if !ports.is_empty() {
            app.set("ports", port_map(&ports));
        }
        let env = self.env(service);
        if !env.is_empty() {
            app.set("env", env);
        }
        let files = self.files(service);
        if !files.is_empty() {
            app.set("files", files);
        }
        let lasting = self.volumes(service, &mut app);
        self.probes(service, &ports, &mut app);
        self.scale(service, lasting, &mut app);
        match self.resources(service) {
            Some(resources) => app.set("resources", resources),
            None => self.memory(service, &mut app),
        }
        self.grace(service, &mut app);
        self.security(service, &ports, lasting, &mut app);
        self.order(service, &mut app);
        match self.facts.role(&service.name) {
            Role::Store => {
                let message = "is a server that hks does not look after: it runs as an app with one pod, and nobody but you backs it up";
                self.note(Kind::Changed, &service.name, "image", message);
            }
            Role::Proxy => {
                let message = "is a proxy, kept in front of the others; if it only leads to them, write their paths under `ingress` and take it \
                               away: certificates and hosts are a matter of the ingress";
                self.note(Kind::Changed, &service.name, "image", message);
            }
            Role::ForeignDatabase if service.build.is_some() => {
                let message = "is a PostgreSQL that is built here, so it runs as an app with one pod, and nobody but you backs it up; if the plain \
                               one does, write it under `databases` instead";
                self.note(Kind::Changed, &service.name, "image", message);
            }
            Role::ForeignDatabase => {
                let message = "is PostgreSQL with extensions that the image of hks does not have, so it runs as an app with one pod, and nobody \
                               but you backs it up; without need of the extensions, write it under `databases` instead";
                self.note(Kind::Changed, &service.name, "image", message);
            }
            _ => {}
        }
        if matches!(service.restart, Restart::OnFailure(_)) {
            self.note(
                Kind::Changed,
                &service.name,
                "restart",
                "runs as an app, which is started again whenever it ends; if it is meant to end, make it a job",
            );
        }
        self.unread(
            service,
            &[
                "build",
                "command",
                "entrypoint",
                "environment",
                "env_file",
                "ports",
                "expose",
                "volumes",
                "tmpfs",
                "depends_on",
                "healthcheck",
                "deploy",
                "user",
                "read_only",
                "mem_limit",
                "cpus",
                "mem_reservation",
                "scale",
                "stop_grace_period",
                "cap_add",
                "cap_drop",
                "labels",
                "configs",
                "secrets",
                "working_dir",
            ],
        );
        if let Some(folder) = service.node.get("working_dir").text() {
            let given = service.command.is_some() || service.entrypoint.is_some();
            let message = if given {
                format!(
                    "`{folder}` is not carried over: commands run where the image says; write paths in full, or set WORKDIR in the image"
                )
            } else {
                format!("`{folder}` is not carried over: set WORKDIR in the image")
            };
            self.note(Kind::Lost, &service.name, "working_dir", &message);
        }
        self.out.map("apps").set(&name, app);
    }

    /// The image and a comment.
    pub fn image(&mut self, service: &Service) -> (String, String) {
        let name = self.facts.name(&service.name).to_owned();
        if service.image.is_empty() {
            let message = match &service.build {
                Some(folder) => format!(
                    "is built from `{folder}` in compose; let CI build it, push it and name it under `image` (${{git.shortSha}} is the commit)"
                ),
                None => "has neither image nor build; name one under `image`".to_owned(),
            };
            self.note(Kind::Set, &service.name, "build", &message);
            // what is built in one way has one image
            let first = self.services.iter().find(|other| {
                other.image.is_empty() && other.build.is_some() && other.node.get("build") == service.node.get("build")
            });
            let name = first.map_or(name.as_str(), |first| self.facts.name(&first.name));
            let image = format!("registry.example/{name}:{}", reference("git.shortSha"));
            return (image, "push it here by CI, with the commit as its tag; write your registry".to_owned());
        }
        if service.build.is_some() {
            let message = format!(
                "`{}` is built by compose; let CI build and push it under a name that the cluster can pull",
                self.shown(&service.image)
            );
            self.note(Kind::Set, &service.name, "build", &message);
        }
        let known = self.facts.variables.known(&service.image);
        let open: Vec<Variable> = known.chars().filter_map(|c| self.facts.variables.of(c)).cloned().collect();
        let tagged =
            |image: &str| image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if open.is_empty() {
            let known = known.trim().trim_start_matches("docker://").to_owned();
            if tagged(&known) {
                return (known, String::new());
            }
            return (format!("{known}:latest"), "compose takes the latest one; name a version".to_owned());
        }
        // each variable gets a value with which the image can be read
        let mut image = String::new();
        let mut rest = known.chars().peekable();
        while let Some(c) = rest.next() {
            let Some(variable) = self.facts.variables.of(c).cloned() else {
                image.push(c);
                continue;
            };
            let more: String = rest.clone().collect();
            let in_tag = image.rsplit('/').next().is_some_and(|last| last.contains(':') || last.contains('@'));
            let value = match (in_tag, more.starts_with('/'), image.is_empty()) {
                (true, ..) => "latest".to_owned(),
                (false, true, _) => "registry.example".to_owned(),
                (false, false, true) if more.contains('/') => "registry.example/".to_owned(),
                (false, false, true) if !tagged(&more) => format!("registry.example/{name}:latest"),
                (false, false, true) => format!("registry.example/{name}"),
                (false, false, false) => name.clone(),
            };
            let said = variable.message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
            let param = self.param(&variable.name, &value, &format!("came from the shell{said}; write what it is"));
            let message =
                format!("${{{}}} came from the shell{said}; write what it is under `params.{param}`", variable.name);
            self.note(Kind::Set, &service.name, "image", &message);
            image.push_str(&reference(&format!("params.{param}")));
        }
        let whole = tagged(&self.facts.variables.plain(&known)) || open.len() == 1 && known.chars().count() == 1;
        let tail = if whole || tagged(&image) { "" } else { ":latest" };
        (format!("{image}{tail}"), String::new())
    }

    pub fn command(&mut self, service: &Service, app: &mut Map) {
        for (words, to) in [(&service.entrypoint, "command"), (&service.command, "args")] {
            let Some(words) = words.as_ref() else { continue };
            if words.is_empty() {
                if to == "command" {
                    self.note(
                        Kind::Lost,
                        &service.name,
                        "entrypoint",
                        "an empty one can't be said here; write the program under `command`",
                    );
                }
                continue;
            }
            let list = self.words(service, if to == "command" { "entrypoint" } else { "command" }, words);
            let list = list.into_iter().map(Value::from).collect();
            app.set(to, Value::List(list));
        }
    }

    fn env(&mut self, service: &Service) -> Map {
        let mut env = Map::default();
        for (key, raw) in &service.env {
            if self.secret_file(service, key, raw, &mut env) {
                continue;
            }
            let mut key = key.clone();
            if !super::wire::is_env_name(&key) {
                let image = self.facts.variables.plain(&service.image);
                // Elasticsearch, "Configure Elasticsearch with Docker": `ES_SETTING_`, `.` as `_`, `_` as `__`
                if super::image::parts(&image).0.ends_with("elasticsearch") && !key.starts_with("HKS_") {
                    let name = format!("ES_SETTING_{}", key.replace('_', "__").replace(['.', '-'], "_").to_uppercase());
                    self.note(
                        Kind::Changed,
                        &service.name,
                        &key,
                        &format!("is called `{name}` here, which Elasticsearch reads in the same way"),
                    );
                    key = name;
                } else {
                    self.note(
                        Kind::Lost,
                        &service.name,
                        &key,
                        "is not the name of a variable here (letters, digits and `_`); set it in another way",
                    );
                    continue;
                }
            }
            let (value, comment) = self.variable(service, &key, raw);
            env.set_because(&key, value, &comment);
        }
        // a volume has files of its own, which the server takes for data (docs of the postgres image, "PGDATA")
        let words = service.command.iter().flatten();
        let own = words.into_iter().any(|word| word.contains("config_file") || word.contains("data_directory"));
        let data = service.mounts.iter().find(|mount| mount.target == "/var/lib/postgresql/data" && !own);
        if self.facts.role(&service.name) == Role::ForeignDatabase && data.is_some() && env.get("PGDATA").is_none() {
            env.set_because("PGDATA", "/var/lib/postgresql/data/pgdata", "a folder of its own in the volume");
        }
        for (key, value, comment) in self.added.get(&service.name).cloned().unwrap_or_default() {
            if env.get(&key).is_none() {
                env.set_because(&key, value, &comment);
            }
        }
        env
    }

    /// `PASSWORD_FILE: /run/secrets/NAME`: hks gives secrets as variables, not as files; images that read such a file read the
    /// variable without `_FILE` as well.
    fn secret_file(&mut self, service: &Service, key: &str, raw: &str, env: &mut Map) -> bool {
        let plain = self.facts.variables.plain(raw);
        let Some(name) = plain.strip_prefix("/run/secrets/") else { return false };
        let bare = key.strip_suffix("__FILE").or_else(|| key.strip_suffix("_FILE"));
        let Some(bare) = bare.filter(|bare| super::wire::is_env_name(bare)) else {
            self.note(
                Kind::Changed,
                &service.name,
                key,
                &format!("{plain} is not there: hks gives secrets as variables"),
            );
            return false;
        };
        let own = self
            .logins
            .iter()
            .find(|(_, login)| login.password.as_deref().is_some_and(|path| self.facts.variables.plain(path) == plain));
        let own = own.map(|(server, _)| server.clone());
        let listed = service.node.get("secrets").items().iter().any(|item| {
            item.text().or_else(|| item.get("source").text()).is_some_and(|source| source == name)
                || item.get("target").text() == Some(name)
        });
        let value = match own {
            Some(server) => self.field(&server, "password"),
            None if listed => {
                let server = self.is_own_login(service);
                let from = super::database::declared(self.project, "secrets", name)
                    .and_then(|node| node.get("environment").text());
                let value = from.and_then(|from| self.facts.variables.set.get(from)).map(String::as_str);
                let used =
                    Use { service: &service.name, key: bare, variable: Some(from.unwrap_or(name)), value, server };
                let value = self.secret(&used);
                let declared = super::database::declared(self.project, "secrets", name);
                if let Some(file) = declared.and_then(|node| node.get("file").text()) {
                    self.secret_files.insert(self.vault.keep(&used), self.facts.variables.plain(file));
                }
                value
            }
            None => {
                self.note(
                    Kind::Changed,
                    &service.name,
                    key,
                    &format!(
                        "{plain} is not there: the service lists no such secret; write `{bare}` with a secret instead"
                    ),
                );
                return false;
            }
        };
        env.set_because(bare, value, &format!("was {key}: hks gives secrets as variables, not as files"));
        self.note(
            Kind::Changed,
            &service.name,
            key,
            &format!(
                "is `{bare}` now: hks gives secrets as variables, not as files; look whether the program reads it"
            ),
        );
        true
    }
}

/// `ports` of an app.
pub(super) fn port_map(ports: &[AppPort]) -> Map {
    let mut map = Map::default();
    for port in ports {
        let because = port.because.clone().unwrap_or_default();
        match port.protocol {
            Protocol::Http => map.set_because(&port.name, u64::from(port.number), &because),
            other => {
                let mut parts = Map::default();
                parts.set("port", u64::from(port.number));
                parts.set("protocol", if other == Protocol::Udp { "udp" } else { "tcp" });
                map.set_because(&port.name, parts, &because);
            }
        }
    }
    map
}
