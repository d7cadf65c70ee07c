//! Takes secret values out of what leaves hks: whole and by line, as they stand in JSON, in a URL and in base64, also within a longer
//! text in base64, such as a header of basic authentication. Values that are shorter than six characters are no secrets: they
//! would take out half of a text.

use crate::spec;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use k8s_openapi::ByteString;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What stands for a value.
const HIDDEN: &str = "***";
/// The shortest value that is taken out.
const LEAST: usize = 6;
/// The shortest line of a value, and the shortest part of one in base64.
const LEAST_PART: usize = 8;
/// All but what stands in any part of a URL as it is (RFC 3986, section 2.3).
pub const URL_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// These keys of a database's credentials are no secrets, and a log without host names explains little.
const PUBLIC: [&str; 5] = ["host", "port", "name", "user", "pooler-host"];

/// Texts that are looked for in another one at most, and their bytes: a bundle of all certificates that browsers know has a tenth.
const MOST: usize = 50_000;
const MOST_BYTES: usize = 16 << 20;
/// Looks at them for each byte of a text, on the average. Without a mean hand two are enough.
const LOOKS: usize = 32;
/// Bytes that one look compares.
const A_LOOK: usize = 16;

/// The values of a Secret that may not be seen, as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(Vec<Box<[u8]>>);

impl Values {
    /// Those of a Secret, by key.
    pub fn of(data: &BTreeMap<String, ByteString>) -> Self {
        let hidden = data.iter().filter(|(key, value)| !PUBLIC.contains(&key.as_str()) && value.0.len() >= LEAST);
        Self(hidden.map(|(_, value)| value.0.as_slice().into()).collect())
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|value| value.len()).sum()
    }
}

/// Texts that may not be seen: everything that gives values away.
#[derive(Debug, Default)]
pub struct Forms {
    texts: BTreeSet<Box<[u8]>>,
    bytes: usize,
    is_full: bool,
}

impl Forms {
    /// Those of some values; nothing if they are more than can be looked for.
    pub fn of<'v>(all: impl IntoIterator<Item = &'v Values>) -> Option<Self> {
        let mut forms = Self::default();
        all.into_iter().all(|values| forms.learn(values)).then_some(forms)
    }

    /// Takes in those of more values, and returns whether there is room for them.
    pub fn learn(&mut self, values: &Values) -> bool {
        values.0.iter().for_each(|value| self.add(value));
        !self.is_full
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn insert(&mut self, form: &str) {
        self.is_full |= self.texts.len() >= MOST || self.bytes + form.len() > MOST_BYTES;
        if !self.is_full && self.texts.insert(form.as_bytes().into()) {
            self.bytes += form.len();
        }
    }

    fn add(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        if value.len() < LEAST || self.is_full {
            return;
        }
        self.encoded(value);
        let Ok(text) = std::str::from_utf8(value) else { return };
        self.written(text);
        if text.contains('\n') {
            for line in text.lines().map(str::trim).filter(|line| line.len() >= LEAST_PART) {
                self.written(line);
                if self.is_full {
                    return;
                }
            }
        }
    }

    /// As it is, and escaped.
    fn written(&mut self, text: &str) {
        let json = serde_json::to_string(text).unwrap_or_default();
        let json = json.trim_matches('"').to_owned();
        // encoding/json of Go, in which Kubernetes and much around it is written
        let in_go = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        let in_url = utf8_percent_encode(text, URL_PART).to_string();
        let strictly = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let forms = [visible(text), json, in_go, small(&in_url), small(&strictly), in_url, strictly];
        forms.iter().filter(|form| form.len() >= LEAST).for_each(|form| self.insert(form));
    }

    /// In base64, by itself or behind other bytes.
    fn encoded(&mut self, value: &[u8]) {
        for before in 0..3 {
            let padded = [&[0; 2][..before], value].concat();
            // a character that holds bits of a neighbour may be any
            let from = [0, 2, 3][before];
            let to = padded.len() * 8 / 6;
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let text = engine.encode(&padded);
                if let Some(part) = text.get(from..to).filter(|part| part.len() >= LEAST_PART) {
                    self.insert(part);
                }
            }
        }
    }

    /// How long the longest of them is that a text begins with. Each look at one costs of `looks`; nothing when those are spent.
    fn at_start(&self, mut text: &[u8], looks: &mut usize) -> Option<usize> {
        // of all that a text begins with the longest is the last before the text, and what stands between differs later in it
        while text.len() >= LEAST {
            let range = (Bound::Unbounded, Bound::Included(text));
            let Some(form) = self.texts.range::<[u8], _>(range).next_back() else { break };
            let common = form.iter().zip(text).take_while(|(one, other)| one == other).count();
            *looks = looks.checked_sub(1 + common / A_LOOK)?;
            if common == form.len() {
                return Some(common);
            }
            text = &text[..common];
        }
        Some(0)
    }

    /// `text` without them; nothing if it was made so that it would take too long.
    fn taken_out(&self, text: &str) -> Option<String> {
        let (mut left, mut until) = (String::new(), 0);
        let mut looks = LOOKS * (text.len() + LEAST);
        for (at, _) in text.char_indices() {
            let length = self.at_start(&text.as_bytes()[at..], &mut looks)?;
            if length == 0 {
                continue;
            }
            // two of them may overlap
            if at >= until {
                left.extend([&text[until..at], HIDDEN]);
            }
            until = until.max(at + length);
        }
        left.push_str(&text[until..]);
        Some(left)
    }
}

/// What is left of a text where nothing may act on a terminal.
pub fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A text that is escaped for a URL, with small hexadecimal digits.
fn small(escaped: &str) -> String {
    let mut parts = escaped.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (digits, rest) in parts.filter_map(|part| part.split_at_checked(2)) {
        text.extend(["%", &digits.to_lowercase(), rest]);
    }
    text
}

/// `text` without them, without credentials that can be told by their form, and without what acts on a terminal.
pub fn clean(text: &str, forms: &Forms) -> String {
    // first what is not seen goes: it may stand in the middle of a value
    let text = visible(text);
    spec::mask_urls(&forms.taken_out(&text).unwrap_or_else(|| HIDDEN.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    fn forms(data: &[(&str, &str)]) -> Forms {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Forms::of([&Values::of(&data.collect())]).unwrap()
    }

    fn cleaned(value: &str, text: &str) -> String {
        clean(text, &forms(&[("password", value)]))
    }

    #[test]
    fn a_value_is_taken_out_however_it_is_written() {
        let value = "pa\"ss/wo+rd@1é";
        for text in [
            value.to_owned(),
            serde_json::to_string(value).unwrap(),
            utf8_percent_encode(value, NON_ALPHANUMERIC).to_string(),
            utf8_percent_encode(value, URL_PART).to_string(),
            STANDARD.encode(value),
            URL_SAFE.encode(value),
            STANDARD.encode(format!("app:{value}")),
            STANDARD.encode(format!("a:{value}")),
            STANDARD.encode(format!("ab:{value}-and more")),
            format!("{:?}", value.replace('é', "")).replace("wo+rd@1", "wo+rd@1é"),
        ] {
            let told = cleaned(value, &format!("before {text} after"));
            assert!(told.starts_with("before ") && told.ends_with(" after") && told.contains(HIDDEN), "{text}: {told}");
            assert!(!told.contains("wo+rd") && !told.contains("d28rcm"), "{text}: {told}");
        }
    }

    #[test]
    fn each_line_of_a_key_is_taken_out() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END PRIVATE KEY-----\n";
        assert_eq!(cleaned(key, "read MIIEvQIBADANBg and kqhkiG9w0BAQ"), "read *** and ***");
        assert!(!cleaned(key, &serde_json::to_string(key).unwrap()).contains("MIIE"));
    }

    #[test]
    fn what_is_short_or_public_stays() {
        assert_eq!(cleaned("abc", "abc"), "abc");
        let forms = forms(&[("host", "todo-main"), ("password", "s3cret"), ("other", "s3cret-value")]);
        assert_eq!(clean("todo-main s3cret-value s3cret", &forms), "todo-main *** ***");
    }

    #[test]
    fn a_url_and_a_terminal_are_safe() {
        assert_eq!(
            clean("\u{1b}[2Jpostgres://app:hunter2@db/x\r\n", &Forms::default()),
            "[2Jpostgres://app:*******@db/x\n"
        );
    }

    #[test]
    fn what_overlaps_goes_as_a_whole() {
        let forms = forms(&[("a", "abcdefgh"), ("b", "efghijkl"), ("c", "abcdefghéxyz"), ("d", "ghijklmn")]);
        for (text, left) in [
            ("1abcdefghijkl2", "1***2"),
            ("abcdefghéxyz", "***"),
            ("abcdefghéxy", "***éxy"),
            ("abcdefghabcdefgh", "******"),
            ("abcdefgabcdefg", "abcdefgabcdefg"),
            ("abcdefghijklmn", "***"),
        ] {
            assert_eq!(clean(text, &forms), left, "{text}");
        }
    }

    #[test]
    fn values_that_are_made_to_cost_much_hide_the_text() {
        let short = (0..20_000).map(|line| format!("line{line:07}")).collect::<Vec<_>>().join("\n");
        let short = Values::of(&[("a".to_owned(), ByteString(short.into_bytes()))].into());
        let forms = Forms::of([&short]).unwrap();
        assert_eq!(clean("line0012345 line0012345a line001234", &forms), "*** ***a line001234");
        assert!(Forms::of([&short, &Values(vec![vec![b'\n'; 20].into(), vec![b'%'; 4 << 20].into()])]).is_none());
        let many = (0..60_000).map(|line| format!("many{line:07}")).collect::<Vec<_>>().join("\n").into_bytes();
        assert!(Forms::of([&Values(vec![many.into()])]).is_none());
        // each of them has all those before as its beginning, but for the last letter
        let stairs = (8..1500).map(|length| format!("{}~", "a".repeat(length))).collect::<Vec<_>>();
        let stairs = Values(stairs.into_iter().map(|step| step.into_bytes().into()).collect());
        let forms = Forms::of([&stairs]).unwrap();
        assert_eq!(clean(&"a".repeat(64 << 10), &forms), HIDDEN);
        assert_eq!(clean("aaaaaaaaa~", &forms), "***");
    }
}
