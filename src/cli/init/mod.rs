//! `hks init`: a first hks.yaml, from a few questions or from a compose file.

mod import;

use super::output::{GOOD, Out};
use crate::compose::{HEAD, label};
use crate::shell::files;
use crate::spec;
use anyhow::{Result, bail};
use std::io::{BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `hks init` is asked to do.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Make it from this compose file, with the files that it includes, and `.env` beside it; what can't be carried over is told.
    #[arg(long, value_name = "FILE")]
    from_compose: Option<PathBuf>,
    /// Where the script is written that sets the secrets of the compose file; by default hks-secrets.sh beside hks.yaml.
    #[arg(long, value_name = "PATH", requires = "from_compose")]
    secrets: Option<PathBuf>,
    /// Name of the Stack; by default that of the folder.
    #[arg(long)]
    name: Option<String>,
    /// Where it is written, or `-` for standard output. A file that is there is never overwritten.
    #[arg(long, value_name = "PATH", default_value = "hks.yaml")]
    file: PathBuf,
    /// Take the defaults instead of asking.
    #[arg(long, short)]
    yes: bool,
}

/// Writes a first hks.yaml.
pub(super) fn init(args: &InitArgs, out: Out) -> Result<ExitCode> {
    let standard = args.file == Path::new("-");
    if !standard && args.file.exists() {
        bail!("failed to write {}: it is there already; choose another path with --file", args.file.display());
    }
    if let Some(path) = &args.from_compose {
        return import::import(path, args, out);
    }
    let name = label(&args.name.clone().unwrap_or_else(folder_name), 40);
    let defaults = Answers { name, ..Answers::default() };
    let ask = !args.yes && std::io::stdin().is_terminal();
    let answers =
        if ask { questions(&mut std::io::stdin().lock(), &mut std::io::stderr(), defaults)? } else { defaults };
    let text = first_file(&answers);
    // whatever was answered, the first file is a good one
    if let Err(found) = spec::parse(text.as_bytes(), "hks.yaml") {
        let first = found.first().map(ToString::to_string).unwrap_or_default();
        bail!("failed to make a valid hks.yaml: {first}\n{text}");
    }
    if standard {
        out.print(text.trim_end());
    } else {
        files::write_new(&args.file, &text)?;
        out.say(&format!("{GOOD}✓{GOOD:#} {}; next: hks validate, hks diff -n PROJECT", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn folder_name() -> String {
    let folder =
        std::env::current_dir().ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    folder.unwrap_or_else(|| "app".to_owned())
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
struct Answers {
    name: String,
    image: String,
    port: u16,
    health: String,
    database: bool,
    cache: bool,
    public: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            name: "app".into(),
            image: "registry.example/team/web:1.0.0".into(),
            port: 8080,
            health: "/".into(),
            database: true,
            cache: false,
            public: true,
        }
    }
}

/// Asks, one line each; an empty answer takes what stands in brackets, and so does everything after the end of input.
fn questions(input: &mut impl BufRead, output: &mut impl Write, mut answers: Answers) -> std::io::Result<Answers> {
    let word = |yes: bool| if yes { "yes" } else { "no" };
    answers.name = ask(input, output, "name of the Stack", &answers.name.clone(), |text| Ok(label(text, 40)))?;
    answers.image = ask(input, output, "image", &answers.image.clone(), |text| {
        let tagged = text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if tagged && !text.contains(char::is_whitespace) { Ok(text.to_owned()) } else { Err("write repository:tag") }
    })?;
    answers.port = ask(input, output, "port that it listens on", &answers.port.to_string(), |text| {
        text.parse().ok().filter(|port| *port > 0).ok_or("write a number from 1 to 65535")
    })?;
    answers.health = ask(input, output, "path that answers when it is ready", &answers.health.clone(), |text| {
        let path = text.starts_with('/') && !text.contains(char::is_whitespace);
        if path { Ok(text.to_owned()) } else { Err("start it with /") }
    })?;
    answers.database = ask(input, output, "a PostgreSQL database", word(answers.database), flag)?;
    answers.cache = ask(input, output, "a Redis cache", word(answers.cache), flag)?;
    answers.public = ask(input, output, "a public URL", word(answers.public), flag)?;
    Ok(answers)
}

fn flag(text: &str) -> Result<bool, &'static str> {
    match text.to_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err("answer yes or no"),
    }
}

fn ask<T>(
    input: &mut impl BufRead,
    output: &mut impl Write,
    question: &str,
    default: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> std::io::Result<T> {
    loop {
        write!(output, "{question} [{default}]: ")?;
        output.flush()?;
        let mut line = String::new();
        let ended = input.read_line(&mut line)? == 0;
        let text = if line.trim().is_empty() { default } else { line.trim() };
        match read(text) {
            Ok(value) => return Ok(value),
            Err(why) if ended => return Err(std::io::Error::other(why)),
            Err(why) => writeln!(output, "  {why}")?,
        }
    }
}

fn first_file(answers: &Answers) -> String {
    let Answers { name, image, port, health, .. } = answers;
    let mut text = format!("{HEAD}\napiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata:\n  name: {name}\n");
    if answers.database {
        text.push_str(
            "\ndatabases:\n  main: # ready before the app starts; its password is made once and kept in the project\n    engine: \
             postgres\n    version: \"16\"\n    storage: {size: 5Gi} # may grow, never shrink\n",
        );
    }
    if answers.cache {
        text.push_str("\ncaches:\n  cache:\n    engine: redis\n    version: \"7\"\n    maxMemory: 128Mi\n    eviction: allkeys-lru\n");
    }
    let _ = std::fmt::Write::write_fmt(
        &mut text,
        format_args!(
            "\napps:\n  web:\n    image: {image} # a tag such as ${{git.shortSha}} is the commit that is deployed\n    ports: {{http: \
             {port}}}\n"
        ),
    );
    if answers.database || answers.cache {
        text.push_str("    env:\n");
    }
    if answers.database {
        text.push_str("      DATABASE_URL: ${databases.main.url}\n");
    }
    if answers.cache {
        text.push_str("      REDIS_URL: ${caches.cache.url}\n");
    }
    let _ = std::fmt::Write::write_fmt(
        &mut text,
        format_args!(
            "    replicas: 2\n    resources:\n      requests: {{cpu: 100m, memory: 128Mi}} # guaranteed\n      limits: {{cpu: 500m, \
             memory: 256Mi}} # at most\n    probes:\n      readiness: {{path: {health}}} # no traffic before this answers\n"
        ),
    );
    if answers.public {
        text.push_str(
            "\ningress:\n  public: # no host: one is generated, and told in the commit status\n    paths: {/: web}\n",
        );
    }
    text.push_str(
        "\n# hks explain apps.web tells what else there is: autoscaling, blue/green, jobs, volumes, environments, …\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_makes_a_valid_file() {
        for bits in 0..8 {
            let answers =
                Answers { database: bits & 1 > 0, cache: bits & 2 > 0, public: bits & 4 > 0, ..Answers::default() };
            let text = first_file(&answers);
            assert_eq!(spec::parse(text.as_bytes(), "hks.yaml").err(), None, "{text}");
        }
    }

    #[test]
    fn questions_are_asked_again_until_the_answer_will_do() -> std::io::Result<()> {
        let (mut input, mut output) = (&b"My Shop\nweb\nweb:2\nx\n3000\n\nno\nmaybe\nyes\n"[..], vec![]);
        let answers = questions(&mut input, &mut output, Answers::default())?;
        let told = String::from_utf8_lossy(&output).into_owned();
        assert!(told.contains("write repository:tag") && told.contains("answer yes or no"), "{told}");
        let wanted = Answers {
            name: "my-shop".into(),
            image: "web:2".into(),
            port: 3000,
            database: false,
            cache: true,
            ..Answers::default()
        };
        assert_eq!(answers, wanted);
        Ok(())
    }
}
