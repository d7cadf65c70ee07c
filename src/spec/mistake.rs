//! What each mistake means, with a wrong and a right example: for `hks explain CODE`, and as `docs/mistakes.md`.

use super::diagnostic::{Code, MEANINGS};
use super::suggest;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// A section for each code, in their order: `=== CODE`, a text, and `--- wrong` and `--- right` with an example each, or
/// `--- none`. An example begins after [`HEAD`] unless it says `(whole file)`.
const TEXT: &str = include_str!("mistakes.txt");

/// What the examples leave out.
const HEAD: &str = "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: shop}\n";

static MISTAKES: LazyLock<Vec<Mistake>> =
    LazyLock::new(|| TEXT.split("=== ").skip(1).filter_map(Mistake::read).collect());

/// A code with all that is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// As diagnostics have it, such as `hks::spec::unknown-key`.
    pub code: Code,
    /// What is wrong, in one sentence.
    pub meaning: &'static str,
    /// Why that is refused, what is commonly meant, and what to do.
    pub text: String,
    /// An hks.yaml with the mistake, and the same without it; `None` where no example can be written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Example>,
}

/// Two files that differ by a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// It has the mistake.
    pub wrong: String,
    /// It has none.
    pub right: String,
}

impl Mistake {
    fn read(section: &'static str) -> Option<Self> {
        let (name, rest) = section.split_once('\n')?;
        let (code, meaning) = *MEANINGS.iter().find(|(code, _)| code.name() == name)?;
        let mut parts = rest.split("\n--- ");
        let text = parts.next()?.trim_end().replace('\n', " ");
        let file = |part: &str| {
            let (title, body) = part.split_once('\n')?;
            let body = body.trim_end();
            Some(if title.ends_with("(whole file)") { format!("{body}\n") } else { format!("{HEAD}{body}\n") })
        };
        let mut files = parts.filter_map(file);
        let example = files.next().zip(files.next()).map(|(wrong, right)| Example { wrong, right });
        Some(Self { code, meaning, text, example })
    }
}

/// What is said of a code, which may be given without its `hks::spec::`; `None` if there is none of that name.
pub fn explain(name: &str) -> Option<&'static Mistake> {
    MISTAKES.iter().find(|mistake| mistake.code.as_str() == name || mistake.code.name() == name)
}

/// A code that has nearly this name.
pub fn similar(name: &str) -> Option<&'static str> {
    suggest::nearest(name.trim_start_matches("hks::spec::"), Code::ALL.iter().map(|code| code.name()))
}

/// The lines of `of` that `other` does not have, each by its number from 0.
fn differs(of: &str, other: &str) -> Vec<usize> {
    let lines: Vec<_> = other.lines().collect();
    of.lines().enumerate().filter(|(_, line)| !lines.contains(line)).map(|(at, _)| at).collect()
}

impl Example {
    /// What of the wrong file is not in the right one, and the other way round: numbers of lines, from 0.
    #[must_use]
    pub fn differences(&self) -> (Vec<usize>, Vec<usize>) {
        (differs(&self.wrong, &self.right), differs(&self.right, &self.wrong))
    }
}

/// All of them as Markdown.
pub fn document() -> String {
    let mut text = String::from(
        "# Mistakes in hks.yaml\n\nGenerated from `src/spec/mistakes.txt`; a test tries each example. `hks explain CODE` tells \
         the same in a terminal.\n",
    );
    for mistake in MISTAKES.iter() {
        let _ = write!(text, "\n## {}\n\n{} {}\n", mistake.code.name(), mistake.meaning, mistake.text);
        if let Some(Example { wrong, right }) = &mistake.example {
            let [wrong, right] = [wrong, right].map(|file| file.strip_prefix(HEAD).unwrap_or(file));
            let _ = write!(text, "\nWrong:\n\n```yaml\n{wrong}```\n\nRight:\n\n```yaml\n{right}```\n");
        }
    }
    text
}
