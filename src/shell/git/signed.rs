//! Who has signed a commit: by SSH, as `git commit -S` does with `gpg.format=ssh` (OpenSSH's PROTOCOL.sshsig).

use git2::{ErrorCode, Oid, Repository};
use ring::error::Unspecified;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey, SshSig};

/// What git signs for, so that what somebody has signed for something else is no commit.
const NAMESPACE: &str = "git";
/// Bytes of a signature, and of a commit.
const MAX: (usize, usize) = (16 * 1024, 1024 * 1024);

/// Sees that one of `signers`, public keys as in `authorized_keys`, has signed a commit.
///
/// # Errors
/// Why it is not so, in words that go on from "the commit".
pub(super) fn check(repository: &Repository, commit: Oid, signers: &[String]) -> Result<(), String> {
    let (signature, text) = match repository.extract_signature(&commit, None) {
        Ok(found) => found,
        Err(error) if error.code() == ErrorCode::NotFound => return Err("is not signed".into()),
        Err(error) => return Err(format!("has a signature that can't be read: {}", error.message())),
    };
    if signature.len() > MAX.0 || text.len() > MAX.1 {
        return Err("is too long to look for who has signed it".into());
    }
    verify(&signature, &text, signers)
}

fn verify(signature: &[u8], text: &[u8], signers: &[String]) -> Result<(), String> {
    if !signature.trim_ascii_start().starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return Err("is signed by other means than SSH keys, which hks does not know: git config gpg.format ssh".into());
    }
    let signature =
        SshSig::from_pem(signature).map_err(|error| format!("has a signature that can't be read: {error}"))?;
    if signature.namespace() != NAMESPACE {
        return Err("has a signature that was made for something else".into());
    }
    let key = signature.public_key();
    let mut known = signers.iter().filter_map(|line| PublicKey::from_openssh(line).ok());
    if !known.any(|known| known.key_data() == key) {
        let print = key.fingerprint(HashAlg::Sha256);
        return Err(format!("is signed by {print}, which is none of policy.signers"));
    }
    let signed = SshSig::signed_data(NAMESPACE, signature.hash_alg(), text).map_err(|error| error.to_string())?;
    let tag = signature.signature_bytes();
    let verified = match (key, signature.algorithm()) {
        (KeyData::Ed25519(key), Algorithm::Ed25519) => UnparsedPublicKey::new(&ED25519, key.0).verify(&signed, tag),
        (KeyData::Rsa(key), Algorithm::Rsa { hash: Some(hash) }) => {
            let part = |number: &ssh_key::Mpint| number.as_positive_bytes().unwrap_or_default().to_vec();
            let key = RsaPublicKeyComponents { n: part(&key.n), e: part(&key.e) };
            let by = match hash {
                HashAlg::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                _ => &RSA_PKCS1_2048_8192_SHA512,
            };
            key.verify(by, &signed, tag)
        }
        (KeyData::Ecdsa(key), Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }) => {
            by_numbers(&ECDSA_P256_SHA256_FIXED, 32, key, &signed, tag)
        }
        (KeyData::Ecdsa(key), Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 }) => {
            by_numbers(&ECDSA_P384_SHA384_FIXED, 48, key, &signed, tag)
        }
        (_, algorithm) => return Err(format!("is signed by a key of a kind that hks does not know: {algorithm}")),
    };
    verified.map_err(|_| "has a signature that does not fit it".into())
}

fn by_numbers(
    by: &'static dyn VerificationAlgorithm,
    width: usize,
    key: &EcdsaPublicKey,
    signed: &[u8],
    tag: &[u8],
) -> Result<(), Unspecified> {
    let tag = numbers(tag, width).ok_or(Unspecified)?;
    UnparsedPublicKey::new(by, key.as_sec1_bytes()).verify(signed, &tag)
}

/// The two numbers of an ECDSA signature (RFC 5656, section 3.1.2), each in so many bytes.
fn numbers(tag: &[u8], width: usize) -> Option<Vec<u8>> {
    let mut rest = tag;
    let mut all = vec![];
    for _ in 0..2 {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (number, after) = after.split_at_checked(length)?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        all.extend(std::iter::repeat_n(0, width.checked_sub(number.len())?));
        all.extend(number);
        rest = after;
    }
    rest.is_empty().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits by `git commit -S`, as `git cat-file commit` shows them.
    const COMMITS: [(&str, &str); 3] = [
        (
            include_str!("../../../tests/fixtures/signed/ed25519.commit"),
            include_str!("../../../tests/fixtures/signed/ed25519.pub"),
        ),
        (
            include_str!("../../../tests/fixtures/signed/ecdsa.commit"),
            include_str!("../../../tests/fixtures/signed/ecdsa.pub"),
        ),
        (
            include_str!("../../../tests/fixtures/signed/rsa.commit"),
            include_str!("../../../tests/fixtures/signed/rsa.pub"),
        ),
    ];

    /// The signature of a commit, and what it is of.
    fn parts(commit: &str) -> (String, String) {
        let (head, rest) = commit.split_once("gpgsig ").unwrap();
        let (signature, rest) = rest.split_once("-----END SSH SIGNATURE-----\n").unwrap();
        let signature = format!("{signature}-----END SSH SIGNATURE-----\n").replace("\n ", "\n");
        (signature, format!("{head}{rest}"))
    }

    #[test]
    fn what_git_has_signed_is_known() {
        let all: Vec<_> = COMMITS.iter().map(|(_, key)| (*key).to_owned()).collect();
        for (index, (commit, _)) in COMMITS.iter().enumerate() {
            let (signature, text) = parts(commit);
            let check = |signature: &str, text: &str, signers: &[String]| {
                verify(signature.as_bytes(), text.as_bytes(), signers)
            };
            assert_eq!(check(&signature, &text, &all), Ok(()));
            assert_eq!(check(&signature, &text, &all[index..=index]), Ok(()));
            let others: Vec<_> = all.iter().filter(|key| **key != all[index]).cloned().collect();
            let failed = |signature: &str, text: &str, signers: &[String]| check(signature, text, signers).unwrap_err();
            assert!(failed(&signature, &text, &others).contains("is none of policy.signers"));
            assert!(failed(&signature, &text, &[]).contains("is none of policy.signers"));
            let changed = text.replacen("dev", "eve", 1);
            assert_eq!(failed(&signature, &changed, &all), "has a signature that does not fit it");
            let (other, _) = parts(COMMITS[(index + 1) % 3].0);
            assert_eq!(failed(&other, &text, &all), "has a signature that does not fit it");
            for cut in [signature.replacen('A', "B", 3), signature[..60].to_owned(), signature.replace('\n', "")] {
                assert!(check(&cut, &text, &all).is_err(), "{cut}");
            }
            assert!(failed("-----BEGIN PGP SIGNATURE-----\n", &text, &all).contains("other means than SSH"));
        }
    }

    #[test]
    fn numbers_are_of_their_width() {
        let tag = |r: &[u8], s: &[u8]| {
            let part = |number: &[u8]| [&u32::try_from(number.len()).unwrap().to_be_bytes()[..], number].concat();
            [part(r), part(s)].concat()
        };
        assert_eq!(numbers(&tag(&[0, 0x80], &[1]), 2), Some(vec![0, 0x80, 0, 1]));
        assert_eq!(numbers(&tag(&[1, 2, 3], &[1]), 2), None);
        assert_eq!(numbers(&[tag(&[1], &[1]), vec![0]].concat(), 2), None);
        assert_eq!(numbers(&[0, 0, 0, 9, 1], 2), None);
        assert_eq!(numbers(&[], 2), None);
    }
}
