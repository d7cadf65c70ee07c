//! What is wrong with an hks.yaml: code, place, message and remedy, safe to show anywhere.
//!
//! Invariant: no text in here holds a credential. [`Diagnostic::new`] and [`snippet`] are the only ways out of the
//! module for text of the file, and both mask.

use super::credential;
use serde::{Serialize, Serializer};
use std::fmt::{self, Write};

macro_rules! codes {
    ($($variant:ident $name:literal $meaning:literal)*) => {
        /// What kind of mistake a [`Diagnostic`] is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The code as it is shown, such as `hks::spec::unknown-key`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => concat!("hks::spec::", $name),)*
                }
            }

            /// The code without what all have in front, such as `unknown-key`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Code::$variant => $name,)*
                }
            }
        }

        /// Every code with its meaning.
        pub(super) const MEANINGS: &[(Code, &str)] = &[$((Code::$variant, $meaning)),*];
    };
}

codes! {
    TooLarge "too-large" "The file is larger than 256 KiB."
    NotUtf8 "not-utf8" "The file is not UTF-8 text."
    Syntax "syntax" "The file is not valid YAML."
    TooComplex "too-complex" "The file nests too deeply, or it grows too large with its aliases, environments and references."
    MultipleDocuments "multiple-documents" "The file holds more than one YAML document."
    Empty "empty" "The file holds no document."
    DuplicateKey "duplicate-key" "A key occurs twice in one mapping."
    Tag "tag" "A YAML tag such as `!env` is used; hks.yaml has none."
    MergeKey "merge-key" "A YAML merge key (`<<`) is used; hks.yaml has none."
    UnknownKey "unknown-key" "A key that the language does not have."
    MissingKey "missing-key" "A required key is missing."
    WrongType "wrong-type" "A value is of another type than the key needs."
    ExactlyOne "exactly-one" "Of several keys exactly one must be there."
    Contradiction "contradiction" "Two keys that exclude each other, or a key that means nothing where it stands."
    ReservedKey "reserved-key" "A key that belongs to Kubernetes, to the server or to hks."
    UnknownValue "unknown-value" "A value is not among the allowed ones."
    OutOfRange "out-of-range" "A number, a duration or a list is outside of its bounds."
    InvalidName "invalid-name" "A name breaks the rules for names of its kind."
    NameTooLong "name-too-long" "A name is too long once it is composed with the name of the Stack."
    NameCollision "name-collision" "Two things share a name, so their objects would too."
    InvalidQuantity "invalid-quantity" "Not an amount of CPU, memory or storage."
    MemoryUnit "memory-unit" "An amount of memory or storage whose unit is certainly not meant, such as `512m`."
    RequestAboveLimit "request-above-limit" "A request is larger than its limit."
    InvalidDuration "invalid-duration" "Not a duration such as `30s`, `10m` or `1h30m`."
    InvalidCron "invalid-cron" "Not a schedule in cron's five fields."
    InvalidImage "invalid-image" "Not an image reference that can be pulled."
    InvalidServer "invalid-server" "Not the host (and path) of a registry."
    UnknownRegistry "unknown-registry" "An image names a registry that is not declared."
    DuplicatePort "duplicate-port" "Two ports of an app have the same number."
    UnknownPort "unknown-port" "A probe or a path names a port that the app does not have."
    NoPort "no-port" "An app without ports is used where a port is needed."
    UnknownApp "unknown-app" "A path names an app that does not exist."
    InvalidPath "invalid-path" "Not a URL path that starts with `/`."
    InvalidHost "invalid-host" "Not a host name."
    InvalidNetwork "invalid-network" "Not a network such as `203.0.113.0/24`."
    InvalidHeader "invalid-header" "Not the name or the value of an HTTP header."
    DuplicateHost "duplicate-host" "Two ingress entries claim the same host."
    UnusableFile "unusable-file" "A file that hks.yaml takes from the repository is missing, too large or not text."
    InvalidCertificate "invalid-certificate" "Not certificates in PEM."
    DependencyCycle "dependency-cycle" "Apps wait for each other."
    InvalidEnvironment "invalid-environment" "A patch of an environment changes what it may not."
    MoreMistakes "more-mistakes" "There are more mistakes than are told."
    InvalidReference "invalid-reference" "`${…}` that is not a reference of the language."
    UnresolvedReference "unresolved-reference" "A reference to something that is not declared."
    MisplacedReference "misplaced-reference" "A reference at a place where it cannot be used."
    PlaintextCredential "plaintext-credential" "A credential stands in the file in plain text."
    Lookalike "lookalike" "A character that only looks like the one that YAML needs, such as a non-breaking space or a typographic quote."
    MovingTag "moving-tag" "Only a warning: the tag of an image, such as `latest`, is moved from one image to the next, and the same text deploys nothing new."
    Implausible "implausible" "Only a warning: an amount that is allowed and far beyond what is usual."
    DoubtfulParameter "doubtful-parameter" "Only a warning: this version of PostgreSQL has no such parameter or takes no such value, and does not start with it."
    NothingToDeploy "nothing-to-deploy" "Only a warning: the Stack has neither apps nor data, so that whatever was deployed before is taken away."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether a file is refused for what a [`Diagnostic`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is.
    #[default]
    Error,
    /// It is not; its author should know all the same.
    Warning,
}

/// One mistake in an hks.yaml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// What kind of mistake it is.
    pub code: Code,
    /// The file, as the caller of `parse` named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Keys down to the place, such as `apps.web.ports.http`; empty for the whole file.
    pub path: String,
    /// What is wrong: a fragment in lower case.
    pub message: String,
    /// What to do about it: a fragment in lower case.
    pub help: String,
}

/// The most characters of a text in a diagnostic.
const MAX_ECHO: usize = 1000;

impl Diagnostic {
    /// A diagnostic whose texts are masked and bounded.
    pub(super) fn new(code: Code, file: &str, place: (usize, usize), path: &str, message: &str, help: &str) -> Self {
        let clean = |text: &str| {
            // what follows is never shown; it is looked at so that nothing is cut out of a credential
            let seen = text.get(..text.floor_char_boundary(4 * MAX_ECHO)).unwrap_or_default();
            let masked = credential::mask(seen);
            let one_line: String =
                masked.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ECHO).collect();
            one_line
        };
        Self {
            severity: Severity::Error,
            code,
            file: file.to_owned(),
            line: place.0,
            column: place.1,
            path: clean(path),
            message: clean(message),
            help: clean(help),
        }
    }

    /// The same as something that the file is not refused for.
    pub(super) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// So many mistakes of a file are told; when there are more, the checks end.
pub(super) const MOST_TOLD: usize = 100;

/// The widest source line that [`snippet`] shows.
const MAX_WIDTH: usize = 160;

/// The diagnostic for people: the line of `source` with a caret below the place, code and remedy; no colours, and
/// credentials masked.
pub fn snippet(source: &str, d: &Diagnostic) -> String {
    let severity = match d.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut out = format!("{severity}[{}]: {}\n", d.code, d.message);
    let number = d.line.to_string();
    let gutter = " ".repeat(number.len());
    let _ = writeln!(out, "{gutter}--> {}:{}:{}", d.file, d.line, d.column);
    if let Some(line) = source.lines().nth(d.line.saturating_sub(1)) {
        let masked = credential::mask_line(line);
        let visible: Vec<char> = masked.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let caret = d.column.saturating_sub(1).min(visible.len());
        let from = if caret < MAX_WIDTH { 0 } else { caret - MAX_WIDTH / 2 };
        let shown: String = visible.iter().skip(from).take(MAX_WIDTH).collect();
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{number} | {}", shown.trim_end());
        let _ = writeln!(out, "{gutter} | {}^", " ".repeat(caret - from));
    }
    if !d.path.is_empty() {
        let _ = writeln!(out, "{gutter} = at: {}", d.path);
    }
    if !d.help.is_empty() {
        let _ = writeln!(out, "{gutter} = help: {}", d.help);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(line: usize, column: usize) -> Diagnostic {
        Diagnostic::new(Code::UnknownKey, "hks.yaml", (line, column), "apps.web", "unknown key `x`", "remove it")
    }

    #[test]
    fn one_line() {
        assert_eq!(diagnostic(3, 5).to_string(), "hks.yaml:3:5: unknown key `x`; remove it");
    }

    #[test]
    fn snippet_points_at_the_place() {
        let text = snippet("a: 1\nb: 2\n", &diagnostic(2, 4));
        let expected = "error[hks::spec::unknown-key]: unknown key `x`\n --> hks.yaml:2:4\n  |\n2 | b: 2\n  |    ^\n  \
                        = at: apps.web\n  = help: remove it\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn snippet_survives_any_place() {
        for (line, column) in [(0, 0), (1, 99), (99, 1), (usize::MAX, usize::MAX)] {
            assert!(snippet("é: 日本\n", &diagnostic(line, column)).contains("unknown key"));
        }
    }

    #[test]
    fn snippet_masks() {
        let text = snippet(&format!("KEY: sk-{}\n", "abcdefghijklmnop0123"), &diagnostic(1, 6));
        assert!(!text.contains("abcdefghijkl"), "{text}");
    }

    #[test]
    fn new_masks_and_stays_on_one_line() {
        let secret = format!("ghp_{}", "abcdefghijklmnopqrst0123");
        let d = Diagnostic::new(Code::Syntax, "f", (1, 1), &secret, &format!("a\n{secret}"), &secret);
        assert!(!format!("{d:?}{d}").contains("abcdefghijkl"));
        assert!(!d.message.contains('\n'));
    }
}
