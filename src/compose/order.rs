//! What comes first, and what ends: `depends_on`, and services that become jobs.

use super::service::{Restart, Service, Wait};
use super::work::{Kind, Work};
use super::write::{Map, Value};

impl Work<'_> {
    /// `dependsOn` of an app. Databases and caches come first anyway.
    pub fn order(&mut self, service: &Service, app: &mut Map) {
        let mut depends = Map::default();
        for (on, wait) in &service.depends {
            if !self.facts.names.contains_key(on)
                || self.facts.is_served(on)
                || self.facts.left.contains_key(on)
                || *on == service.name
            {
                continue;
            }
            if self.facts.ending.contains(on) {
                let message = format!(
                    "waited for `{on}` to finish; `{on}` is a job now, which runs once the apps of a release are ready, not before them: \
                     let the program itself do that at its start if it can't become ready without it"
                );
                self.note(Kind::Changed, &service.name, "depends_on", &message);
                continue;
            }
            if self.leads_to(on, &service.name) {
                self.note(
                    Kind::Lost,
                    &service.name,
                    "depends_on",
                    &format!("`{on}` waits for it in turn; the circle is left out"),
                );
                continue;
            }
            let condition = if *wait == Wait::Started { "started" } else { "ready" };
            depends.set(&format!("apps.{}", self.facts.name(on)), condition);
        }
        if !depends.is_empty() {
            app.set("dependsOn", depends);
        }
    }

    /// Whether a service waits for another one, by whatever way.
    fn leads_to(&self, from: &str, to: &str) -> bool {
        let mut open = vec![from.to_owned()];
        let mut seen = vec![];
        while let Some(here) = open.pop() {
            if here == to {
                return true;
            }
            if seen.contains(&here) {
                continue;
            }
            let service = self.services.iter().find(|service| service.name == here);
            open.extend(service.into_iter().flat_map(|service| service.depends.iter().map(|(on, _)| on.clone())));
            seen.push(here);
        }
        false
    }

    /// A service that ends, as a job of an app with the same image, or of an app of its own that has no pods.
    pub fn job(&mut self, service: &Service) {
        let name = self.facts.name(&service.name).to_owned();
        let same = self.services.iter().find(|other| {
            let image = !other.image.is_empty() && other.image == service.image;
            let build = service.image.is_empty()
                && other.image.is_empty()
                && other.build.is_some()
                && other.build == service.build;
            other.name != service.name
                && (image || build)
                && other.node.get("build").get("target") == service.node.get("build").get("target")
                && !self.facts.ending.contains(&other.name)
                && !self.facts.left.contains_key(&other.name)
                && !self.facts.is_served(&other.name)
        });
        let base = same.map(|other| other.name.clone());
        let mut program = self.program(service);
        let mut job = Map::default();
        let awaited = self
            .services
            .iter()
            .any(|other| other.depends.iter().any(|(on, wait)| *on == service.name && *wait == Wait::Completed));
        let comment = if awaited {
            "others waited for its end; here it runs once the apps of a release are ready"
        } else {
            "once for each release"
        };
        job.set_because("run", "postDeploy", comment);
        if let Some(base) = &base {
            job.set_because("app", self.facts.name(base), "the same image; its environment, and this one");
            if let Some(Value::Map(env)) = program.value("env").map(std::mem::take) {
                let given = self.given(base);
                let mut own = Map::default();
                for (key, value) in env.entries() {
                    if given.iter().all(|(known, there)| known != key || there != value) {
                        own.set(key, value.clone());
                    }
                }
                if !own.is_empty() {
                    job.set("env", own);
                }
            }
        } else {
            program.set_because("replicas", 0_u64, &format!("only the job `{name}` runs it"));
            let files = self.files(service);
            if !files.is_empty() {
                program.set("files", files);
            }
            job.set("app", name.clone());
            self.out.map("apps").set(&name, program);
        }
        self.command(service, &mut job);
        if let Restart::OnFailure(times) = service.restart {
            job.set_because("retries", times.unwrap_or(3).min(20), "on-failure");
        }
        if let Some(resources) = self.resources(service) {
            job.set("resources", resources);
        }
        let order = if awaited { "; nothing waits for it any more" } else { "" };
        let message = format!(
            "ends, so it is a job: it runs once for each release, when the apps are ready, and the release is rolled back if it fails{order}"
        );
        self.note(Kind::Changed, &service.name, "restart", &message);
        for mount in &service.mounts {
            let message = format!("a job has no volumes: nothing is at {}", mount.target);
            self.note(Kind::Lost, &service.name, "volumes", &message);
        }
        self.unread(
            service,
            &[
                "build",
                "command",
                "entrypoint",
                "environment",
                "env_file",
                "depends_on",
                "deploy",
                "mem_limit",
                "cpus",
                "mem_reservation",
                "labels",
                "configs",
                "secrets",
                "volumes",
                "tmpfs",
                "healthcheck",
            ],
        );
        self.out.map("jobs").set(&name, job);
    }

    /// The environment of an app that has been made.
    fn given(&self, service: &str) -> Vec<(String, Value)> {
        let name = self.facts.name(service);
        let Some(Value::Map(apps)) = self.out.get("apps") else { return vec![] };
        let Some(Value::Map(app)) = apps.get(name) else { return vec![] };
        let Some(Value::Map(env)) = app.get("env") else { return vec![] };
        env.entries().map(|(key, value)| (key.to_owned(), value.clone())).collect()
    }
}
