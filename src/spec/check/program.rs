//! What runs in a pod: image, command, environment, files, certificates and who it runs as.

use super::super::budget::{self, REFERENCE};
use super::super::diagnostic::Code;
use super::super::model::{App, Part, Program, Security, Template};
use super::super::place::Path;
use super::super::reference::{Site, known, shape};
use super::super::report::{below, root};
use super::super::{credential, image, template, wire};
use super::{Check, each};
use std::collections::BTreeMap;

/// Prefixes of labels and annotations that have a meaning to the cluster or to hks; subdomains included.
const RESERVED: [&str; 9] = [
    "kubernetes.io",
    "k8s.io",
    "hks.hexabase.ai",
    "loft.sh",
    "cncf.io",
    "projectcalico.org",
    "cilium.io",
    "istio.io",
    "openshift.io",
];

impl Check<'_, '_> {
    /// The app whose image and environment `name` has: itself, or the one that `from` names.
    pub(super) fn origin<'w>(&mut self, at: &Path, name: &'w str, wire: &'w wire::App) -> Option<&'w str>
    where
        Self: 'w,
    {
        let Some(from) = &wire.from else { return Some(name) };
        if from.0 == name {
            let message = format!("`{name}` takes its image from itself");
            self.report.value(Code::UnknownApp, &below(at, &["from"]), &message, "name another app, or write `image`");
            return None;
        }
        let found = self.stack.apps.0.contains_key(&from.0);
        let at = below(at, &["from"]);
        if !found {
            self.unknown_app(&at, &from.0);
            return None;
        }
        Some(from.0.as_str())
    }

    /// What runs in the pods of app `name`.
    pub(super) fn program(
        &mut self,
        name: &str,
        wire: &wire::App,
        certificates: &BTreeMap<String, String>,
        others: &BTreeMap<String, App>,
    ) -> Option<Program> {
        let at = root(&["apps", name]);
        let given =
            [("image", wire.image.is_some()), ("from", wire.from.is_some()), ("external", wire.external.is_some())];
        let one = self.exactly_one(&at, &given);
        let origin = self.origin(&at, name, wire);
        let stack = self.stack;
        let base = origin.filter(|origin| *origin != name).and_then(|origin| Some((origin, stack.apps.0.get(origin)?)));
        if let Some((origin, base)) = base
            && base.image.is_none()
            && !self.broken.touches(&["apps", origin])
        {
            let message = format!("the app `{origin}` has no image of its own");
            self.report.value(Code::UnknownApp, &below(&at, &["from"]), &message, "name an app that has one");
            return None;
        }
        // its own mistakes are told where they stand
        let inherited = base.map(|(origin, _)| others.get(origin).map(|app| &app.program));
        let image = match inherited {
            Some(base) => base.map(|base| (base.image.clone(), base.pull_secret.clone())),
            None if one => self.image(&below(&at, &["image"]), wire.image.as_ref()),
            None => None,
        };
        let command = self.list(&below(&at, &["command"]), wire.command.len());
        let args = self.list(&below(&at, &["args"]), wire.args.len());
        let own = self.env(&at, &wire.env);
        let more = self.contents(&at, &wire.files);
        if !self.report.affords_copy(inherited.flatten().map_or(0, size), &at) {
            return None;
        }
        let inherits = match inherited {
            Some(base) => base.map(|base| (base.env.clone(), base.files.clone(), base.certificates.clone())),
            None => Some(Default::default()),
        };
        let trusted = self.trusted(&at, &wire.ca_certificates, certificates);
        let labels =
            self.free(&at, "labels", wire.labels.0.iter().map(|(key, value)| (key, value.0.clone())).collect());
        let written = wire.annotations.0.keys();
        let written = written
            .filter_map(|key| Some((key, self.report.places.text(&below(&at, &["annotations", key]))?.to_owned())));
        let written = written.collect();
        let annotations = self.free(&at, "annotations", written);
        let user = &wire.security;
        if user.run_as_non_root == Some(true) && user.run_as_user == Some(0) {
            let message = "user 0 is root, which `runAsNonRoot` refuses";
            self.report.value(
                Code::Contradiction,
                &below(&at, &["security", "runAsUser"]),
                message,
                "keep one of them",
            );
            return None;
        }
        let (image, pull_secret) = image?;
        let (mut env, mut files, of_base) = inherits?;
        env.extend(own?);
        files.extend(more?);
        self.nested(&below(&at, &["files"]), &files);
        let certificates = if wire.ca_certificates.is_empty() { of_base } else { trusted? };
        Some(Program {
            image,
            pull_secret,
            command: command?,
            args: args?,
            env,
            files,
            certificates,
            security: security(&wire.security),
            labels: labels?,
            annotations: annotations?,
        })
    }

    pub(super) fn unknown_app(&mut self, at: &Path, name: &str) {
        if !self.broken.hides(&["apps"]) {
            let names = self.stack.apps.0.keys().map(String::as_str);
            let help = self.report.budget.hint(name, names, "declare it under `apps`");
            self.report.value(Code::UnknownApp, at, &format!("`apps` has no `{name}`"), &help);
        }
    }

    /// The image and the pull secret of its registry.
    fn image(&mut self, at: &Path, wire: Option<&wire::Image>) -> Option<(Template, Option<String>)> {
        if self.is_broken(at) {
            return None;
        }
        let (text, at, secret) = match wire? {
            wire::Image::Text(text) => (text.0.clone(), at.clone(), None),
            wire::Image::Parts(parts) => {
                let repository = parts.repository.as_ref()?;
                let named = below(at, &["repository"]);
                if image::split(repository).1.is_some() || repository.contains('@') {
                    let help = "write the tag under `tag`, the digest under `digest`";
                    self.report.value(Code::InvalidImage, &named, "the repository contains a tag or a digest", help);
                    return None;
                }
                let registry = match &parts.registry {
                    Some(name) => Some(self.registry(&below(at, &["registry"]), &name.0, repository, &named)?),
                    None => None,
                };
                let server = registry.as_ref().map(|r| format!("{}/", r.0)).unwrap_or_default();
                let tag = parts.tag.as_ref().map(|t| format!(":{}", t.0)).unwrap_or_default();
                let digest = parts.digest.as_ref().map(|d| format!("@{}", d.0)).unwrap_or_default();
                let at = if parts.tag.is_some() { below(at, &["tag"]) } else { named };
                (format!("{server}{repository}{tag}{digest}"), at, registry.and_then(|r| r.1))
            }
        };
        let template = self.template(&text, &at, Site::Name)?;
        let shape = shape(&template, |_| credential::REFERENCE.to_string());
        if let Some((message, help)) = image::complaint(image::split(&shape)) {
            self.report.value(Code::InvalidImage, &at, message, help);
            return None;
        }
        if let Some((message, help)) = image::moving(image::split(&shape)) {
            self.report.warn(Code::MovingTag, &at, &message, help);
        }
        Some((template, secret))
    }

    /// Server and pull secret.
    fn registry(&mut self, at: &Path, name: &str, repository: &str, named: &Path) -> Option<(String, Option<String>)> {
        let Some(registry) = self.stack.registries.0.get(name) else {
            if !self.broken.hides(&["registries"]) {
                let declared = self.stack.registries.0.keys().map(String::as_str);
                let help = self.report.budget.hint(name, declared, "declare it under `registries`");
                self.report.value(Code::UnknownRegistry, at, &format!("`registries` has no `{name}`"), &help);
            }
            return None;
        };
        if image::names_host(repository) {
            let help = "leave out the host, or leave out `registry`";
            self.report.value(Code::InvalidImage, named, "the repository names a host beside its registry", help);
            return None;
        }
        Some((registry.server.as_ref()?.0.clone(), registry.secret.as_ref().map(|secret| secret.0.clone())))
    }

    pub(super) fn env(
        &mut self,
        owner: &Path,
        wire: &wire::Map<wire::EnvName, wire::Scalar>,
    ) -> Option<BTreeMap<String, Template>> {
        let mut at = below(owner, &["env"]);
        each(&wire.0, |name, _| {
            at.push(name.to_owned());
            if name.starts_with("HKS_") {
                self.report.key(Code::InvalidName, &at, &format!("`{name}` is reserved: `HKS_…`"), "rename it");
            }
            let value = self.variable(name, &at);
            at.pop();
            value
        })
    }

    /// The value of a variable: no password, and no longer than a program can be given.
    fn variable(&mut self, name: &str, at: &Path) -> Option<Template> {
        let raw = self.report.places.text(at)?;
        let literal = || template::split(raw).map(|pieces| template::literal(&pieces)).unwrap_or_default();
        if let Some(kind) = credential::named(name, literal) {
            let message = format!("`{name}` holds {kind} in plain text");
            let help = "refer to `${secrets.…}`; what is no secret may come from `params`";
            self.report.value(Code::PlaintextCredential, at, &message, help);
            return None;
        }
        let value = self.process(at)?;
        self.fits(at, name.len() + 1, &value).then_some(value)
    }

    /// Whether a program can be given a text, with `more` bytes before it: Linux takes 128 KiB in one argument or variable,
    /// with the NUL that ends it (`MAX_ARG_STRLEN`, execve(2)).
    pub(super) fn fits(&mut self, at: &Path, more: usize, template: &Template) -> bool {
        const MOST: usize = 128 * 1024 - 1;
        let size = more + shape(template, |_| String::new()).len();
        if size > MOST {
            let message = format!("{size} bytes are more than one variable or argument can have");
            let help = "128 KiB reach a program; put longer texts into `files`";
            self.report.value(Code::OutOfRange, at, &message, help);
        }
        size <= MOST
    }

    /// The files of an app by path.
    fn contents(
        &mut self,
        owner: &Path,
        wire: &wire::Map<wire::FilePath, wire::File>,
    ) -> Option<BTreeMap<String, Template>> {
        /// Kubernetes refuses objects above 1 MiB.
        const MOST: usize = 512 * 1024;
        let files = each(&wire.0, |path, file| {
            let at = below(owner, &["files", path]);
            self.container_path(&at, path);
            if !self.exactly_one(&at, &[("text", file.text.is_some()), ("source", file.source.is_some())]) {
                return None;
            }
            if let Some(source) = &file.source {
                let at = below(&at, &["source"]);
                let text = self.file(&at, source)?;
                if let Some(kind) = self.report.budget.credential(&source.0, &text) {
                    let help = "keep it in a secret and refer to it in `env`";
                    self.report.value(Code::PlaintextCredential, &at, &format!("{kind} in plain text"), help);
                    return None;
                }
                return Some(Template::text(text));
            }
            let at = below(&at, &["text"]);
            self.template(file.text.as_ref()?, &at, Site::Public)
        })?;
        let size: usize = files.values().map(|file| shape(file, |_| String::new()).len()).sum();
        if size > MOST {
            let message = format!("the files of an app have {} KiB, at most 512 are allowed", size / 1024);
            self.report.key(Code::OutOfRange, &below(owner, &["files"]), &message, "put large files into the image");
            return None;
        }
        Some(files)
    }

    /// No file may be below another one, those of the app included that the program is taken from.
    fn nested(&mut self, at: &Path, files: &BTreeMap<String, Template>) {
        for path in files.keys() {
            if let Some(above) = above(path, files) {
                let message = format!("`{above}` is a file: `{path}` can't be below it");
                self.report.key(Code::Contradiction, &below(at, &[path]), &message, "choose another path");
            }
        }
    }

    /// A path where something can be put into a container.
    pub(super) fn container_path(&mut self, at: &Path, path: &str) {
        if path.split('/').any(|part| part == "." || part == "..") {
            let help = "write it without `.` and `..`";
            self.report.key(Code::InvalidPath, at, &format!("`{path}` is not a plain absolute path"), help);
        }
        let system = ["/proc", "/sys", "/dev", "/hks-certificates"];
        if path == "/" || system.iter().any(|system| path == *system || path.starts_with(&format!("{system}/"))) {
            self.report.key(Code::InvalidPath, at, &format!("nothing can be put at `{path}`"), "choose another path");
        }
    }

    /// Whether a text holds no credential; says so if it does.
    pub(super) fn innocent(&mut self, at: &Path, text: &str) -> bool {
        let Some(kind) = credential::find(text) else { return true };
        self.report.value(Code::PlaintextCredential, at, &format!("{kind} in plain text"), "keep it in a secret");
        false
    }

    /// A text that is known before anything is deployed: what the file itself says.
    pub(super) fn plain(&mut self, at: &Path, text: &str) -> Option<String> {
        let text = known(&self.template(text, at, Site::Known)?);
        self.innocent(at, &text).then_some(text)
    }

    fn trusted(
        &mut self,
        owner: &Path,
        names: &[wire::Label],
        certificates: &BTreeMap<String, String>,
    ) -> Option<Vec<String>> {
        let found: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let known = &self.stack.certificates.0;
                if !known.contains_key(&name.0) && !self.broken.hides(&["certificates"]) {
                    let at = below(owner, &["caCertificates", &index.to_string()]);
                    let names = known.keys().map(String::as_str);
                    let help = self.report.budget.hint(&name.0, names, "declare it under `certificates`");
                    let message = format!("`certificates` has no `{}`", name.0);
                    self.report.value(Code::UnresolvedReference, &at, &message, &help);
                }
                let text = certificates.get(&name.0)?;
                self.report.affords_copy(budget::text(text.len()), owner).then(|| text.clone())
            })
            .collect();
        found.into_iter().collect()
    }

    /// Labels or annotations: none that the cluster or hks gives a meaning.
    fn free(&mut self, owner: &Path, section: &str, given: Vec<(&String, String)>) -> Option<BTreeMap<String, String>> {
        let mut kept = BTreeMap::new();
        for (key, value) in given {
            let prefix = key.split_once('/').map(|(prefix, _)| prefix).unwrap_or_default();
            let taken = |reserved: &str| prefix == reserved || prefix.ends_with(&format!(".{reserved}"));
            if RESERVED.iter().any(|reserved| taken(reserved)) {
                let at = below(owner, &[section, key]);
                self.report.key(
                    Code::ReservedKey,
                    &at,
                    &format!("`{prefix}/…` is reserved"),
                    "use a prefix of your own",
                );
                return None;
            }
            let value = self.plain(&below(owner, &[section, key]), &value)?;
            if !self.report.affords_copy(budget::text(value.len()), owner) {
                return None;
            }
            kept.insert(key.clone(), value);
        }
        Some(kept)
    }
}

/// The outermost one of `paths` that `path` is below.
pub(super) fn above<'p, T>(path: &'p str, paths: &BTreeMap<String, T>) -> Option<&'p str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at)).find(|folder| paths.contains_key(*folder))
}

/// About how many bytes a program takes.
pub(super) fn size(program: &Program) -> usize {
    let template = |template: &Template| {
        let part = |part: &Part| if let Part::Text(text) = part { 2 * text.len() } else { REFERENCE };
        budget::text(0) + template.0.iter().map(part).sum::<usize>()
    };
    let named = |(name, value): (&String, &Template)| name.len() + template(value);
    let texts = program.labels.iter().chain(&program.annotations).flat_map(|(key, value)| [key, value]);
    program.env.iter().chain(&program.files).map(named).sum::<usize>()
        + program.command.iter().chain(&program.args).map(template).sum::<usize>()
        + program.certificates.iter().chain(texts).map(|text| budget::text(text.len())).sum::<usize>()
}

fn security(wire: &wire::Security) -> Security {
    let mut capabilities: Vec<_> = wire.capabilities.clone();
    capabilities.sort_unstable();
    capabilities.dedup();
    Security {
        user: wire.run_as_user,
        group: wire.run_as_group,
        fs_group: wire.fs_group,
        non_root: wire.run_as_non_root.unwrap_or(false),
        read_only: wire.read_only_root_filesystem.unwrap_or(false),
        capabilities: capabilities.into_iter().map(|capability| capability.name().to_owned()).collect(),
    }
}
