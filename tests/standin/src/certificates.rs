//! Certificates that a cluster injected: a bundle, and four settings that lead clients of as many languages to it.

use std::{fs, io};

use serde_json::{Value, json};

use crate::settings::{SettingError, required, setting};

const SETTINGS: [&str; 4] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"];
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("the file of {name} can't be read")]
    Unreadable { name: &'static str, source: io::Error },
    #[error("the file of {0} has no certificate")]
    Empty(&'static str),
}

/// Whether each of the four settings names a file with at least one certificate.
pub fn check_all() -> Result<(), CertificatesError> {
    for name in SETTINGS {
        if count(&read(name)?) == 0 {
            return Err(CertificatesError::Empty(name));
        }
    }
    Ok(())
}

/// How many certificates the bundle has, and whether it has the one of the file that `EXPECT_CA` names.
pub fn describe() -> Result<Value, CertificatesError> {
    let bundle = read("SSL_CERT_FILE")?;
    let expected = setting("EXPECT_CA").map(|_| read("EXPECT_CA")).transpose()?;
    let found = expected.map(|text| contains(&bundle, &text));
    Ok(json!({"certificates": count(&bundle), "subject_contains": found}))
}

fn read(name: &'static str) -> Result<String, CertificatesError> {
    fs::read_to_string(required(name)?).map_err(|source| CertificatesError::Unreadable { name, source })
}

/// Blocks that end; one that was cut off is no certificate.
fn count(text: &str) -> usize {
    text.split(BEGIN).skip(1).filter(|block| block.contains(END)).count()
}

fn contains(bundle: &str, expected: &str) -> bool {
    let expected = expected.trim();
    !expected.is_empty() && bundle.contains(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const TWO: &str = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----";

    #[test]
    fn whole_certificates_are_counted() {
        assert_eq!(count(&format!("# a comment\n{ONE}{TWO}")), 2);
        assert_eq!(count(&ONE[..40]), 0);
        assert_eq!(count(""), 0);
    }

    #[test]
    fn a_bundle_contains_a_certificate_as_it_is_written() {
        let bundle = format!("{ONE}{TWO}\n");
        assert!(contains(&bundle, TWO) && contains(&bundle, &format!("{TWO}\n\n")));
        assert!(!contains(ONE, TWO) && !contains(ONE, " "));
    }
}
