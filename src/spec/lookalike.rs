//! What looks like something else to YAML. Characters like those that it is made of, as they come from web pages, word processors and other
//! keyboards: the parser takes them for letters, and complains about another line. References and templates, which begin like mappings.
//!
//! They are looked for only in a file that is wrong: in a text, each of them may be meant.

use super::diagnostic::{Code, Diagnostic, MOST_TOLD};

/// What stands where a space should, and how it is called.
const SPACES: [(char, &str); 9] = [
    ('\u{a0}', "non-breaking space (U+00A0)"),
    ('\u{3000}', "ideographic space (U+3000)"),
    ('\u{200b}', "zero-width space (U+200B)"),
    ('\u{feff}', "byte order mark (U+FEFF)"),
    ('\u{2009}', "thin space (U+2009)"),
    ('\u{202f}', "narrow non-breaking space (U+202F)"),
    ('\u{2003}', "em space (U+2003)"),
    ('\u{2002}', "en space (U+2002)"),
    ('\u{ad}', "soft hyphen (U+00AD)"),
];

/// What stands where a `-` should.
const DASHES: [(char, &str); 6] = [
    ('\u{2013}', "en dash (U+2013)"),
    ('\u{2014}', "em dash (U+2014)"),
    ('\u{2212}', "minus sign (U+2212)"),
    ('\u{ff0d}', "full-width hyphen (U+FF0D)"),
    ('\u{2010}', "hyphen (U+2010)"),
    ('\u{2022}', "bullet (U+2022)"),
];

/// What stands where another character of YAML should: it, its name, and the right one.
const OTHERS: [(char, &str, char); 8] = [
    ('\u{ff5b}', "full-width bracket (U+FF5B)", '{'),
    ('\u{ff3b}', "full-width bracket (U+FF3B)", '['),
    ('\u{201c}', "typographic quote (U+201C)", '"'),
    ('\u{201d}', "typographic quote (U+201D)", '"'),
    ('\u{201e}', "typographic quote (U+201E)", '"'),
    ('\u{2018}', "typographic quote (U+2018)", '\''),
    ('\u{2019}', "typographic quote (U+2019)", '\''),
    ('\u{ff02}', "full-width quote (U+FF02)", '"'),
];

/// Lines, from 1, that belong to a text of several lines: the first and the last one.
pub(super) type Lines = (usize, usize);

/// What was `found` in a file; or, if such characters stand in `lines` outside of `texts`, only these: what they do to the
/// structure makes all else a guess. A quote at the start of a value may be meant, and is told instead of a mistake on its
/// own line.
pub(super) fn blamed(
    source: &str,
    file: &str,
    lines: Lines,
    texts: &[Lines],
    mut found: Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let inside = |(from, to): &Lines, line: usize| (*from..=*to).contains(&line);
    // at the very start, a byte order mark is one
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let odd = source.lines().enumerate().filter_map(|(index, line)| Some((index + 1, odd(line)?)));
    // one text ends before the next one begins
    let text = |line: usize| texts.get(texts.partition_point(|(_, to)| *to < line));
    let odd = odd.filter(|(line, _)| inside(&lines, *line) && !text(*line).is_some_and(|text| inside(text, *line)));
    let odd: Vec<_> = odd.take(MOST_TOLD).collect();
    let told = |(line, odd): &(usize, Odd)| {
        Diagnostic::new(Code::Lookalike, file, (*line, odd.column), "", &odd.message, &odd.help)
    };
    if odd.iter().any(|(_, odd)| !odd.value) {
        return odd.iter().filter(|(_, odd)| !odd.value).map(told).collect();
    }
    for (line, odd) in odd {
        if let Some(first) = found.iter().position(|d| d.line == line) {
            found.retain(|d| d.line != line);
            found.insert(first, told(&(line, odd)));
        }
    }
    found
}

/// A character that is not what it looks like.
struct Odd {
    /// From 1.
    column: usize,
    message: String,
    help: String,
    /// Whether it stands where a value does, in which it may be meant.
    value: bool,
}

/// The first such character of a line, where indentation, `-`, a key, its colon or the start of its value is expected.
fn odd(line: &str) -> Option<Odd> {
    let characters: Vec<char> = line.chars().collect();
    let at = |index: usize| characters.get(index).copied();
    let named = |of: &[(char, &'static str)], c: char| of.iter().find(|(known, _)| *known == c).map(|(_, name)| *name);
    let space = |index: usize| at(index).and_then(|c| named(&SPACES, c));
    let instead = |index: usize, name: &str, plain: &str, value: bool| {
        let article = if name.starts_with(['e', 'i']) { "an" } else { "a" };
        let (message, help) = (format!("{article} {name} stands here"), format!("write {plain}"));
        Some(Odd { column: index + 1, message, help, value })
    };
    let mut index = 0;
    loop {
        match at(index) {
            Some(' ') => index += 1,
            // items of lists may stand in one another
            Some('-') if at(index + 1).is_some_and(|next| next == ' ') => index += 2,
            Some('-') if space(index + 1).is_some() => index += 1,
            Some(c) if named(&SPACES, c).is_some() => return instead(index, space(index)?, "a plain space", false),
            Some(c) if at(index + 1) == Some(' ') && named(&DASHES, c).is_some() => {
                return instead(index, named(&DASHES, c)?, "`-`", false);
            }
            _ => break,
        }
    }
    let start = index;
    while at(index).is_some_and(|c| c.is_ascii_alphanumeric() || "_./-\"'".contains(c)) {
        index += 1;
    }
    if index > start {
        let behind = space(index).is_some() && matches!(at(index + 1), Some(':' | '\u{ff1a}'));
        match at(index) {
            Some('\u{ff1a}') => return instead(index, "full-width colon (U+FF1A)", "`:` and a space", false),
            Some(_) if behind => return instead(index, space(index)?, "nothing before the colon", false),
            Some(':') if space(index + 1).is_some() => {
                return instead(index + 1, space(index + 1)?, "a plain space", false);
            }
            Some(':') => index += 1,
            _ => return None,
        }
    }
    while at(index) == Some(' ') {
        index += 1;
    }
    let (_, name, plain) = OTHERS.iter().find(|(odd, ..)| Some(*odd) == at(index))?;
    instead(index, name, &format!("a plain `{plain}`"), true)
}

/// Where on a line `{{` starts a value, or a reference stands in a flow mapping or list without quotes; message and remedy.
pub(super) fn misread(line: &str) -> Option<(usize, &'static str, String)> {
    let (mut quote, mut depth, mut before) = (None, 0_usize, None);
    for (at, c) in line.char_indices() {
        let rest = line.get(at..)?;
        let starts = matches!(before, None | Some(':' | ',' | '[' | '{' | '-'));
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            // what is quoted is text
            (Some(_), _) => continue,
            (None, '"' | '\'') if starts => quote = Some(c),
            (None, '#') if line.get(..at).is_some_and(|text| text.is_empty() || text.ends_with(' ')) => return None,
            (None, '{') if starts && rest.starts_with("{{") => {
                let message = "`{{ … }}` is a template of another tool, which nobody fills in here";
                return Some((at, message, "write the value, or `\"${params.NAME}\"`".to_owned()));
            }
            (None, '$') if depth > 0 && rest.starts_with("${") => {
                let reference = rest.get(..=rest.find('}')?).filter(|reference| reference.len() <= 63)?;
                let message = "a reference between `{`, `[` or `,` must be in quotes";
                return Some((at, message, format!("quote it: `\"{reference}\"`")));
            }
            (None, '{' | '[') if starts => depth += 1,
            (None, '}' | ']') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        if !c.is_whitespace() {
            before = Some(c);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Option<(usize, bool)> {
        odd(line).map(|odd| (odd.column, odd.value))
    }

    #[test]
    fn what_looks_like_yaml() {
        for (line, column) in [
            ("\u{a0}\u{a0}image: x", 1),
            ("  \u{3000}image: x", 3),
            ("image:\u{a0}x:1", 7),
            ("image\u{a0}: x", 6),
            ("  replicas\u{ff1a}2", 11),
            ("  \u{2013} serve", 3),
            ("  -\u{a0}serve", 4),
            ("\u{feff}image: x", 1),
            ("a\u{200b}: x", 2),
        ] {
            assert_eq!(told(line), Some((column, false)), "{line:?}");
        }
        assert_eq!(told("  A: \u{201c}x\u{201d}"), Some((6, true)));
        assert_eq!(told("- \u{2018}x\u{2019}"), Some((3, true)));
    }

    #[test]
    fn what_is_meant() {
        for line in [
            "",
            "  A: note\u{ff1a} this",
            "  A: one\u{a0}two",
            "  - serve \u{2013} always",
            "# \u{2013} \u{a0}",
            "  A: it\u{2019}s",
            "  \u{65e5}\u{672c}\u{ff1a} x",
        ] {
            assert_eq!(told(line), None, "{line:?}");
        }
    }

    #[test]
    fn texts_of_several_lines_are_left_alone() {
        let source = "a: |\n  \u{a0}b\nc: 1\n\u{a0}d: 2\n\u{a0}e: 3\n";
        let lines = |last, texts: &[Lines]| -> Vec<usize> {
            blamed(source, "f", (1, last), texts, vec![]).iter().map(|found| found.line).collect()
        };
        assert_eq!(lines(9, &[(2, 2)]), [4, 5]);
        assert_eq!(lines(4, &[(2, 2)]), [4]);
        assert_eq!(lines(9, &[]), [2, 4, 5]);
    }

    #[test]
    fn a_quote_is_to_blame_where_something_is_wrong() {
        let mistake = |line| Diagnostic::new(Code::WrongType, "f", (line, 1), "", "wrong", "");
        let source = "a: \u{201c}x\u{201d}\nb: \u{201c}y\u{201d}\nc: 1\n";
        let told = blamed(source, "f", (1, 9), &[], vec![mistake(2), mistake(2), mistake(3)]);
        let told: Vec<_> = told.iter().map(|d| (d.line, d.code)).collect();
        assert_eq!(told, [(2, Code::Lookalike), (3, Code::WrongType)]);
        assert_eq!(blamed(source, "f", (1, 9), &[], vec![]), []);
    }

    #[test]
    fn what_yaml_misread() {
        let column = |line| misread(line).map(|(at, ..)| at);
        assert_eq!(column("    env: {URL: ${databases.main.url}}"), Some(15));
        assert_eq!(column("    args: [--url, ${apps.web.url}]"), Some(18));
        assert_eq!(column("  image: {{ .Values.image }}"), Some(9));
        for line in [
            "    URL: ${databases.main.url}",
            "    env: {URL: \"${databases.main.url}\"}",
            "    A: \"{{ x }}\"",
            "    A: hello {{ name }}",
            "    # env: {URL: ${databases.main.url}}",
            "  ports: {http: 80}  # {URL: ${x}}",
            "    args: [a] ${x}",
        ] {
            assert_eq!(column(line), None, "{line}");
        }
    }
}
