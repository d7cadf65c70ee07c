//! The grammar of image references and of host names.

use super::credential::REFERENCE;

/// What is wrong, and what to do.
pub(super) type Complaint = (&'static str, &'static str);

/// The parts of an image reference: repository, tag, digest.
pub(super) type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// Splits `repository[:tag][@digest]`.
pub(super) fn split(image: &str) -> Parts<'_> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let last = name.rfind('/').map_or(0, |i| i + 1);
    match name.get(last..).and_then(|component| component.find(':')) {
        Some(colon) => (name.get(..last + colon).unwrap_or_default(), name.get(last + colon + 1..), digest),
        None => (name, None, digest),
    }
}

/// The first thing that is wrong with an image; references stand in it as [`REFERENCE`].
pub(super) fn complaint((repository, tag, digest): Parts<'_>) -> Option<Complaint> {
    if repository.contains("{{") || tag.is_some_and(|tag| tag.contains("{{")) {
        let message = "`{{ … }}` is a template of another tool, which nobody fills in here";
        return Some((message, "write `${git.sha}`, `${git.tag}` or `${params.NAME}`"));
    }
    if repository.contains('$') || tag.is_some_and(|tag| tag.contains('$')) {
        let help = "write `${git.sha}`, `${git.tag}` or `${params.NAME}`";
        return Some(("a variable of the shell means nothing in an image", help));
    }
    if repository.contains("://") {
        return Some(("the image starts with a scheme", "leave out `https://`"));
    }
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        return Some(("the repository of an image must be in lower case", "write it in lower case"));
    }
    let (host, path) = match repository.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, repository),
    };
    if repository.len() > 255 || !host.is_none_or(is_host_port) || !path.split('/').all(is_component) {
        return Some((
            "not an image that can be pulled",
            "write `repository:tag`, such as `registry.example/team/web:1.0`",
        ));
    }
    if tag.is_none() && digest.is_none() {
        return Some(("the image has neither tag nor digest", "add a tag, such as `:1.0.0` or `:${git.shortSha}`"));
    }
    if !tag.is_none_or(is_tag) {
        return Some(("not a tag of an image", "use letters, digits, `_`, `.` and `-`, at most 128 of them"));
    }
    if !digest.is_none_or(is_digest) {
        return Some(("not a digest of an image", "write `sha256:` and 64 hexadecimal digits"));
    }
    None
}

/// Tags that are moved from one image to the next by custom.
const MOVING: [&str; 14] = [
    "latest",
    "main",
    "master",
    "develop",
    "development",
    "dev",
    "edge",
    "nightly",
    "stable",
    "staging",
    "canary",
    "next",
    "current",
    "unstable",
];

/// What becomes of an image whose tag is moved, if its tag is one that is.
pub(super) fn moving((_, tag, digest): Parts<'_>) -> Option<(String, &'static str)> {
    let tag = tag.filter(|tag| digest.is_none() && MOVING.contains(tag))?;
    let message = format!(
        "the tag `{tag}` is moved: another image under it deploys nothing, and a rollback can't bring the old one back"
    );
    Some((message, "write a version, `${git.shortSha}`, or a digest"))
}

/// Whether a repository begins with the host of a registry.
pub(super) fn names_host(repository: &str) -> bool {
    repository.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost")
}

/// Whether `text` is a DNS name in lower case.
pub fn is_host(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(crate::ident::is_label) && text.parse::<core::net::IpAddr>().is_err()
}

/// A registry may be at an address without a name.
fn is_host_port(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
    (is_host(host) || host.parse::<core::net::Ipv4Addr>().is_ok()) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(inner)
        && text.ends_with(inner)
        && text
            .split(inner)
            .filter(|gap| !gap.is_empty())
            .all(|gap| matches!(gap, "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    /// The longest thing that a reference in a tag becomes.
    const SHA: usize = 40;
    let length: usize = text.chars().map(|c| if c == REFERENCE { SHA } else { 1 }).sum();
    !text.is_empty()
        && length <= 128
        && !text.starts_with(['.', '-'])
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | REFERENCE))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts() {
        let digest = format!("web@sha256:{}", "0a".repeat(32));
        for image in [
            "web:1",
            "web:\u{1}",
            "a/b/c__d-e.f:v1.0-\u{1}",
            "127.0.0.1:5000/hexabase-web:1.0.0",
            "localhost/web:latest",
            "registry.example:443/team/web:1",
            digest.as_str(),
        ] {
            assert_eq!(complaint(split(image)), None, "{image}");
        }
    }

    #[test]
    fn refuses() {
        for image in [
            "",
            "web",
            "web:",
            "Web:1",
            "https://x.y/web:1",
            "web:1 2",
            ":1",
            "a//b:1",
            "/a:1",
            "a/:1",
            "web@sha256:12",
            "x.y:99999/web:1",
            "we\u{1}b:1",
            "web:-1",
            "web@",
            "-web:1",
            "a___b:1",
            "日本:1",
        ] {
            assert!(complaint(split(image)).is_some(), "{image}");
        }
    }

    #[test]
    fn hosts() {
        assert!(is_host("app.example.com"));
        assert!(
            !is_host("App.example.com") && !is_host("a..b") && !is_host("") && !is_host("a_b.c") && !is_host("*.a")
        );
    }
}
