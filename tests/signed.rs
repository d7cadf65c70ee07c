//! Commits that the platform wants to be signed, on the real cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, Signature, SshSig};
use support::{World, until, worker};

/// Who signs commits.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn public(&self) -> KeyData {
        KeyData::Ed25519(Ed25519PublicKey(self.0.public_key().as_ref().try_into().unwrap()))
    }

    /// A line of `authorized_keys`.
    fn line(&self) -> String {
        PublicKey::new(self.public(), "dev@example.com").to_openssh().unwrap()
    }

    /// Puts in the place of the newest commit the same one, signed.
    fn sign_newest(&self, world: &World) -> String {
        let repository = git2::Repository::open(world.remote()).unwrap();
        let head = repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
        let parents: Vec<_> = head.parents().collect();
        let (author, message, tree) = (head.author(), head.message().unwrap(), head.tree().unwrap());
        let parents: Vec<_> = parents.iter().collect();
        let text = repository.commit_create_buffer(&author, &author, message, &tree, &parents).unwrap();
        let signed = SshSig::signed_data("git", HashAlg::Sha512, &text).unwrap();
        let tag = Signature::new(Algorithm::Ed25519, self.0.sign(&signed).as_ref()).unwrap();
        let signature =
            SshSig::new(self.public(), "git", HashAlg::Sha512, tag).unwrap().to_pem(LineEnding::LF).unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        let id = repository.commit_signed(text, &signature, None).unwrap();
        repository.reference("refs/heads/main", id, true, "signed").unwrap();
        world.git(&world.work(), &["fetch", "-q", "origin"]);
        world.git(&world.work(), &["reset", "-q", "--hard", "origin/main"]);
        id.to_string()
    }
}

/// What is not signed is not deployed, also after a restart and as a rollback; what runs is looked after meanwhile.
#[test]
fn a_commit_that_nobody_has_signed_is_not_deployed() {
    let signer = Signer::new();
    let mut world = World::new("signed");
    world.settings = format!("policy: {{signers: ['{}']}}\n", signer.line());
    world.push_stack(&worker("one", "1", "sleep 3601", ""));
    let first = signer.sign_newest(&world);
    world.start();
    world.settled("one", &first);
    let source = |world: &World| {
        let status = world.get("/api/v1/status").unwrap_or_default();
        status["sources"][0]["error"].as_str().unwrap_or_default().to_owned()
    };
    let image = |world: &World| {
        world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.spec.template.spec.containers[0].command}"])
    };
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
    let told = format!("commit {} is not signed; nothing of it is deployed, and what runs stays", &second[..7]);
    assert!(until(30, || source(&world) == told), "{}", world.log());
    world.kill();
    world.start();
    assert!(until(30, || source(&world) == told), "{}", world.log());
    world.kubectl(&["delete", "deployment", "one-job"]);
    assert!(until(60, || world.try_kubectl(&["get", "deployment", "one-job"]).status.success()), "{}", world.log());
    assert!(image(&world).contains("3601"), "{}", image(&world));

    // whoever signs vouches for all that led there; and somebody else's signature is none
    world.push_stack(&worker("one", "1", "sleep 3603", ""));
    Signer::new().sign_newest(&world);
    assert!(until(30, || source(&world).contains("is none of policy.signers")), "{}", source(&world));
    let third = signer.sign_newest(&world);
    world.settled("one", &third);
    assert!(until(30, || source(&world).is_empty()), "{}", source(&world));
    let refused = world.hks(&["rollback", "one", "--to", &second, "--yes"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("is not signed"), "{text}");
}
