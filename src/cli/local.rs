//! Commands that need no cluster: validate and render.

use super::INVALID;
use super::output::{BAD, GOOD, Out, STRONG};
use crate::ident::Revision;
use crate::manifest::{self, Context, Manifest};
use crate::shell::files;
use crate::spec::{self, Diagnostic, Document, Selection};
use anyhow::{Context as _, Result};
use ring::digest;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Checks files.
pub(super) fn validate(paths: &[PathBuf], out: Out) -> Result<ExitCode> {
    let mut all = vec![];
    let mut valid = 0;
    for path in files::stacks(paths)? {
        let source = files::read(&path)?;
        let document = files::document(&path, source.clone());
        match spec::read(&document.source, &document.path, &document.files, Selection::Any) {
            Ok(spec) => {
                valid += 1;
                let name = spec.map(|spec| spec.name.to_string()).unwrap_or_default();
                out.say(&format!("{GOOD}✓{GOOD:#} {}: Stack {name}", path.display()));
            }
            Err(found) => {
                if !out.json {
                    tell(&source, &found, out);
                }
                all.extend(found);
            }
        }
    }
    if out.json {
        out.print(&serde_json::to_string_pretty(&all)?);
    }
    if all.is_empty() && valid > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if valid == 0 && all.is_empty() {
        out.say("no hks.yaml found; name a file or a folder that holds one");
        return Ok(ExitCode::FAILURE);
    }
    let files = if all.len() == 1 { "1 mistake" } else { &format!("{} mistakes", all.len()) };
    out.say(&format!("{BAD}{files}{BAD:#}"));
    Ok(ExitCode::from(INVALID))
}

/// Prints mistakes with the lines they are in.
pub(super) fn tell(source: &[u8], found: &[Diagnostic], out: Out) {
    let text = String::from_utf8_lossy(source);
    for diagnostic in found {
        out.say(&spec::snippet(&text, diagnostic));
    }
}

/// Reads and renders a file; `None` if it is invalid, which has then been told.
pub(super) fn manifest(path: &Path, context: &Context, out: Out) -> Result<Option<(Document, Manifest)>> {
    let document = files::document(path, files::read(path)?);
    let selection = context.environment.as_deref().map_or(Selection::Any, Selection::Named);
    match spec::read(&document.source, &document.path, &document.files, selection) {
        Ok(Some(spec)) => {
            let manifest = manifest::render(&spec, &revision(path, &document.source), context);
            Ok(Some((document, manifest)))
        }
        Ok(None) => {
            let name = context.environment.as_deref().unwrap_or_default();
            anyhow::bail!("failed to find environment {name} in {}", path.display())
        }
        Err(found) => {
            tell(&document.source, &found, out);
            Ok(None)
        }
    }
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
    let told = spec::explain::explain(path).map_err(|message| anyhow::anyhow!("failed to explain: {message}"))?;
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

/// Prints the objects of a file.
pub(super) fn render(path: &Path, context: &Context, out: Out) -> Result<ExitCode> {
    let Some((_, manifest)) = manifest(path, context, out)? else { return Ok(ExitCode::from(INVALID)) };
    let bodies: Vec<_> = manifest.objects.iter().map(|object| &object.body).collect();
    if out.json {
        out.print(&serde_json::to_string_pretty(&bodies)?);
    } else {
        for body in bodies {
            out.print(&format!("---\n{}", serde_saphyr::to_string(body)?));
        }
    }
    Ok(ExitCode::SUCCESS)
}
