//! The target of texts with references, as they reach a container.

use super::engine::Target;
use super::file::rendered;
use super::values::{object, text, with};
use hks::ident::Kind;
use hks::spec::{Part, Template};
use serde_json::json;

/// Texts with references: outside of `${…}` every character stays as it is, and `$${` is `${`.
pub const TEMPLATE: Target = Target {
    name: "template",
    run: template,
    words: &[
        "${params.p}",
        "${git.sha}",
        "${git.shortSha}",
        "${project.namespace}",
        "${apps.web.url}",
        "${apps.web.port}",
        "$${",
        "$$",
        "$",
        "{",
        "}",
        "${",
        "${}",
        "$(A)",
        "$$(A)",
        "${params.q}",
        "\\",
        "\n",
        "%",
        "${apps.web.host}",
        "'",
        "\"",
    ],
    grow: None,
    most: 400,
    tries: 120,
};

/// What a text means, read by the plainest reader there is; `None` where a reference is none or never closed.
fn expected(text: &str) -> Option<Template> {
    use hks::spec::Reference as R;
    let (mut parts, mut literal, mut rest) = (vec![], String::new(), text);
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("$${") {
            literal.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (name, after) = after.split_once('}')?;
            rest = after;
            let reference = match name {
                "params.p" => {
                    literal.push('7');
                    continue;
                }
                "git.sha" => R::GitSha,
                "git.shortSha" => R::GitShortSha,
                "project.namespace" => R::Namespace,
                "apps.web.url" => R::AppUrl("web".into()),
                "apps.web.port" => R::AppPort("web".into()),
                "apps.web.host" => R::AppHost("web".into()),
                _ => return None,
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Ref(reference));
        } else {
            literal.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Some(Template(parts))
}

fn template(input: &[u8]) -> String {
    let text = text(input);
    let read = match with(|file| file["apps"]["web"]["env"] = json!({ "T": text })) {
        Ok(read) => read,
        Err(code) => return code,
    };
    let template = &read.apps["web"].program.env["T"];
    let joined = |template: &Template| {
        let mut parts: Vec<Part> = vec![];
        for part in &template.0 {
            match (parts.last_mut(), part) {
                (Some(Part::Text(last)), Part::Text(text)) => last.push_str(text),
                _ => parts.push(part.clone()),
            }
        }
        Template(parts)
    };
    let expected = expected(&text).unwrap_or_else(|| panic!("{text:?} is taken as {template:?}"));
    assert_eq!(joined(template), expected, "{text:?}");
    // Kubernetes puts variables in place of `$(NAME)`: what stood in the file must not become one
    let manifest = rendered(&read, "");
    let container = &object(&manifest, Kind::Deployment, "a-web")["spec"]["template"]["spec"]["containers"][0];
    let variable = container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "T").unwrap();
    if let [] | [Part::Text(_)] = expected.0.as_slice() {
        let literal = expected.0.first().map_or("", |part| if let Part::Text(text) = part { text } else { "" });
        let said = variable["value"].as_str().unwrap_or_default();
        assert_eq!(kubernetes(said), literal, "as the kubelet expands {said:?}");
    }
    expected.0.iter().map(|part| if let Part::Text(_) = part { 't' } else { 'r' }).take(6).collect()
}

/// What the kubelet makes of a value where no variable is known: `$$` is `$`, and `$(NAME)` stays. Source:
/// `third_party/forked/golang/expansion` of Kubernetes.
fn kubernetes(text: &str) -> String {
    let (mut made, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        made.push_str(before);
        made.push('$');
        rest = after;
        // its next byte would be taken for a character
        assert!(rest.starts_with(|c: char| c.is_ascii()) || rest.is_empty(), "a `$` before {rest:?}");
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some(end) = rest.find(')').filter(|_| rest.starts_with('(')) {
            made.push_str(&rest[..=end]);
            rest = &rest[end + 1..];
        }
    }
    made + rest
}
