//! Printing: data to standard output, the rest to standard error, colours only on a terminal.

use anstyle::{AnsiColor, Style};
use std::io::IsTerminal as _;

/// Red.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Green.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Yellow.
pub(super) const BUSY: Style = AnsiColor::Yellow.on_default();
/// Bold.
pub(super) const STRONG: Style = Style::new().bold();

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// Print JSON.
    pub json: bool,
}

impl Out {
    /// Prints a result.
    #[expect(clippy::unused_self, reason = "printing is this value's right")]
    pub(super) fn print(self, text: &str) {
        anstream::println!("{}", text.trim_end_matches('\n'));
    }

    /// Tells how it goes, or what to do next.
    #[expect(clippy::unused_self, reason = "printing is this value's right")]
    pub(super) fn say(self, text: &str) {
        anstream::eprintln!("{text}");
    }

    /// Prints rows in columns as wide as they need to be.
    pub(super) fn table(self, head: &[&str], rows: &[Vec<(String, Style)>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
            cells.chain(head.get(column).map(|text| text.len())).max().unwrap_or(0)
        };
        let line = |cells: Vec<(&str, Style)>| {
            let last = cells.len().saturating_sub(1);
            let cell = |(column, (text, style)): (usize, &(&str, Style))| {
                let pad = if column == last { 0 } else { width(column) - text.chars().count() + 2 };
                format!("{style}{text}{style:#}{:pad$}", "")
            };
            cells.iter().enumerate().map(cell).collect::<String>()
        };
        self.print(&line(head.iter().map(|text| (*text, STRONG)).collect()));
        for row in rows {
            self.print(&line(row.iter().map(|(text, style)| (text.as_str(), *style)).collect()));
        }
    }
}

/// Tells an error with all its causes, in one line.
pub(super) fn error(error: &anyhow::Error) {
    anstream::eprintln!("{BAD}error:{BAD:#} {error:#}");
}

/// Logs to standard error: for people on a terminal, as JSON otherwise. Commands other than the daemon log only warnings.
pub(super) fn log(filter: &str, daemon: bool) {
    let filter = if daemon { filter } else { "error" };
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
