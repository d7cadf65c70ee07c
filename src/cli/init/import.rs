//! A compose file and the files that it takes in: read within bounds, translated, and written with what is to be known.

use super::InitArgs;
use crate::cli::output::{BUSY, GOOD, Out, STRONG};
use crate::compose::{self, Failure, Files, Translated, Wishes};
use crate::shell::files;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal as _, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

/// Files that are read, the compose file included.
const MAX_FILES: usize = 64;

/// Makes an hks.yaml from the compose file at `path`.
pub(super) fn import(path: &Path, args: &InitArgs, out: Out) -> Result<ExitCode> {
    let standard = args.file == Path::new("-");
    let mut hidden = BTreeSet::new();
    let mut made = translated(path, args, &hidden)?;
    // several are public only if somebody says so, where somebody can be asked
    if !args.yes && made.public.len() > 1 && std::io::stdin().is_terminal() && path != Path::new("-") {
        hidden = not_public(&made.public, &mut std::io::stdin().lock(), &mut std::io::stderr())?;
        made = translated(path, args, &hidden)?;
    }
    let script = args.secrets.clone().or_else(|| (!standard).then(|| args.file.with_file_name("hks-secrets.sh")));
    if let (Some(script), Some(_)) = (&script, &made.secrets)
        && script.exists()
    {
        bail!("failed to write {}: it is there already; choose another path with --secrets", script.display());
    }
    for section in &made.notes {
        out.say(&format!("{STRONG}{}{STRONG:#}", section.title));
        for line in &section.lines {
            out.say(&format!("{BUSY}!{BUSY:#} {line}"));
        }
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    for name in
        ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"]
    {
        if folder.join(name).exists() {
            out.say(&format!("{BUSY}!{BUSY:#} {name}: is not read; it is usually for development"));
        }
    }
    if standard {
        out.print(made.file.trim_end());
    } else {
        files::write_new(&args.file, &made.file)?;
        out.say(&format!("{GOOD}✓{GOOD:#} {}", args.file.display()));
    }
    match (made.secrets, script) {
        (Some(text), Some(script)) => {
            files::write_private(&script, &text)?;
            let path = script.display();
            out.say(&format!(
                "{GOOD}✓{GOOD:#} {path} sets the secrets: sh {path} PROJECT; it holds passwords, so don't commit it"
            ));
        }
        (Some(_), None) => {
            out.say("  with --secrets PATH, a script is written that sets the secrets to what they were");
        }
        (None, _) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks which of several services are not to be public; all are, unless something else is said.
fn not_public(
    public: &[String],
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> std::io::Result<BTreeSet<String>> {
    let mut hidden = BTreeSet::new();
    for service in public.iter().collect::<BTreeSet<_>>() {
        let question = format!("is {service} meant to be public");
        let answer = super::ask(input, output, &question, "yes", super::flag)?;
        if !answer {
            hidden.insert(service.clone());
        }
    }
    Ok(hidden)
}

/// Reads one file after the other, as they are wanted.
fn translated(path: &Path, args: &InitArgs, hidden: &BTreeSet<String>) -> Result<Translated> {
    let root = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let main = path.file_name().map_or_else(|| "-".to_owned(), |name| name.to_string_lossy().into_owned());
    let mut known = Files::new();
    let text = files::read(path)?;
    let text = String::from_utf8(text).with_context(|| format!("{} is not text", path.display()))?;
    if text.len() > files::MAX_READ {
        bail!("failed to read {}: it is larger than 1 MiB", path.display());
    }
    let name = args.name.clone().or_else(|| compose::name_of(&text)).unwrap_or_else(super::folder_name);
    let name = compose::label(&name, 40);
    known.insert(main.clone(), Ok(text));
    let folder = folder_of(root, &args.file);
    let wishes = Wishes { name: &name, folder: folder.as_deref(), hidden };
    loop {
        match compose::translate(&main, &known, &wishes) {
            Ok(made) => return Ok(made),
            Err(Failure::Refused(why)) => bail!("failed to read {}: {why}", path.display()),
            Err(Failure::Wants(wanted)) => {
                for file in wanted {
                    let read = if known.len() < MAX_FILES {
                        files::beside(root, &file)
                    } else {
                        Err(format!("more than {MAX_FILES} files are not read"))
                    };
                    known.insert(file, read);
                }
            }
        }
    }
}

/// The folder of the compose file, seen from that of hks.yaml, if it is the same or lies below it.
fn folder_of(root: &Path, to: &Path) -> Option<String> {
    let beside = if to == Path::new("-") { Path::new(".") } else { to.parent().unwrap_or(Path::new(".")) };
    let beside = if beside.as_os_str().is_empty() { Path::new(".") } else { beside };
    let (root, beside): (PathBuf, PathBuf) = (root.canonicalize().ok()?, beside.canonicalize().ok()?);
    let below = root.strip_prefix(&beside).ok()?;
    let parts = below.components().map(|part| match part {
        Component::Normal(part) => part.to_str().map(str::to_owned),
        _ => None,
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_can_be_refused() -> std::io::Result<()> {
        let public = ["web".to_owned(), "admin".to_owned(), "api".to_owned()];
        let (mut input, mut output) = (&b"no\nmaybe\nyes\n"[..], vec![]);
        let hidden = not_public(&public, &mut input, &mut output)?;
        assert_eq!(hidden, BTreeSet::from(["admin".to_owned()]));
        assert!(String::from_utf8_lossy(&output).contains("answer yes or no"));
        Ok(())
    }
}
