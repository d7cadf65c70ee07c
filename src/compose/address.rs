//! Addresses in texts: URLs, and hosts with a port.

use std::ops::Range;

/// An address and where its parts stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// All of it, without path and query.
    pub whole: Range<usize>,
    /// What stands before `://`.
    pub scheme: Option<String>,
    /// What stands before `@`.
    pub user: Option<String>,
    /// The host.
    pub host: String,
    /// The port as it is written.
    pub port: Option<String>,
}

/// No text that means something has more of them.
const MOST: usize = 500;
/// Longer texts are not looked through.
const MOST_BYTES: usize = 64 * 1024;

fn is_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// The addresses in a text, in order; they never overlap.
pub(super) fn find(text: &str) -> Vec<Address> {
    let mut found: Vec<Address> = vec![];
    let mut at = 0;
    if text.len() > MOST_BYTES {
        return found;
    }
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty() && found.len() < MOST) {
        let url = rest.find("://").map(|colon| at + colon);
        let until = url.unwrap_or(text.len());
        let begin = url.map(|colon| scheme_start(text, at, colon));
        if let Some(pair) = pair(text, at, begin.unwrap_or(until)) {
            at = pair.whole.end;
            found.push(pair);
            continue;
        }
        let (Some(colon), Some(begin)) = (url, begin) else { break };
        let address = authority(text, begin, colon);
        at = address.whole.end.max(colon + 3);
        if begin < colon {
            found.push(address);
        }
    }
    found
}

fn scheme_start(text: &str, from: usize, colon: usize) -> usize {
    let before = text.get(from..colon).unwrap_or_default();
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-' | ':' | '_');
    let start = after_last(before, is_scheme);
    let scheme = before.get(start..).unwrap_or_default();
    let trimmed = scheme.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    from + start + (scheme.len() - trimmed.len())
}

fn authority(text: &str, begin: usize, colon: usize) -> Address {
    let from = colon + 3;
    let rest = text.get(from..).unwrap_or_default();
    let stop = |c: char| c.is_whitespace() || "/?#\"'`,;)]}>|<\\".contains(c);
    let mut end = rest.find(stop).unwrap_or(rest.len());
    // a password may hold what ends a host
    let word = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`')).unwrap_or(rest.len());
    let inside = rest.get(..word).unwrap_or_default();
    if let Some(sign) =
        inside.rfind('@').filter(|sign| *sign > end && inside.get(..end).is_some_and(|user| user.contains(':')))
        && !inside.get(..sign).unwrap_or_default().contains(['/', '?', ','])
    {
        end = sign + rest.get(sign..).and_then(|rest| rest.find(stop)).unwrap_or(rest.len() - sign);
    }
    let authority = rest.get(..end).unwrap_or_default();
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user.to_owned()), address),
        None => (None, authority),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port.to_owned())),
        _ => (address, None),
    };
    let scheme = text.get(begin..colon).map(str::to_owned);
    Address { whole: begin..from + end, scheme, user, host: host.to_owned(), port }
}

/// Where the run of such characters begins that a text ends with.
fn after_last(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.char_indices().rev().find(|(_, c)| !is(*c)).map_or(0, |(at, c)| at + c.len_utf8())
}

/// The first `host:port` between two places.
fn pair(text: &str, from: usize, until: usize) -> Option<Address> {
    let part = text.get(from..until)?;
    for (colon, _) in part.match_indices(':') {
        let before = part.get(..colon)?;
        let start = after_last(before, is_host);
        let host = before.get(start..)?;
        let boundary = before.get(..start)?.chars().next_back().is_none_or(|c| !matches!(c, '/' | ':' | '$' | '{'));
        let behind = part.get(colon + 1..)?;
        let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        let port = behind.get(..digits)?;
        let ends = behind
            .get(digits..)?
            .chars()
            .next()
            .is_none_or(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.' | ':'));
        if host.is_empty() || !boundary || !ends || port.parse::<u16>().is_err() {
            continue;
        }
        return Some(Address {
            whole: from + start..from + colon + 1 + digits,
            scheme: None,
            user: None,
            host: host.to_owned(),
            port: Some(port.to_owned()),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_texts() {
        let parts = |text: &str| {
            let one = |a: Address| {
                format!(
                    "{}|{}|{}|{}",
                    a.scheme.unwrap_or_default(),
                    a.user.unwrap_or_default(),
                    a.host,
                    a.port.unwrap_or_default()
                )
            };
            find(text).into_iter().map(one).collect::<Vec<_>>().join(" ")
        };
        for (text, wanted) in [
            ("postgres://a:b@db:5432/x?y", "postgres|a:b|db|5432"),
            ("jdbc:postgresql://db/x", "jdbc:postgresql||db|"),
            ("postgres://a:p#s@db/x", "postgres|a:p#s|db|"),
            ("kafka:9092,kafka:9093", "||kafka|9092 ||kafka|9093"),
            ("PLAINTEXT://kafka:9092,X://y:1", "PLAINTEXT||kafka|9092 X||y|1"),
            ("wait db:5432 -- redis://cache", "||db|5432 redis||cache|"),
            ("mongodb://u:p@a:1,b:2/db", "mongodb|u:p|a|1 ||b|2"),
            ("curl -f http://localhost:3000/up || x", "http||localhost|3000"),
            ("12:30:45", ""),
            ("nothing: here", ""),
            ("://", ""),
        ] {
            assert_eq!(parts(text), wanted, "{text}");
        }
        // any text is survived
        for text in ["é://é:1", "日本:80", "a://", ":::", "://://", "é:1é:2"] {
            find(text);
        }
    }
}
