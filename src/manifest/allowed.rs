//! What the platform does not let a file ask for: told before anything is touched, with the rule's name.

use super::Context;
use super::names::Names;
use crate::ident::{Kind, ObjectKey};
use crate::platform::{fits_host, fits_key};
use crate::spec::{self, Certificate, Ingress, Program, Resources, Scale};

/// Everything that is not allowed: the object and why.
pub(super) fn refused(names: &Names<'_>) -> Vec<(ObjectKey, String)> {
    let (spec, context) = (names.spec, names.context);
    let mut found = vec![];
    for (name, entry) in &spec.ingress {
        let key = ObjectKey::new(Kind::Ingress, names.object(name));
        found.extend(edge(names, name, entry).into_iter().map(|why| (key.clone(), why)));
    }
    for (name, app) in &spec.apps {
        let key = ObjectKey::new(Kind::Deployment, names.object(name));
        let mut why = program(names, &app.program);
        why.extend(resources(context, &app.resources));
        why.extend(replicas(context, &app.scale));
        why.extend(app.volumes.values().filter_map(|volume| storage(context, &volume.size)));
        found.extend(why.into_iter().map(|why| (key.clone(), format!("{why} (`apps.{name}`)"))));
    }
    for (name, job) in &spec.jobs {
        let key = ObjectKey::new(Kind::Job, names.object(name));
        let mut why = program(names, &job.program);
        why.extend(resources(context, &job.resources));
        found.extend(why.into_iter().map(|why| (key.clone(), format!("{why} (`jobs.{name}`)"))));
    }
    for (name, database) in &spec.databases {
        let key = ObjectKey::new(Kind::StatefulSet, names.object(name));
        let why = resources(context, &database.resources).into_iter().chain(storage(context, &database.storage));
        found.extend(why.map(|why| (key.clone(), format!("{why} (`databases.{name}`)"))));
    }
    for (name, cache) in &spec.caches {
        let key = ObjectKey::new(Kind::StatefulSet, names.object(name));
        let size = cache.persistence.as_ref().and_then(|size| storage(context, size));
        let why = resources(context, &cache.resources).into_iter().chain(size);
        found.extend(why.map(|why| (key.clone(), format!("{why} (`caches.{name}`)"))));
    }
    found
}

/// Hosts and issuers.
fn edge(names: &Names<'_>, name: &str, entry: &Ingress) -> Vec<String> {
    let (context, policy) = (names.context, &names.context.policy);
    let mut found = vec![];
    if names.claims(name) {
        let host = names.ingress_host(name);
        let fits = |patterns: &[String]| patterns.iter().any(|pattern| fits_host(pattern, &host));
        // who may have all names of a zone may still not have those that are made for others in it
        let made = |pattern: &&String| **pattern == host || !context.generates(&host);
        let allowed = policy.hosts.as_ref();
        if fits(&policy.reserved_hosts) {
            found.push(format!("the host {host} belongs to the platform (`reservedHosts`); choose another"));
        } else if !allowed.is_none_or(|all| all.iter().filter(made).any(|pattern| fits_host(pattern, &host))) {
            found.push(format!(
                "the host {host} is not one that this repository may have (`hosts`); leave `ingress.{name}.host` out for a \
                 generated one, or ask for it at your platform's operators"
            ));
        }
    }
    if let Some(Certificate::Issuer(issuer)) = entry.tls.as_ref().map(|tls| &tls.certificate)
        && policy.issuers.as_ref().is_some_and(|issuers| !issuers.contains(issuer))
    {
        found.push(format!(
            "certificates of issuer {issuer} are not allowed here (`issuers`); leave `ingress.{name}.tls.issuer` out"
        ));
    }
    found
}

fn program(names: &Names<'_>, program: &Program) -> Vec<String> {
    let policy = &names.context.policy;
    let mut found = vec![];
    for (what, keys, allowed) in
        [("annotation", &program.annotations, &policy.annotations), ("label", &program.labels, &policy.labels)]
    {
        let Some(allowed) = allowed else { continue };
        // others give no meaning to what has no owner
        for key in keys.keys().filter(|key| key.contains(['/', '.'])) {
            if !allowed.iter().any(|pattern| fits_key(pattern, key)) {
                found.push(format!("the {what} {key} is not allowed here (`{what}s`); leave it out"));
            }
        }
    }
    for label in policy.required_labels.iter().flatten().filter(|label| !program.labels.contains_key(*label)) {
        found.push(format!("the label {label} is required (`requiredLabels`); add it under `labels`"));
    }
    let image = names.text(&program.image);
    if let Some(registries) = &policy.registries
        && !registries.iter().any(|registry| is_from(registry, &image))
    {
        let from = registries.join(", ");
        found.push(format!("the image {image} is not from {from} (`registries`); push it there"));
    }
    if policy.require_digest == Some(true) && !image.contains("@sha256:") {
        found.push(format!("the image {image} is not named by digest (`requireDigest`); write {image}@sha256:…"));
    }
    found
}

/// Whether an image is in a registry, or below a path in it. An image without a registry is of Docker Hub.
fn is_from(registry: &str, image: &str) -> bool {
    let first = image.split_once('/').map(|(first, _)| first);
    let full = match first {
        Some(host) if host.contains(['.', ':']) || host == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    };
    full.strip_prefix(registry.trim_end_matches('/')).is_some_and(|rest| rest.starts_with(['/', ':', '@']))
}

fn replicas(context: &Context, scale: &Scale) -> Option<String> {
    let most = context.policy.max_replicas?;
    let wanted = match scale {
        Scale::Fixed(replicas) => *replicas,
        Scale::Auto(auto) => auto.max,
    };
    (wanted > most).then(|| format!("{wanted} replicas are more than the {most} that are allowed (`maxReplicas`)"))
}

fn resources(context: &Context, wanted: &Resources) -> Vec<String> {
    let policy = &context.policy;
    let cpu = above(&wanted.limit_cpu, policy.max_cpu.as_deref(), spec::cpu);
    let memory = above(&wanted.limit_memory, policy.max_memory.as_deref(), spec::bytes);
    let cpu = cpu.map(|most| format!("{} CPU are more than the {most} that are allowed (`maxCpu`)", wanted.limit_cpu));
    let memory = memory.map(|most| {
        format!("{} of memory are more than the {most} that are allowed (`maxMemory`)", wanted.limit_memory)
    });
    cpu.into_iter().chain(memory).collect()
}

fn storage(context: &Context, size: &str) -> Option<String> {
    let most = above(size, context.policy.max_storage.as_deref(), spec::bytes)?;
    Some(format!("{size} of storage are more than the {most} that are allowed (`maxStorage`)"))
}

/// What is allowed, where more is wanted.
fn above<'a>(wanted: &str, most: Option<&'a str>, amount: impl Fn(&str) -> Option<u128>) -> Option<&'a str> {
    let most = most?;
    // what can't be compared is not proven to be allowed
    let fits = amount(wanted).zip(amount(most)).is_some_and(|(wanted, most)| wanted <= most);
    (!fits).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Manifest, render};
    use crate::platform::{Platform, Policy};
    use crate::spec;

    fn rendered(stack: &str, ingress: &str, project: &str, platform: &Platform) -> Manifest {
        let text = format!(
            "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {stack}}}\napps:\n  web: {{image: 'ghcr.io/acme/web:1', \
             ports: {{http: 80}}, replicas: 3, labels: {{team: a, x.y/inject: 'no'}}, annotations: {{prometheus.io/scrape: 'true', \
             io.kubernetes.cri-o.Devices: /dev/kvm}}}}\ningress: {{{ingress}: {{paths: {{/: web}}, tls: {{issuer: private, redirect: false}}}}}}\n"
        );
        let spec = spec::parse(text.as_bytes(), "hks.yaml").unwrap();
        render(&spec, &crate::ident::Revision::new("aaaa"), &Context::new(platform, project, "main", None))
    }

    #[test]
    fn generated_hosts_are_of_one_stack_only() {
        let of = |workspace: &str| Platform {
            domain: "apps.example:8443".into(),
            workspace: (!workspace.is_empty()).then(|| workspace.into()),
            ..Platform::default()
        };
        let names = [
            ("a", "public", "b-c", ""),
            ("a-b", "public", "c", ""),
            ("a", "b", "c", ""),
            ("a", "public", "c", ""),
            ("a", "public", "b", "c"),
            ("a", "public", "c", "other"),
            ("a", "b", "c", "other"),
            ("a-b", "public", "c", "other"),
            ("a", "public", "b-c", "other"),
            ("a", "public", "c", "b.other"),
            ("a", "public", "c", "B.other"),
        ];
        let host = |(stack, ingress, project, workspace): &(&str, &str, &str, &str)| {
            let manifest = rendered(stack, ingress, project, &of(workspace));
            assert!(manifest.named_hosts().is_empty());
            manifest.urls[0].host().to_owned()
        };
        let hosts: std::collections::BTreeSet<_> = names.iter().map(host).collect();
        assert_eq!(hosts.len(), names.len(), "{hosts:?}");
        assert!(hosts.contains("a-c.apps.example") && hosts.contains("a-c-other.apps.example"), "{hosts:?}");
        assert!(hosts.iter().all(|host| spec::is_host(host)), "{hosts:?}");
        let long = "x".repeat(63);
        assert_eq!(host(&("a", "public", &long, &long)).split('.').next().map(str::len), Some(63));
    }

    #[test]
    fn what_is_not_allowed_is_told_with_the_rule() {
        let told = |policy: Policy| {
            let manifest = rendered("a", "public", "b", &Platform { policy, ..Platform::default() });
            manifest.impossible.into_iter().map(|(key, why)| format!("{key}: {why}")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(told(Policy::default()), "");
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let strict = told(Policy {
            issuers: list(&[]),
            annotations: list(&["prometheus.io/*"]),
            labels: list(&[]),
            required_labels: list(&["team", "cost-center"]),
            registries: list(&["registry.example"]),
            require_digest: Some(true),
            max_replicas: Some(2),
            max_cpu: Some("1m".into()),
            max_memory: Some("1Mi".into()),
            ..Policy::default()
        });
        for rule in [
            "issuer private are not allowed here (`issuers`)",
            "annotation io.kubernetes.cri-o.Devices is not allowed here (`annotations`)",
            "label x.y/inject is not allowed here (`labels`)",
            "label cost-center is required (`requiredLabels`)",
            "ghcr.io/acme/web:1 is not from registry.example (`registries`)",
            "not named by digest (`requireDigest`)",
            "3 replicas are more than the 2 that are allowed (`maxReplicas`)",
            "(`maxCpu`) (`apps.web`)",
            "(`maxMemory`) (`apps.web`)",
        ] {
            assert!(strict.contains(rule), "{rule} is not in\n{strict}");
        }
        assert_eq!(strict.lines().count(), 9, "{strict}");
    }

    #[test]
    fn an_image_is_below_whole_parts_of_a_path() {
        for (registry, image, is) in [
            ("ghcr.io/acme", "ghcr.io/acme/web:1", true),
            ("ghcr.io/acme", "ghcr.io/acme-evil/web:1", false),
            ("ghcr.io", "ghcr.io/acme/web@sha256:00", true),
            ("docker.io/library", "nginx:1", true),
            ("docker.io", "acme/web", true),
            ("ghcr.io", "ghcr.io.evil.example/web:1", false),
            ("registry.example:5000", "registry.example:5000/web:1", true),
            ("registry.example", "registry.example:5000/web:1", true),
        ] {
            assert_eq!(is_from(registry, image), is, "{registry} {image}");
        }
    }

    #[test]
    fn more_is_told_with_what_is_allowed() {
        assert_eq!(above("1500m", Some("1"), spec::cpu), Some("1"));
        assert_eq!(above("1", Some("1000m"), spec::cpu), None);
        assert_eq!(above("2Gi", Some("2048Mi"), spec::bytes), None);
        assert_eq!(above("2Gi", None, spec::bytes), None);
    }
}
