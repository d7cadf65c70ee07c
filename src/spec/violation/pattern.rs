//! What is said of a text that does not match its pattern, by the name of what it should be.

use super::{MAX_SHOWN, harmless, short};
use crate::spec::diagnostic::Code;

/// A text that does not match its pattern. The text itself is shown only when it is a name.
pub(super) fn bad_text(definition: &str, name: &str, text: &str) -> (Code, String, &'static str) {
    let shown = if harmless(text) && text.len() <= MAX_SHOWN { format!("`{text}`") } else { format!("this {name}") };
    let name = short(name);
    match definition {
        "Cpu" => (
            Code::InvalidQuantity,
            format!("`{name}` is not an amount of CPU"),
            "write cores such as `0.5`, or millicores such as `500m`",
        ),
        "Memory" if text.ends_with('m') => (
            Code::MemoryUnit,
            format!("`{name}` is in thousandths of a byte (`m`)"),
            "write `Mi` for mebibytes, such as `512Mi`",
        ),
        "Memory" => (
            Code::InvalidQuantity,
            format!("`{name}` is not an amount of memory or storage"),
            "write a number with Ki, Mi, Gi or Ti, such as `512Mi`",
        ),
        "Duration" => (
            Code::InvalidDuration,
            format!("`{name}` is not a duration"),
            "write s, m, h or d, such as `30s` or `1h30m`",
        ),
        "Digest" => (
            Code::InvalidImage,
            format!("`{name}` is not the digest of an image"),
            "write `sha256:` and 64 hexadecimal digits",
        ),
        "UrlPath" | "PathPrefix" => {
            (Code::InvalidPath, format!("{shown} is not a path of a URL"), "start it with `/`; no spaces")
        }
        "Server" => (
            Code::InvalidServer,
            format!("`{name}` is not the host of a registry"),
            "write it without `https://`, such as `registry.example/team`",
        ),
        "EnvName" => (
            Code::InvalidName,
            format!("{shown} cannot name an environment variable"),
            "use letters, digits and `_`, not a digit first",
        ),
        "PortName" => (
            Code::InvalidName,
            format!("{shown} cannot name a port"),
            "use lower-case letters, digits and single `-`, at most 15",
        ),
        "KeyName" => (
            Code::InvalidName,
            format!("{shown} cannot be a key of a secret"),
            "use letters, digits, `-` and `_`, at most 63",
        ),
        "ParamName" => (
            Code::InvalidName,
            format!("{shown} cannot name a parameter"),
            "use letters, digits and `_`, a letter first",
        ),
        "LabelKey" | "LabelValue" => (
            Code::InvalidName,
            format!("{shown} is not valid in a label or annotation"),
            "use letters, digits, `-`, `_` and `.`, at most 63",
        ),
        "DatabaseName" | "Extension" | "ParameterName" => (
            Code::InvalidName,
            format!("{shown} is not a name of PostgreSQL"),
            "use lower-case letters, digits and `_`, not a digit first",
        ),
        "Component" => (
            Code::InvalidName,
            format!("{shown} is not a part of the Stack"),
            "write `databases.NAME`, `caches.NAME` or `apps.NAME`",
        ),
        "Cron" => (Code::InvalidCron, "not a schedule of five fields".to_owned(), cron(text)),
        "TimeZone" => (Code::UnknownValue, "not a time zone".to_owned(), "write one such as `Asia/Tokyo`, or `UTC`"),
        "ImageParam" => (
            Code::InvalidImage,
            "not a tag of an image".to_owned(),
            "use letters, digits, `_`, `.` and `-`, at most 128 of them",
        ),
        "GitPattern" => (
            Code::InvalidName,
            format!("{shown} is not the name of a branch or tag"),
            "write a name, or a pattern with `*` such as `release/*`",
        ),
        "HeaderName" => {
            (Code::InvalidHeader, format!("{shown} cannot name an HTTP header"), "use letters, digits and `-`")
        }
        "HeaderValue" => (
            Code::InvalidHeader,
            "not the value of an HTTP header".to_owned(),
            "write one line of plain ASCII, without spaces around it",
        ),
        "Method" => {
            (Code::InvalidHeader, format!("{shown} is not an HTTP method"), "write it in capitals, such as `GET`")
        }
        "Cidr" => (Code::InvalidNetwork, format!("{shown} is not a network"), "write one such as `203.0.113.0/24`"),
        "Origin" => {
            (Code::InvalidHost, format!("{shown} is not a site"), "write one such as `https://app.example.com`")
        }
        "HttpUrl" => (
            Code::InvalidHost,
            format!("`{name}` is not an address"),
            "write one such as `https://www.example.com`, without user and password",
        ),
        "RepositoryPath" => (
            Code::InvalidPath,
            format!("{shown} is not a path in the repository"),
            "write it from the folder of hks.yaml, or with `/` from the root; no `..`",
        ),
        "FilePath" => {
            (Code::InvalidPath, format!("{shown} is not an absolute path"), "start it with `/`; no spaces, no `..`")
        }
        "Share" => (
            Code::OutOfRange,
            format!("`{name}` is neither a number nor a percentage"),
            "write a number such as 1, or a percentage such as `25%`",
        ),
        "ServiceName" => {
            (Code::InvalidName, format!("{shown} is not a gRPC service"), "write `\"\"` for the server as a whole")
        }
        "StackName" => (
            Code::InvalidName,
            format!("{shown} cannot name a Stack"),
            "use lower-case letters, digits and `-`, a letter first, at most 40",
        ),
        _ => (
            Code::InvalidName,
            format!("{shown} is not valid as a name"),
            "use lower-case letters, digits and `-`, at most 63",
        ),
    }
}

/// What to write instead of a schedule that is none.
fn cron(text: &str) -> &'static str {
    if text.starts_with("CRON_TZ=") || text.starts_with("TZ=") {
        "write the time zone under `timezone`, such as `timezone: Asia/Tokyo`"
    } else if text == "@reboot" || text.starts_with("@every") {
        "write five fields, such as `*/5 * * * *` for every five minutes"
    } else if text.split_whitespace().count() == 6 {
        "leave out the seconds: minute, hour, day, month and weekday, such as `0 3 * * *`"
    } else {
        "write minute, hour, day, month and weekday, such as `0 3 * * *`"
    }
}
