//! What goes with hks's own image, at a real registry: what it is made of, and where it comes from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::{Value, json};
use std::process::Command;
use support::release::image;
use support::{kit, request};

/// What scanners look for: an index that names the image, and beside it statements about that very image.
#[test]
fn the_image_says_what_it_is_made_of_and_where_it_comes_from() {
    let get = |path: &str| {
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{}/v2/hks/{path}", kit().registry);
        let (status, text) = request("GET", &url, &[("accept", accept)], "");
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let digest = |of: &Value| of["digest"].as_str().unwrap().to_owned();
    let index = get(&format!("manifests/{}", image()));
    let (image, attestations) = (&index["manifests"][0], &index["manifests"][1]);
    assert_eq!(image["platform"], json!({"architecture": "amd64", "os": "linux"}));
    assert_eq!(attestations["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let statements = get(&format!("manifests/{}", digest(attestations)));
    let statement = |at: usize, kind: &str| {
        let statement = get(&format!("blobs/{}", digest(&statements["layers"][at])));
        assert_eq!(statement["predicateType"], kind);
        assert_eq!(statement["subject"][0]["digest"]["sha256"], digest(image).trim_start_matches("sha256:"));
        statement["predicate"].clone()
    };

    let program = Command::new("sha256sum").arg(env!("CARGO_BIN_EXE_hks")).output().unwrap();
    let program = String::from_utf8(program.stdout).unwrap()[..64].to_owned();
    let sbom = statement(0, "https://spdx.dev/Document");
    let packages = sbom["packages"].as_array().unwrap();
    let version = |name: &str| {
        let found = packages.iter().find(|package| package["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is missing"))["versionInfo"].as_str().unwrap().to_owned()
    };
    let lock = std::fs::read_to_string("Cargo.lock").unwrap();
    for name in ["kube", "git2", "libgit2-sys", "axum"] {
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{}\"", version(name))), "{name}");
    }
    // what the image has of the system, and nothing that only tests need
    assert!(version("libc6").starts_with("2."));
    assert!(packages.iter().all(|package| package["name"] != "proptest"));
    assert_eq!(
        packages.iter().find(|package| package["name"] == "hks").unwrap()["checksums"][0]["checksumValue"],
        program
    );

    let provenance = statement(1, "https://slsa.dev/provenance/v1");
    assert_eq!(provenance["buildDefinition"]["internalParameters"]["program"]["sha256"], program);
    let head = Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    assert_eq!(provenance["buildDefinition"]["externalParameters"]["revision"], head.trim());
}
