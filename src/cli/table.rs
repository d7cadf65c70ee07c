//! Rows in columns as wide as they need to be.

use super::output::{PLAIN, STRONG};
use anstyle::Style;

/// A cell: text and how it looks.
pub(super) type Cell = (String, Style);

/// A plain cell.
pub(super) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), PLAIN)
}

/// A cell that stands out.
pub(super) fn strong(text: impl Into<String>) -> Cell {
    (text.into(), STRONG)
}

/// Prints rows under a head. The last column is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<Cell>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
        cells.chain(head.get(column).map(|text| text.len())).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<(&str, Style)>| {
        let last = cells.len().saturating_sub(1);
        let cell = |(column, (text, style)): (usize, &(&str, Style))| {
            let wide = widths.get(column).copied().unwrap_or_default();
            let pad = if column == last { 0 } else { wide.saturating_sub(text.chars().count()) + 2 };
            format!("{style}{text}{style:#}{:pad$}", "")
        };
        cells.iter().enumerate().map(cell).collect::<String>() + "\n"
    };
    let mut text = line(head.iter().map(|text| (*text, STRONG)).collect());
    for row in rows {
        text.push_str(&line(row.iter().map(|(text, style)| (text.as_str(), *style)).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec![plain("todo"), plain("ä"), plain("x")], vec![plain("a"), plain("bcd"), plain("y")]];
        let text = anstream::adapter::strip_str(&table(&["STACK", "S", "WHAT"], &rows)).to_string();
        assert_eq!(text, "STACK  S    WHAT\ntodo   ä    x\na      bcd  y\n");
    }
}
