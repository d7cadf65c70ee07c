//! How large an app is, how it ends, and who it runs as; and what is said in vain.

use super::facts::AppPort;
use super::service::Service;
use super::words::{bytes, cpu, millicores, quantity, seconds};
use super::work::{Kind, Work};
use super::write::{Map, Value};

/// Keys that mean nothing here, and are missed by nobody.
const SILENT: [&str; 17] = [
    "image",
    "restart",
    "container_name",
    "hostname",
    "domainname",
    "logging",
    "stdin_open",
    "tty",
    "init",
    "pull_policy",
    "platform",
    "links",
    "profiles",
    "networks",
    "annotations",
    "attach",
    "develop",
];

/// What an entrypoint needs that starts as root, gives folders to a user and becomes that user.
const ROOT: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"];

impl Work<'_> {
    pub fn scale(&mut self, service: &Service, lasting: bool, app: &mut Map) {
        let deploy = service.node.get("deploy");
        let given = deploy.get("replicas").text().map(|text| ("deploy.replicas", text));
        let given = given.or_else(|| service.node.get("scale").text().map(|text| ("scale", text)));
        if let Some((key, text)) = given {
            match text.trim().parse::<u64>() {
                Ok(number) if lasting && number > 1 => {
                    self.note(
                        Kind::Changed,
                        &service.name,
                        key,
                        &format!("{number} replicas share no volume here: an app with a volume that lasts has one pod"),
                    );
                }
                Ok(number) if number <= 100 => {
                    if number != 1 {
                        app.set("replicas", number);
                    }
                }
                _ => self.note(Kind::Lost, &service.name, key, &format!("`{text}` is no number from 0 to 100")),
            }
        }
        if deploy.get("mode").text().is_some_and(|mode| mode.starts_with("global")) {
            self.note(
                Kind::Lost,
                &service.name,
                "deploy.mode",
                "one on each machine can't be said here; set `replicas`",
            );
        }
        for key in ["placement", "update_config", "rollback_config", "endpoint_mode"] {
            if !deploy.get(key).is_null() {
                let what = match key {
                    "placement" => "where it runs is up to the cluster",
                    "endpoint_mode" => "a Service spreads the requests",
                    _ => "hks replaces pod by pod, and rolls back by itself; see `rollout`",
                };
                self.note(Kind::Lost, &service.name, &format!("deploy.{key}"), &format!("is not carried over: {what}"));
            }
        }
    }

    pub fn resources(&mut self, service: &Service) -> Option<Map> {
        let node = &service.node;
        let resources = node.get("deploy").get("resources");
        let (limits, requests) = (resources.get("limits"), resources.get("reservations"));
        let memory = |text: Option<&str>| text.and_then(bytes).filter(|bytes| *bytes >= 1 << 20);
        let cores = |text: Option<&str>| text.and_then(millicores);
        let mut limit = (
            cores(limits.get("cpus").text().or_else(|| node.get("cpus").text())),
            memory(limits.get("memory").text().or_else(|| node.get("mem_limit").text())),
        );
        let request = (
            cores(requests.get("cpus").text()),
            memory(requests.get("memory").text().or_else(|| node.get("mem_reservation").text())),
        );
        for (key, text, read) in [
            ("cpus", limits.get("cpus").text().or_else(|| node.get("cpus").text()), limit.0.is_some()),
            ("mem_limit", limits.get("memory").text().or_else(|| node.get("mem_limit").text()), limit.1.is_some()),
            ("deploy.resources.reservations.cpus", requests.get("cpus").text(), request.0.is_some()),
            (
                "mem_reservation",
                requests.get("memory").text().or_else(|| node.get("mem_reservation").text()),
                request.1.is_some(),
            ),
        ] {
            if let Some(text) = text.filter(|text| !read && !matches!(*text, "0" | "")) {
                self.note(
                    Kind::Lost,
                    &service.name,
                    key,
                    &format!("`{text}` is no amount that hks takes; see `resources`"),
                );
            }
        }
        if request.0 > limit.0 && limit.0.is_some() || request.1 > limit.1 && limit.1.is_some() {
            self.note(
                Kind::Changed,
                &service.name,
                "deploy.resources",
                "more is reserved than is allowed; the limit is raised to that",
            );
            limit = (limit.0.map(|l| l.max(request.0.unwrap_or(0))), limit.1.map(|l| l.max(request.1.unwrap_or(0))));
        }
        for key in ["devices", "generic_resources"] {
            if !requests.get(key).is_null() {
                self.note(
                    Kind::Lost,
                    &service.name,
                    &format!("deploy.resources.reservations.{key}"),
                    "such as GPUs can't be asked for",
                );
            }
        }
        if !limits.get("pids").is_null() {
            self.note(Kind::Lost, &service.name, "deploy.resources.limits.pids", "is not carried over");
        }
        let mut out = Map::default();
        for (key, (cores, memory)) in [("requests", request), ("limits", limit)] {
            if let Some(cores) = cores {
                out.map(key).set("cpu", Value::Bare(cpu(cores)));
            }
            if let Some(memory) = memory {
                out.map(key).set("memory", quantity(memory));
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Compose sets no limit unless told; hks gives 256Mi at most, which is too little for some.
    pub fn memory(&mut self, service: &Service, app: &mut Map) {
        let image = self.facts.variables.plain(&service.image);
        // `-Xmx512m`: the heap, and half as much besides
        let texts = service.env.iter().map(|(_, value)| value).chain(service.command.iter().flatten());
        let heap = texts.filter_map(|text| {
            let text = self.facts.variables.plain(text);
            let size =
                text.split("-Xmx").nth(1)?.split(|c: char| !c.is_ascii_alphanumeric()).next().map(str::to_owned)?;
            bytes(&size)
        });
        let heap = heap.max().map(|bytes| bytes / 2 * 3);
        let known = super::image::memory(&image).map(|mebibytes| mebibytes << 20);
        let Some(size) = heap.max(known).filter(|size| *size > 256 << 20 && *size < 1 << 42) else {
            self.unlimited.push(self.facts.name(&service.name).to_owned());
            return;
        };
        let mut resources = Map::default();
        for key in ["requests", "limits"] {
            resources.map(key).set("memory", quantity(size));
        }
        app.set_because("resources", resources, "compose sets no limit; a guess at what the program needs");
    }

    pub fn grace(&mut self, service: &Service, app: &mut Map) {
        let Some(text) = service.node.get("stop_grace_period").text() else { return };
        match seconds(text) {
            Some(seconds) if (1..=3600).contains(&seconds) => {
                app.map("shutdown").set("gracePeriod", format!("{seconds}s"));
            }
            _ => self.note(
                Kind::Lost,
                &service.name,
                "stop_grace_period",
                &format!("`{text}` is not from 1s to 1h; see `shutdown`"),
            ),
        }
    }

    pub fn security(&mut self, service: &Service, ports: &[AppPort], lasting: bool, app: &mut Map) {
        let node = &service.node;
        let mut security = Map::default();
        let (mut root, mut given) = (true, false);
        if let Some(text) = node.get("user").text().filter(|text| !text.is_empty()) {
            let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
            let number = |text: &str| {
                if text == "root" { Some(0) } else { text.parse::<u64>().ok().filter(|n| *n <= 2_147_483_647) }
            };
            match number(user) {
                Some(user) => {
                    root = user == 0;
                    security.set("runAsUser", user);
                }
                None if user.is_empty() => {
                    self.note(
                        Kind::Lost,
                        &service.name,
                        "user",
                        "came from the shell; write its number as `security.runAsUser`",
                    );
                }
                None => self.note(
                    Kind::Lost,
                    &service.name,
                    "user",
                    &format!("`{user}` is a name; write its number as `security.runAsUser`"),
                ),
            }
            match group.map(|group| (group, number(group))) {
                Some((_, Some(group))) => security.set("runAsGroup", group),
                Some((group, None)) if !group.is_empty() => {
                    self.note(
                        Kind::Lost,
                        &service.name,
                        "user",
                        &format!("`{group}` is a name; write its number as `security.runAsGroup`"),
                    );
                }
                _ => {}
            }
            given = true;
            let own = group.and_then(number).or_else(|| number(user)).filter(|group| *group > 0);
            if let (true, Some(group)) = (lasting, own) {
                security.set_because("fsGroup", group, "so that it may write to its volume");
            }
        }
        let image = self.facts.variables.plain(&service.image);
        if let (true, false, Some(group)) = (lasting, given, super::image::group(&image)) {
            security.set_because(
                "fsGroup",
                group,
                "the group that the image runs as, so that it may write to its volume",
            );
        }
        if node.get("read_only").is_true() {
            security.set("readOnlyRootFilesystem", true);
        }
        let mut capabilities: Vec<String> = vec![];
        let mut comment = String::new();
        let known = self.facts.known.get(&service.name).is_some_and(|known| known.root);
        let strict = node.get("cap_drop").texts().iter().any(|name| name.eq_ignore_ascii_case("all"));
        if known && root && !strict {
            capabilities.extend(ROOT.map(str::to_owned));
            "its image starts as root and then becomes another user".clone_into(&mut comment);
        }
        if root && !strict && ports.iter().any(|port| port.number < 1024) {
            capabilities.push("NET_BIND_SERVICE".to_owned());
        }
        for given in node.get("cap_add").texts() {
            let name = given.trim_start_matches("CAP_").to_uppercase();
            if crate::spec::is_capability(&name) {
                capabilities.push(name);
            } else {
                self.note(
                    Kind::Lost,
                    &service.name,
                    "cap_add",
                    &format!(
                        "{name} is not allowed in a project: it leaves the baseline of the Pod Security Standards"
                    ),
                );
            }
        }
        capabilities.sort();
        capabilities.dedup();
        if !capabilities.is_empty() {
            security.set_because(
                "capabilities",
                Value::List(capabilities.into_iter().map(Value::from).collect()),
                &comment,
            );
        }
        if !security.is_empty() {
            app.set("security", security);
        }
    }

    /// Tells of keys that nothing has been made of.
    pub fn unread(&mut self, service: &Service, read: &[&str]) {
        const KNOWN: [&str; 6] = ["traefik", "caddy", "com.", "org.", "io.", "dev."];
        let labels = service.labels.iter().map(|(key, _)| key.as_str());
        let labels: Vec<&str> = labels.filter(|key| !KNOWN.iter().any(|known| key.starts_with(known))).collect();
        if !labels.is_empty() {
            let hint = if labels
                .iter()
                .any(|key| key.contains("cron") || key.contains("ofelia") || key.contains("schedule"))
            {
                "; write a job with `schedule` for what runs by the clock"
            } else {
                ""
            };
            let message = format!("{} are not carried over{hint}", labels[..labels.len().min(8)].join(", "));
            self.note(Kind::Lost, &service.name, "labels", &message);
        }
        for (key, message) in service.notes.clone() {
            self.note(Kind::Lost, &service.name, &key, &message);
        }
        for (key, value) in service.node.entries() {
            if SILENT.contains(&key.as_str())
                || read.contains(&key.as_str())
                || key.starts_with("x-")
                || value.is_null()
            {
                continue;
            }
            let plain = value.text();
            let why = match key.as_str() {
                "privileged" | "security_opt" | "userns_mode" | "cgroup" | "cgroup_parent" | "device_cgroup_rules" => {
                    // nothing in a pod of hks gains privileges
                    let harmless = value.texts().iter().all(|text| text.starts_with("no-new-privileges"));
                    if plain == Some("false") || key == "security_opt" && harmless {
                        continue;
                    }
                    "is not allowed in a project: it leaves the baseline of the Pod Security Standards; it must do without"
                }
                "network_mode"
                    if plain.is_some_and(|mode| mode.starts_with("service:") || mode.starts_with("container:")) =>
                {
                    "shares the network of another service; here each app has its own address, so `localhost` does not reach the other"
                }
                "network_mode" if matches!(plain, Some("bridge" | "default")) => continue,
                "network_mode" | "pid" | "ipc" | "uts" => "shares this machine, which an app of a project can't",
                "devices" | "gpus" | "runtime" => "devices of the machine can't be had here",
                "sysctls" | "ulimits" => "is a matter of the cluster's machines; ask who runs them",
                "shm_size" => "shared memory can't be asked for; /dev/shm has 64Mi",
                "extra_hosts" | "dns" | "dns_search" | "dns_opt" | "external_links" => {
                    "names are resolved by the cluster; use names that its DNS knows"
                }
                "group_add" => "is not carried over; see `security.fsGroup`",
                "stop_signal" => "is not carried over: pods end by SIGTERM; set STOPSIGNAL in the image",
                "volumes_from" => "volumes of other services can't be shared",
                "cpu_shares" | "cpu_quota" | "cpu_period" | "cpuset" | "cpu_count" | "cpu_percent"
                | "memswap_limit" | "mem_swappiness" | "oom_kill_disable" | "oom_score_adj" | "pids_limit"
                | "blkio_config" => "is not carried over; see `resources`",
                "expose" | "ports" => "is not carried over: the cluster reaches it by its own ports",
                "post_start" | "pre_stop" => "hooks can't be had; put it into the program's entrypoint",
                _ => "is not carried over",
            };
            self.note(Kind::Lost, &service.name, key, why);
        }
    }
}

/// What compose limits the memory to.
pub(super) fn limit(service: &Service) -> Option<u64> {
    let limits = service.node.get("deploy").get("resources").get("limits");
    bytes(limits.get("memory").text().or_else(|| service.node.get("mem_limit").text())?)
}
