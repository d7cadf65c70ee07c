//! Printing: data to standard output, the rest to standard error, colours only on a terminal.

use crate::report::Tone;
use crate::shell::cluster::failure::Failure;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::IsTerminal;

/// Red.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Green.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Yellow.
pub(super) const BUSY: Style = AnsiColor::Yellow.on_default();
/// Bold.
pub(super) const STRONG: Style = Style::new().bold();
/// As it is.
pub(super) const PLAIN: Style = Style::new();

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// Print JSON.
    pub json: bool,
    /// Print more columns.
    pub wide: bool,
}

impl Out {
    /// Prints a result.
    #[expect(clippy::unused_self, reason = "printing is this value's right")]
    pub(super) fn print(self, text: &str) {
        anstream::println!("{}", text.trim_end_matches('\n'));
    }

    /// Prints a result for programs.
    ///
    /// # Errors
    /// If it has no form in JSON.
    pub(super) fn data(self, value: &impl Serialize) -> Result<(), Failure> {
        self.print(&serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// Tells how it goes, or what to do next.
    #[expect(clippy::unused_self, reason = "printing is this value's right")]
    pub(super) fn say(self, text: &str) {
        anstream::eprintln!("{text}");
    }

    /// Tells why it did not work.
    pub(super) fn fail(self, failure: &Failure) {
        self.say(&format!("{BAD}error:{BAD:#} {failure}"));
    }

    /// Asks for a yes on the terminal.
    ///
    /// # Errors
    /// If there is nobody to ask.
    pub(super) fn asks(self, question: &str) -> Result<bool, Failure> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Err(Failure::last("failed to ask: standard input is no terminal; add --yes"));
        }
        self.say(&format!("{question} [y/N]"));
        let mut line = String::new();
        input.read_line(&mut line)?;
        Ok(matches!(line.trim(), "y" | "Y" | "yes"))
    }
}

/// The colour of a tone.
pub(super) fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => GOOD,
        Tone::Busy => BUSY,
        Tone::Bad => BAD,
        Tone::Idle => PLAIN,
    }
}

/// Text of tenants without what a terminal would act on.
pub(super) use crate::shell::cluster::redactor::visible as harmless;

/// Logs to standard error: for people on a terminal, as JSON otherwise. Commands other than the daemon log only warnings.
pub(super) fn log(filter: &str, daemon: bool) {
    let filter = if daemon { filter } else { "error" };
    // who asked for what is always written down
    let filter = format!("{filter},audit=info");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_acts_on_nothing_that_a_tenant_wrote() {
        assert_eq!(harmless("a\u{1b}]0;owned\u{7}b\r\n\tc"), "a]0;ownedb\n\tc");
    }
}
