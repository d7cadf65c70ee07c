//! Small things as compose writes them: commands as one text, amounts, durations, names.

/// A command that is one text, as its words (Compose Specification, "command": split as a shell would, without running one).
pub(super) fn shell_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (vec![], String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some('"'), '\\') => match chars.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                Some('\n') | None => {}
                Some(next) => word.extend(['\\', next]),
            },
            (None, '\\') => word.extend(chars.next().filter(|next| *next != '\n')),
            (None, '\'' | '"') => {
                quote = Some(c);
                open = true;
            }
            (None, c) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Words as one text that a shell splits again.
pub(super) fn quoted(words: &[String]) -> String {
    let plain = |word: &&String| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c))
    };
    let word = |word: &String| {
        if plain(&word) { word.clone() } else { format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")) }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// A size in bytes: `1.5g`, `512M`, `64mb`, `1024` (Compose Specification, "Specifying byte values": powers of 1024).
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let mut bytes = whole.checked_mul(1 << shift)?;
    if !part.is_empty() {
        let part: String = part.chars().take(6).collect();
        let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
        bytes = bytes.checked_add(part.parse::<u64>().ok()?.checked_mul(1 << shift)?.checked_div(scale)?)?;
    }
    (bytes < 1 << 50).then_some(bytes)
}

/// Bytes as hks.yaml has them, in whole units, rounded up to mebibytes.
pub(super) fn quantity(bytes: u64) -> String {
    let mebibytes = bytes.div_ceil(1 << 20).max(1);
    if mebibytes.is_multiple_of(1024) { format!("{}Gi", mebibytes / 1024) } else { format!("{mebibytes}Mi") }
}

/// Cores such as `0.5` as millicores.
pub(super) fn millicores(text: &str) -> Option<u64> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    let cores = whole.checked_mul(1000)?.checked_add(part.parse().ok()?)?;
    (cores > 0 && cores < 1_000_000).then_some(cores)
}

/// Millicores as hks.yaml has them.
pub(super) fn cpu(millicores: u64) -> String {
    if millicores.is_multiple_of(1000) { (millicores / 1000).to_string() } else { format!("{millicores}m") }
}

/// A duration in seconds, rounded up: `1m30s`, `500ms`, `10` (Compose Specification, "Specifying durations").
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut millis = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let number: f64 = number.parse().ok()?;
        let unit = match unit {
            "us" | "ns" | "µs" => 0.001,
            "ms" => 1.0,
            "s" | "" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            _ => return None,
        };
        if number * unit > 1e12 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded above, and never negative"
        )]
        let part = (number * unit).ceil() as u64;
        millis = millis.saturating_add(part);
        rest = behind;
    }
    Some(millis.div_ceil(1000))
}

/// Text as a label of at most `most` characters that begins with a letter.
pub fn label(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = text.chars().map(plain).collect();
    let text = text.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let cut: String = text.chars().take(most).collect();
    let cut = cut.trim_end_matches('-');
    if cut.is_empty() { "app".to_owned() } else { cut.to_owned() }
}

/// `wanted`, or with a number if that is taken.
pub(super) fn unique(wanted: &str, most: usize, taken: impl Fn(&str) -> bool) -> String {
    let mut name = label(wanted, most);
    let mut number = 2;
    while taken(&name) {
        let suffix = format!("-{number}");
        name = format!("{}{suffix}", label(wanted, most.saturating_sub(suffix.len()).max(1)));
        number += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_durations() {
        for (text, wanted) in [
            ("1.5g", Some("1536Mi")),
            ("512M", Some("512Mi")),
            ("64mb", Some("64Mi")),
            ("2g", Some("2Gi")),
            ("1000000", Some("1Mi")),
            ("1 GiB", Some("1Gi")),
            ("x", None),
            ("1.x", None),
        ] {
            assert_eq!(bytes(text).map(quantity).as_deref(), wanted, "{text}");
        }
        for (text, wanted) in
            [("1m30s", Some(90)), ("500ms", Some(1)), ("10", Some(10)), ("1h", Some(3600)), ("s", None), ("", None)]
        {
            assert_eq!(seconds(text), wanted, "{text}");
        }
        for (text, wanted) in [("0.50", Some(500)), ("2", Some(2000)), (".25", Some(250)), ("0", None), ("x", None)] {
            assert_eq!(millicores(text), wanted, "{text}");
        }
    }

    #[test]
    fn commands_are_split_as_a_shell_does() {
        let words = |text: &str| shell_words(text).join("|");
        assert_eq!(words(r#"a 'b c' "d \"e\" \n" f\ g ''"#), r#"a|b c|d "e" \n|f g|"#);
        assert_eq!(quoted(&["a".into(), "b \"c".into(), "$X".into()]), r#"a "b \"c" "$X""#);
    }

    #[test]
    fn any_text_becomes_a_label() {
        for (text, wanted) in [("My App!", "my-app"), ("9x", "x"), ("日本", "app"), ("a--", "a"), ("", "app")] {
            assert_eq!(label(text, 40), wanted, "{text}");
        }
        assert_eq!(unique("abcdef", 5, |name| name == "abcde"), "abc-2");
    }
}
