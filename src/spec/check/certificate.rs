//! Certificates of authorities in PEM (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What keeps programs from reading `text` as certificates, if anything does.
pub(super) fn complaint(text: &str) -> Option<String> {
    if text.contains("PRIVATE KEY") {
        return Some("a private key stands beside the certificate".to_owned());
    }
    let mut blocks = text.split(BEGIN);
    // what stands before the first one is a comment
    if blocks.next().is_none_or(|before| before.contains(END)) {
        return Some("not a certificate in PEM".to_owned());
    }
    let blocks: Vec<&str> = blocks.collect();
    if blocks.is_empty() {
        return Some("not a certificate in PEM".to_owned());
    }
    blocks.iter().enumerate().find_map(|(index, block)| {
        let which = if blocks.len() == 1 { "the certificate".to_owned() } else { format!("certificate {}", index + 1) };
        let Some((body, _)) = block.split_once(END) else { return Some(format!("{which} has no end")) };
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let Ok(bytes) = STANDARD.decode(body) else { return Some(format!("{which} is not base64")) };
        Certificate::from_der(&bytes).is_err().then(|| format!("{which} is base64, but not of a certificate"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates() {
        let root =
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.first().map(|root| STANDARD.encode(root)).unwrap_or_default();
        let pem = |body: &str| format!("{BEGIN}\n{body}\n{END}\n");
        let good = pem(&root);
        assert_eq!(complaint(&good), None);
        assert_eq!(complaint(&format!("# our own\n{good}\n{good}")), None);
        for (text, part) in [
            (String::new(), "not a certificate"),
            ("hello".to_owned(), "not a certificate"),
            (format!("{END}{good}"), "not a certificate"),
            (format!("{BEGIN}\n{root}"), "has no end"),
            (pem("this is not base64!!"), "not base64"),
            (pem("aGVsbG8="), "not of a certificate"),
            (format!("{good}{}", pem("aGVsbG8=")), "certificate 2"),
            (format!("{good}-----BEGIN PRIVATE KEY-----"), "private key"),
        ] {
            assert!(complaint(&text).is_some_and(|told| told.contains(part)), "{text}");
        }
    }
}
