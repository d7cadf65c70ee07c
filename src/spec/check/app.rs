//! Apps: ports, probes, how many pods, how a new version takes over, volumes.

use super::super::diagnostic::Code;
use super::super::model::{
    App, Autoscaling, Check as HealthCheck, Port, Probe, Protocol, Rollout, Scale, Scaling, Volume,
};
use super::super::place::Path;
use super::super::quantity::Amount;
use super::super::report::{below, root};
use super::super::resources::{self, bytes, duration, resources};
use super::super::wire;
use super::order::Waves;
use super::program::above;
use super::{Check, DAY, HOUR, MINUTE, each};
use std::collections::BTreeMap;
use std::time::Duration;

/// Seconds that a container without a readiness probe has to run before it counts: else one that crashes at once would
/// count as ready for a moment.
const UNPROBED_SECONDS: u64 = 10;

impl Check<'_, '_> {
    /// The address of an app that runs elsewhere.
    pub(super) fn external(&mut self, name: &str, wire: &wire::App) -> Option<String> {
        let address = wire.external.as_ref()?;
        self.innocent(&root(&["apps", name, "external"]), &address.0);
        if wire.image.is_some() || wire.from.is_some() {
            return None;
        }
        let at = root(&["apps", name]);
        let keys: Vec<String> = self.report.places.keys(&at).into_iter().map(str::to_owned).collect();
        for key in keys.iter().filter(|key| *key != "external" && !self.broken.hides(&["apps", name, key])) {
            let message = format!("`{key}` means nothing for an app that runs elsewhere");
            self.report.key(Code::Contradiction, &below(&at, &[key]), &message, "remove it, or remove `external`");
        }
        Some(address.0.trim_end_matches('/').to_owned())
    }

    pub(super) fn app(
        &mut self,
        name: &str,
        wire: &wire::App,
        certificates: &BTreeMap<String, String>,
        waves: &Waves,
        others: &BTreeMap<String, App>,
    ) -> Option<App> {
        let at = root(&["apps", name]);
        let (objects, entries) = size(wire);
        if !self.affords(objects, entries, &at) {
            return None;
        }
        let program = self.program(name, wire, certificates, others);
        let ports = self.ports(name, wire);
        let resources = resources(&wire.resources, &below(&at, &["resources"]), &resources::APP, self.report);
        let mut probe = |kind: &str, wire: Option<&wire::Probe>, failures: u32| match wire {
            Some(wire) => self.probe(name, kind, wire, &ports, failures).map(Some),
            None => Some(None),
        };
        let startup = probe("startup", wire.probes.startup.as_ref(), 30);
        let readiness = probe("readiness", wire.probes.readiness.as_ref(), 3);
        let liveness = probe("liveness", wire.probes.liveness.as_ref(), 3);
        let tcp = ports.iter().find(|port| port.protocol != Protocol::Udp).map(|port| Probe {
            check: HealthCheck::Tcp(port.number),
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failure_threshold: 3,
        });
        let volumes = self.volumes(&at, wire);
        let lasting = wire.volumes.0.values().any(|volume| volume.size.is_some());
        let scale = self.scale(&at, wire, lasting);
        let rollout = self.rollout(&at, wire, lasting);
        let readiness = readiness.map(|given| given.or(tcp));
        let unprobed = matches!(readiness, Some(None));
        let min_ready_at = below(&at, &["rollout", "minReady"]);
        let usual = if unprobed { UNPROBED_SECONDS } else { 0 };
        // Kubernetes takes less than its own deadline for progress, ten minutes
        let min_ready = duration(wire.rollout.min_ready.as_ref(), usual, &(0..=5 * MINUTE), &min_ready_at, self.report);
        let shutdown = &wire.shutdown;
        let grace = &below(&at, &["shutdown", "gracePeriod"]);
        let grace = duration(shutdown.grace_period.as_ref(), 30, &(1..=HOUR), grace, self.report);
        let drain_at = below(&at, &["shutdown", "drain"]);
        let usual = grace.map_or(5, |grace| grace.as_secs().saturating_sub(1).min(5));
        let drain = duration(shutdown.drain.as_ref(), usual, &(0..=10 * MINUTE), &drain_at, self.report);
        if let (Some(grace), Some(drain)) = (grace, drain)
            && drain >= grace
        {
            let message = "`drain` leaves no time of `gracePeriod` to end in";
            self.report.value(Code::OutOfRange, &drain_at, message, "write less than `gracePeriod`");
            return None;
        }
        let (wave, started_is_enough) = waves.get(name).copied().unwrap_or_default();
        Some(App {
            program: program?,
            ports,
            scale: scale?,
            resources: resources?,
            startup: startup?,
            readiness: readiness?,
            liveness: liveness?,
            rollout: rollout?,
            min_ready: min_ready?,
            volumes: volumes?,
            grace: grace?,
            drain: drain?,
            wave,
            started_is_enough,
        })
    }

    /// The ports in the order of the file.
    fn ports(&mut self, app: &str, wire: &wire::App) -> Vec<Port> {
        let at = root(&["apps", app, "ports"]);
        let mut ports: Vec<Port> = Vec::new();
        for port in ports_of(self.report.places.keys(&at), wire) {
            let same = |p: &&Port| {
                p.number == port.number && (p.protocol == Protocol::Udp) == (port.protocol == Protocol::Udp)
            };
            if let Some(first) = ports.iter().find(same) {
                let message = format!("port {} is `{}` already", port.number, first.name);
                self.report.value(Code::DuplicatePort, &below(&at, &[&port.name]), &message, "keep one of them");
            }
            ports.push(port);
        }
        ports
    }

    fn probe(&mut self, app: &str, kind: &str, wire: &wire::Probe, ports: &[Port], failures: u32) -> Option<Probe> {
        let at = root(&["apps", app, "probes", kind]);
        let given = [
            ("path", wire.path.is_some()),
            ("tcp", wire.tcp.is_some()),
            ("exec", !wire.exec.is_empty()),
            ("grpc", wire.grpc.is_some()),
        ];
        let one = given.iter().all(|(_, there)| !there) || self.exactly_one(&at, &given);
        let check = if one && wire.exec.is_empty() {
            self.port(app, ports, wire.port.as_ref(), &at).and_then(|port| match (&wire.path, &wire.grpc) {
                _ if port.protocol == Protocol::Udp => {
                    let message = format!("the port `{}` is UDP, which can't be probed", port.name);
                    self.report.key(Code::UnknownPort, &at, &message, "name another port, or use `exec`");
                    None
                }
                (Some(path), _) => Some(HealthCheck::Http(path.0.clone(), port.number)),
                (None, Some(service)) => Some(HealthCheck::Grpc(port.number, service.0.clone())),
                (None, None) => Some(HealthCheck::Tcp(port.number)),
            })
        } else if one {
            if wire.port.is_some() {
                let message = "`port` means nothing beside `exec`";
                self.report.key(Code::Contradiction, &below(&at, &["port"]), message, "remove it");
            }
            let word = |(index, word): (usize, &String)| self.plain(&below(&at, &["exec", &index.to_string()]), word);
            let words: Vec<_> = wire.exec.iter().enumerate().map(word).collect();
            words.into_iter().collect::<Option<_>>().map(HealthCheck::Exec)
        } else {
            None
        };
        let mut time = |key: &str, wire: Option<&wire::Duration>, default: u64, least: u64| {
            duration(wire, default, &(least..=HOUR), &below(&at, &[key]), self.report)
        };
        let initial_delay = time("initialDelay", wire.initial_delay.as_ref(), 0, 0);
        let period = time("period", wire.period.as_ref(), 10, 1);
        let timeout = time("timeout", wire.timeout.as_ref(), 5, 1);
        Some(Probe {
            check: check?,
            initial_delay: initial_delay?,
            period: period?,
            timeout: timeout?,
            failure_threshold: wire.failure_threshold.unwrap_or(failures),
        })
    }

    /// The port of `app` that is named at `at`, or its first one.
    pub(super) fn port(&mut self, app: &str, ports: &[Port], name: Option<&wire::PortName>, at: &Path) -> Option<Port> {
        let found = match name {
            Some(name) => ports.iter().find(|port| port.name == name.0),
            None => ports.first(),
        };
        if found.is_some() || self.report.is_full() || self.broken.touches(&["apps", app, "ports"]) {
            return found.cloned();
        }
        if let (Some(name), false) = (name, ports.is_empty()) {
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            let help = self.report.budget.hint(&name.0, names.iter().copied(), &format!("it has {}", names.join(", ")));
            let message = format!("the app `{app}` has no port `{}`", name.0);
            self.report.value(Code::UnknownPort, &below(at, &["port"]), &message, &help);
        } else {
            let help = format!("add `ports: {{http: 8080}}` to `apps.{app}`");
            self.report.key(Code::NoPort, at, &format!("the app `{app}` has no ports"), &help);
        }
        None
    }

    fn scale(&mut self, at: &Path, wire: &wire::App, lasting: bool) -> Option<Scale> {
        let one = "a volume that lasts can be used by one pod only";
        let Some(auto) = &wire.autoscaling else {
            let replicas = wire.replicas.unwrap_or(1);
            if lasting && replicas > 1 {
                let help = "set `replicas` to 1, or keep the data elsewhere";
                self.report.value(Code::Contradiction, &below(at, &["replicas"]), one, help);
                return None;
            }
            return Some(Scale::Fixed(replicas));
        };
        let at = below(at, &["autoscaling"]);
        let before = self.report.mistakes();
        if wire.replicas.is_some() {
            let message = "`autoscaling` decides about the number of pods, not `replicas`";
            self.report.key(Code::Contradiction, &at, message, "keep one of them");
        }
        if lasting {
            self.report.key(Code::Contradiction, &at, one, "remove it, or keep the data elsewhere");
        }
        if auto.cpu.is_none() && auto.memory.is_none() && !self.is_broken(&at) {
            let help = "add `cpu: 70`: percent of the requested CPU to aim at";
            self.report.key(Code::MissingKey, &at, "`autoscaling` has neither `cpu` nor `memory`", help);
        }
        let (min, max) = (auto.min.unwrap_or(1), auto.max?);
        if min > max {
            let message = format!("the fewest pods, {min}, are more than the most, {max}");
            self.report.value(Code::OutOfRange, &below(&at, &["min"]), &message, "lower `min` or raise `max`");
        }
        let up = self.scaling(&below(&at, &["scaleUp"]), auto.scale_up.as_ref());
        let down = self.scaling(&below(&at, &["scaleDown"]), auto.scale_down.as_ref());
        let (up, down) = (up?, down?);
        (self.report.mistakes() == before).then_some(Scale::Auto(Autoscaling {
            min,
            max,
            cpu: auto.cpu,
            memory: auto.memory,
            up,
            down,
        }))
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one says whether it is right, the inner one whether it is there"
    )]
    fn scaling(&mut self, at: &Path, wire: Option<&wire::Scaling>) -> Option<Option<Scaling>> {
        let Some(wire) = wire else { return Some(None) };
        let stabilization = wire
            .stabilization
            .as_ref()
            .map(|given| duration(Some(given), 0, &(0..=HOUR), &below(at, &["stabilization"]), self.report).ok_or(()));
        if wire.period.is_some() && wire.pods.is_none() {
            let message = "`period` means nothing without `pods`";
            self.report.key(Code::Contradiction, &below(at, &["period"]), message, "add `pods`, or remove it");
            return None;
        }
        let period = duration(wire.period.as_ref(), MINUTE, &(1..=30 * MINUTE), &below(at, &["period"]), self.report);
        let pods = wire.pods.map(|pods| Some((pods, period?)));
        Some(Some(Scaling { stabilization: stabilization.transpose().ok()?, pods: pods.flatten() }))
    }

    fn rollout(&mut self, at: &Path, wire: &wire::App, lasting: bool) -> Option<Rollout> {
        let given = &wire.rollout;
        let at = below(at, &["rollout"]);
        let blue_green = given.strategy == Some(wire::Strategy::BlueGreen);
        let keep = &below(&at, &["keepOld"]);
        let keep_old = duration(given.keep_old.as_ref(), 5 * MINUTE, &(0..=DAY), keep, self.report);
        let alien: &[(&str, bool)] = if blue_green {
            &[("maxSurge", given.max_surge.is_some()), ("maxUnavailable", given.max_unavailable.is_some())]
        } else {
            &[("keepOld", given.keep_old.is_some())]
        };
        let unclear = self.is_broken(&below(&at, &["strategy"]));
        for (key, _) in alien.iter().filter(|(_, there)| *there && !unclear) {
            let strategy = if blue_green { "blueGreen" } else { "rolling" };
            let message = format!("`{key}` means nothing for the strategy `{strategy}`");
            self.report.key(Code::Contradiction, &below(&at, &[key]), &message, "remove it");
        }
        if lasting {
            if given.strategy.is_some() || given.max_surge.is_some() || given.max_unavailable.is_some() {
                let message = "with a volume that lasts, the old pod ends before the new one starts";
                self.report.key(Code::Contradiction, &at, message, "remove `rollout`, or keep the data elsewhere");
                return None;
            }
            return Some(Rollout::Recreate);
        }
        if !blue_green {
            let surge = share(given.max_surge.as_ref(), 1);
            let unavailable = share(given.max_unavailable.as_ref(), 0);
            let none = |share: &serde_json::Value| *share == 0 || *share == "0%";
            if none(&surge) && none(&unavailable) {
                let message = "with neither `maxSurge` nor `maxUnavailable`, no pod could ever be replaced";
                self.report.key(Code::OutOfRange, &at, message, "raise one of them to 1");
                return None;
            }
            return Some(Rollout::Rolling { surge, unavailable });
        }
        if wire.probes.readiness.is_none() && !self.is_broken(&below(&at, &["probes"])) {
            let message = "`blueGreen` needs to know when the new version is ready";
            let help = "add `probes: {readiness: {path: /ready}}`";
            self.report.key(Code::MissingKey, &at, message, help);
            return None;
        }
        Some(Rollout::BlueGreen { keep_old: keep_old? })
    }

    fn volumes(&mut self, at: &Path, wire: &wire::App) -> Option<BTreeMap<String, Volume>> {
        let inherited = wire.from.as_ref().and_then(|from| self.stack.apps.0.get(&from.0));
        let inherited = inherited.into_iter().flat_map(|base| base.files.0.keys());
        let mut mounts: BTreeMap<String, String> =
            wire.files.0.keys().chain(inherited).map(|path| (path.clone(), "a file".into())).collect();
        let files = mounts.clone();
        each(&wire.volumes.0, |name, volume| {
            let at = below(at, &["volumes", name]);
            let mount = &volume.mount.as_ref()?.0;
            // a larger one is the only thing that is put over what the runtime makes
            if mount != "/dev/shm" || volume.scratch.is_none() {
                self.container_path(&below(&at, &["mount"]), mount);
            }
            if let Some(file) = above(mount, &files) {
                let message = format!("`{file}` is a file: nothing can be below it");
                self.report.value(Code::Contradiction, &below(&at, &["mount"]), &message, "choose another path");
            }
            if let Some(other) = mounts.insert(mount.clone(), format!("`{name}`")) {
                let message = format!("{other} is at `{mount}` already");
                self.report.value(Code::Contradiction, &below(&at, &["mount"]), &message, "choose another path");
            }
            if !self.exactly_one(&at, &[("size", volume.size.is_some()), ("scratch", volume.scratch.is_some())]) {
                return None;
            }
            let lasting = volume.size.is_some();
            let (key, size) =
                if lasting { ("size", volume.size.as_ref()) } else { ("scratch", volume.scratch.as_ref()) };
            let size = bytes(&size?.0, &below(&at, &[key]), self.report)?.canonical();
            if let (Some(_), false) = (&volume.class, lasting) {
                let message = "a scratch volume has no storage class: it ends with its pod";
                self.report.key(Code::Contradiction, &below(&at, &["class"]), message, "remove it, or give a `size`");
            }
            let class = volume.class.as_ref().map(|class| class.0.clone());
            Some(Volume { mount: mount.clone(), size, lasting, class })
        })
    }
}

/// The ports of an app, in this order.
pub(super) fn ports_of(order: Vec<&str>, wire: &wire::App) -> Vec<Port> {
    let port = |name: &str| {
        let (number, protocol) = match wire.ports.0.get(name)? {
            wire::Port::Number(number) => (*number, None),
            wire::Port::Parts(parts) => (parts.port?, parts.protocol),
        };
        let protocol = match protocol {
            None | Some(wire::Protocol::Http) => Protocol::Http,
            Some(wire::Protocol::Grpc) => Protocol::Grpc,
            Some(wire::Protocol::Tcp) => Protocol::Tcp,
            Some(wire::Protocol::Udp) => Protocol::Udp,
        };
        Some(Port { name: name.to_owned(), number: number.0, protocol })
    };
    order.into_iter().filter_map(port).collect()
}

/// How many objects an app becomes, and about how many entries they have.
fn size(wire: &wire::App) -> (usize, usize) {
    let least = wire.autoscaling.as_ref().map_or(wire.replicas, |auto| auto.min);
    let beside = [
        !wire.ports.0.is_empty(),
        wire.rollout.strategy == Some(wire::Strategy::BlueGreen),
        wire.autoscaling.is_some(),
        least.is_some_and(|least| least > 1),
        !wire.files.0.is_empty(),
    ];
    let lasting = wire.volumes.0.values().filter(|volume| volume.size.is_some()).count();
    let objects = 1 + beside.into_iter().filter(|there| *there).count() + lasting;
    (objects, wire.ports.0.len() + 2 * wire.volumes.0.len() + wire.files.0.len() / 2)
}

fn share(wire: Option<&wire::Share>, default: u32) -> serde_json::Value {
    match wire {
        None => default.into(),
        Some(wire::Share::Number(number)) => (*number).into(),
        Some(wire::Share::Text(text)) => text.as_str().into(),
    }
}
