//! Commands that need no cluster: validate and render.

use super::INVALID;
use super::args::{FileArgs, FileChoice};
use super::output::{BAD, BUSY, GOOD, Out, STRONG};
use crate::ident::{Revision, StackName};
use crate::manifest::{self, Context, Manifest};
use crate::platform::Platform;
use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::files;
use crate::spec::mistake::{self, Mistake};
use crate::spec::{self, Declared, Diagnostic, Document, Selection};
use anyhow::{Context as _, Result};
use ring::digest;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Checks files.
pub(super) fn validate(paths: &[PathBuf], out: Out) -> Result<ExitCode> {
    let mut all = vec![];
    let (mut valid, mut wrong) = (0, 0);
    for path in files::stacks(paths)? {
        let source = files::read(&path)?;
        let document = files::document(&path, source.clone());
        let checked = spec::check(&document.source, &document.path, &document.files, Selection::Any);
        let mistakes = mistakes(&checked);
        if !out.json {
            tell(&source, &checked, out);
        }
        wrong += mistakes.len();
        all.extend(mistakes.iter().chain(&checked.warnings).cloned());
        if let Ok(spec) = checked.spec {
            valid += 1;
            let name = spec.map(|spec| spec.name.to_string()).unwrap_or_default();
            out.say(&format!("{GOOD}✓{GOOD:#} {}: Stack {name}", path.display()));
        }
    }
    if out.json {
        out.print(&serde_json::to_string_pretty(&all)?);
    }
    let counted = |count: usize, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    let warnings = all.len() - wrong;
    if warnings > 0 {
        out.say(&format!("{BUSY}{}{BUSY:#}", counted(warnings, "warning")));
    }
    if wrong > 0 {
        out.say(&format!("{BAD}{}{BAD:#}", counted(wrong, "mistake")));
        return Ok(ExitCode::from(INVALID));
    }
    if valid == 0 {
        out.say("no hks.yaml found; name a file or a folder that holds one");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints mistakes and warnings with the lines they are in, and where more is said of them.
fn tell(source: &[u8], checked: &spec::Checked, out: Out) {
    let text = String::from_utf8_lossy(source);
    let found: Vec<_> = mistakes(checked).iter().chain(&checked.warnings).collect();
    for diagnostic in &found {
        out.say(&spec::snippet(&text, diagnostic));
    }
    if let Some(first) = found.first() {
        out.say(&format!("`hks explain {}` shows it wrong and right", first.code.name()));
    }
}

fn mistakes(checked: &spec::Checked) -> &[Diagnostic] {
    checked.spec.as_ref().err().map_or(&[], Vec::as_slice)
}

/// A file that is valid, and which of its environments is meant.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The file, with the tag that it is deployed as.
    pub document: Document,
    /// The commit that it is of, or a digest of it.
    pub revision: Revision,
    /// The environment, in a file that has some.
    pub environment: Option<String>,
}

impl Chosen {
    /// What rendering needs to know, and the objects.
    pub fn render(&self, platform: &Platform, project: &str) -> Result<(Context, Manifest), Failure> {
        let context = Context::new(platform, project, "", self.environment.as_deref());
        let read = spec::read(&self.document.source, &self.document.path, &self.document.files, self.selection());
        // it was read before: only the platform's settings are new
        let spec = read.ok().flatten().ok_or_else(|| Failure::last("failed to read the file a second time"))?;
        let manifest = manifest::render(&spec, &self.revision, &context);
        Ok((context, manifest))
    }

    fn selection(&self) -> Selection<'_> {
        let tag = self.document.tag.as_deref();
        match &self.environment {
            Some(name) => Selection::Named { name, tag },
            None => Selection::For { branch: "", tag, project: "" },
        }
    }
}

/// A file that is valid, before its environment is chosen.
#[derive(Debug)]
pub(super) struct Checked {
    document: Document,
    revision: Revision,
    /// The Stack.
    pub stack: StackName,
}

/// Reads a file; `None` if it is invalid, which has then been told.
pub(super) fn check(file: &FileChoice, out: Out) -> Result<Option<Checked>, Failure> {
    let document = Document { tag: file.tag.clone(), ..files::document(&file.path, files::read(&file.path)?) };
    let checked = spec::check(&document.source, &document.path, &document.files, Selection::Any);
    tell(&document.source, &checked, out);
    if checked.spec.is_err() {
        return Ok(None);
    }
    let revision = revision(&file.path, &document.source);
    let Some(stack) = spec::name_of(&document.source) else { return Err(Failure::last("the file names no Stack")) };
    Ok(Some(Checked { document, revision, stack }))
}

impl Checked {
    /// Chooses the environment: the named one, or the only one that is meant for `project` and for the `branch` that the
    /// project's daemon follows, if that is known. Several are asked for.
    pub fn choose(self, file: &FileChoice, project: &str, branch: Option<&str>, out: Out) -> Result<Chosen, Failure> {
        let declared = spec::environments_of(&self.document.source);
        let environment = match meant(&declared, file.environment.as_deref(), project, branch)? {
            Meant::File => None,
            Meant::One(one) => Some(one),
            Meant::Several(several) => Some(ask(&several, out)?),
        };
        if let (Some(Declared { name, tag: Some(pattern), .. }), None) = (&environment, &file.tag) {
            let message = format!("environment {name} follows tags ({pattern}); say which one it is with --tag");
            return Err(Failure::new(FailureKind::Usage, message));
        }
        let Self { document, revision, .. } = self;
        Ok(Chosen { document, revision, environment: environment.map(|one| one.name) })
    }
}

/// Which environment is meant.
#[derive(Debug, PartialEq, Eq)]
enum Meant {
    /// The file has none.
    File,
    /// This one.
    One(Declared),
    /// Somebody has to say which.
    Several(Vec<Declared>),
}

/// Which of the environments are meant for a project: the one that was named, or those that don't name another project, and
/// of these the one that the daemon deploys there.
fn meant(declared: &[Declared], named: Option<&str>, project: &str, branch: Option<&str>) -> Result<Meant, Failure> {
    let all = || declared.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    let refuse = |message: String| Err(Failure::new(FailureKind::Usage, message));
    if declared.is_empty() {
        return Ok(Meant::File);
    }
    if let Some(named) = named {
        return match declared.iter().find(|one| one.name == named) {
            Some(one) => Ok(Meant::One(one.clone())),
            None => refuse(format!("the file has no environment {named}; there are: {}", all())),
        };
    }
    let fits = |one: &&Declared| one.project.as_deref().is_none_or(|wanted| wanted == project);
    let fitting: Vec<_> = declared.iter().filter(fits).cloned().collect();
    let followed: Vec<_> = fitting.iter().filter(|one| branch.is_some_and(|branch| one.follows(branch))).collect();
    if let [one] = followed.as_slice() {
        return Ok(Meant::One((*one).clone()));
    }
    match fitting.as_slice() {
        [one] => Ok(Meant::One(one.clone())),
        [] => refuse(format!("no environment of the file is meant for project {project}; name one with -e: {}", all())),
        _ => Ok(Meant::Several(fitting)),
    }
}

/// Asks which one, on a terminal.
fn ask(several: &[Declared], out: Out) -> Result<Declared, Failure> {
    let names = several.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    let refuse = || Failure::new(FailureKind::Usage, format!("several environments fit: {names}; name one with -e"));
    if !std::io::stdin().is_terminal() {
        return Err(refuse());
    }
    out.say(&format!("which environment? {names}"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    several.iter().find(|one| one.name == line.trim()).cloned().ok_or_else(refuse)
}

/// The commit that a file is of, if it is in a repository and unchanged there; else a digest of it.
fn revision(path: &Path, source: &[u8]) -> Revision {
    let committed = || -> Result<Revision> {
        let repository = git2::Repository::discover(path.parent().unwrap_or(Path::new(".")))?;
        let folder = repository.workdir().context("bare")?.canonicalize()?;
        let inside = path.canonicalize()?.strip_prefix(folder)?.to_owned();
        let head = repository.head()?.peel_to_commit()?;
        let blob = head.tree()?.get_path(&inside)?.to_object(&repository)?.peel_to_blob()?;
        anyhow::ensure!(blob.content() == source, "changed");
        Ok(Revision::new(head.id().to_string()))
    };
    committed().unwrap_or_else(|_| {
        let digest = digest::digest(&digest::SHA256, source);
        Revision::new(hex::encode(&digest.as_ref()[..20]))
    })
}

/// Tells what a key means.
pub(super) fn explain(path: &str, out: Out) -> Result<ExitCode> {
    if let Some(mistake) = mistake::explain(path) {
        return explain_mistake(mistake, out);
    }
    let told = spec::explain::explain(path).map_err(|message| match mistake::similar(path) {
        Some(code) => anyhow::anyhow!("failed to explain: {message}; the nearest code is `{code}`"),
        None => anyhow::anyhow!("failed to explain: {message}"),
    })?;
    if out.json {
        out.print(&serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    let line = |name: &str, text: &str| out.print(&format!("{STRONG}{name:<9}{STRONG:#}{text}"));
    if !told.path.is_empty() {
        line("key", &format!("{}{}", told.path, if told.required { " (required)" } else { "" }));
    }
    line("takes", &told.takes);
    line("meaning", &told.description);
    if let Some(default) = &told.default {
        line("default", default);
    }
    line("becomes", &told.objects);
    if !told.path.is_empty() {
        line("example", &told.example);
    }
    let width = told.keys.iter().map(|(key, ..)| key.len()).max().unwrap_or_default();
    for (index, (key, takes, meaning)) in told.keys.iter().enumerate() {
        let lead = if index == 0 { "below" } else { "" };
        line(lead, &format!("{key:<width$}  {meaning} ({takes})"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what a code of a mistake means, with an example in which the lines are marked that make the difference.
fn explain_mistake(mistake: &Mistake, out: Out) -> Result<ExitCode> {
    if out.json {
        out.print(&serde_json::to_string_pretty(mistake)?);
        return Ok(ExitCode::SUCCESS);
    }
    out.print(&format!("{STRONG}{}{STRONG:#}\n{} {}", mistake.code, mistake.meaning, mistake.text));
    let Some(example) = &mistake.example else { return Ok(ExitCode::SUCCESS) };
    let (wrong, right) = example.differences();
    for (title, file, marked, mark, style) in
        [("wrong", &example.wrong, wrong, '-', BAD), ("right", &example.right, right, '+', GOOD)]
    {
        out.print(&format!("\n{STRONG}{title}{STRONG:#}"));
        for (at, line) in file.lines().enumerate() {
            if marked.contains(&at) {
                out.print(&format!("{style}{mark} {line}{style:#}"));
            } else {
                out.print(&format!("  {line}"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the objects of a file.
pub(super) fn render(args: &FileArgs, out: Out) -> Result<ExitCode, Failure> {
    let platform = args.platform.over(Platform::default())?;
    let Some(checked) = check(&args.file, out)? else { return Ok(ExitCode::from(INVALID)) };
    let chosen = checked.choose(&args.file, &args.namespace, None, out)?;
    let (_, manifest) = chosen.render(&platform, &args.namespace)?;
    let bodies: Vec<_> = manifest.objects.iter().map(|object| &object.body).collect();
    if out.json {
        out.print(&serde_json::to_string_pretty(&bodies)?);
    } else {
        for body in bodies {
            let text = serde_saphyr::to_string(body).map_err(|error| Failure::last(error.to_string()))?;
            out.print(&format!("---\n{text}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Vec<Declared> {
        spec::environments_of(
            b"environments:\n  staging: {branch: main}\n  production: {tag: v*, project: shop}\n  other: {branch: main, project: other}\n",
        )
    }

    fn name(meant: Result<Meant, Failure>) -> String {
        match meant {
            Ok(Meant::One(one)) => one.name,
            Ok(Meant::Several(several)) => format!("{} fit", several.len()),
            Ok(Meant::File) => "the file".into(),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn an_environment_is_never_guessed() {
        assert_eq!(name(meant(&declared(), None, "shop", None)), "2 fit");
        assert_eq!(name(meant(&declared(), None, "blog", None)), "staging", "the others are meant for other projects");
        assert_eq!(name(meant(&declared(), None, "shop", Some("main"))), "staging", "what the daemon deploys there");
        assert_eq!(name(meant(&declared(), None, "shop", Some("next"))), "2 fit");
        assert_eq!(name(meant(&declared(), Some("other"), "shop", None)), "other");
        assert_eq!(
            name(meant(&declared(), Some("test"), "shop", None)),
            "the file has no environment test; there are: other, production, staging"
        );
        let elsewhere = &declared()[..2];
        let refusal = name(meant(elsewhere, None, "blog", None));
        assert_eq!(
            refusal,
            "no environment of the file is meant for project blog; name one with -e: other, production"
        );
        assert_eq!(name(meant(&[], Some("test"), "shop", None)), "the file");
    }
}
