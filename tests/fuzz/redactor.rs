//! The target of texts in which values of Secrets stand.

use super::engine::Target;
use super::mutate::{CUT, parts};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hks::shell::cluster::redactor::{Forms, Values, clean};
use k8s_openapi::ByteString;
use std::collections::BTreeMap;

/// Values of Secrets and a text: whatever form a value is written in, it is not in what is shown.
pub const REDACTOR: Target = Target {
    name: "redactor",
    run: redactor,
    words: &[
        CUT,
        "\n",
        "\r\n",
        "\t",
        "\u{1b}[31m",
        "\0",
        "\"",
        "\\",
        "/",
        "+",
        "=",
        "%",
        "<&>",
        "é",
        "A",
        "passw0rd",
        "://u:",
        "@h",
        "***",
    ],
    grow: None,
    most: 600,
    tries: 150,
};

fn redactor(input: &[u8]) -> String {
    let [value, other, noise] = parts::<3>(input);
    let data: BTreeMap<_, _> = [("a", &value), ("b", &other)]
        .map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes())))
        .into();
    let forms = Forms::of([&Values::of(&data)]).unwrap();
    let shown = |text: &str| {
        let shown = clean(text, &forms);
        assert!(shown.len() <= text.len(), "{} bytes of {}", shown.len(), text.len());
        assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{shown:?}");
        shown
    };
    let around = |form: &str| format!("{noise} {form} {noise}");
    let value = value.trim_ascii();
    shown(&noise);
    // what is written in its place would be a part of such a value
    if value.len() < 6 || value.contains('*') {
        return "short".into();
    }
    let json = serde_json::to_string(value).unwrap();
    let json = &json[1..json.len() - 1];
    // Go writes these so, and so do Kubernetes and most that runs in it
    let go = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let escaped = |keep: fn(u8) -> bool, upper: bool| {
        let one = |byte: u8| match (keep(byte), upper) {
            (true, _) => char::from(byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        };
        value.bytes().map(one).collect::<String>()
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let strict = |byte: u8| byte.is_ascii_alphanumeric();
    // a terminal shows no control characters, and a log of Windows has others at the end of a line
    let windows = value.replace('\n', "\r\n");
    let coloured: String = value.chars().flat_map(|c| [c, '\u{7f}']).collect();
    let mut all = vec![value.to_owned(), json.to_owned(), go, windows, coloured];
    all.extend([true, false].map(|upper| escaped(unreserved, upper)));
    all.extend([true, false].map(|upper| escaped(strict, upper)));
    for form in &all {
        let shown = shown(&around(form));
        assert!(!shown.contains(form.as_str()), "{form:?} is in {shown:?}");
        let seen: String = value.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        assert!(seen.len() < 6 || !shown.contains(&seen), "{seen:?} is in {shown:?}");
    }
    if value.lines().count() > 1 {
        for line in value.lines().map(str::trim).filter(|line| line.len() >= 8) {
            assert!(!shown(&around(line)).contains(line), "the line {line:?} is shown");
        }
    }
    for before in ["", "u", "us", "use"] {
        let text = [before.as_bytes(), value.as_bytes()].concat();
        for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            // of a short one hardly a character is its own
            if value.len() >= 8 {
                assert!(!shown(&around(&encoded)).contains(&encoded), "{encoded:?} is shown");
            }
        }
    }
    format!("{} {} {}", value.contains('\n'), value == json, other.len() > 5)
}
