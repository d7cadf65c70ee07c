//! The syntax of texts with references: `${a.b.c}`, and `$${` for a literal `${`.

use super::credential::REFERENCE;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Literal text.
    Text(String),
    /// What stands between `${` and `}`.
    Reference(String),
}

/// Splits `text`; `None` if a `${` is never closed.
pub(super) fn split(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            literal.push_str(escaped);
            literal.push_str("${");
            rest = after;
            continue;
        }
        literal.push_str(before);
        let (reference, after) = after.split_once('}')?;
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Reference(reference.to_owned()));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Some(pieces)
}

/// The text with each reference replaced by what `stand_in` says.
pub(super) fn shape(pieces: &[Piece], stand_in: impl Fn(&str) -> String) -> String {
    pieces
        .iter()
        .map(|p| match p {
            Piece::Text(text) => text.clone(),
            Piece::Reference(reference) => stand_in(reference),
        })
        .collect()
}

/// The literal text, for the search of credentials.
pub(super) fn literal(pieces: &[Piece]) -> String {
    shape(pieces, |_| REFERENCE.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits() {
        let text = |t: &str| Piece::Text(t.to_owned());
        let reference = |t: &str| Piece::Reference(t.to_owned());
        for (input, pieces) in [
            ("", vec![]),
            ("a", vec![text("a")]),
            ("$a $ $$ {}", vec![text("$a $ $$ {}")]),
            ("${a.b}", vec![reference("a.b")]),
            ("x${a}${b}y", vec![text("x"), reference("a"), reference("b"), text("y")]),
            ("$${a} ${b}", vec![text("${a} "), reference("b")]),
            ("$$${a}", vec![text("$${a}")]),
            ("${}", vec![reference("")]),
        ] {
            assert_eq!(split(input), Some(pieces), "{input}");
        }
        assert_eq!(split("a ${b"), None);
        assert_eq!(split("$${b").map(|p| p.len()), Some(1));
    }
}
