//! The pure line from file to plan, as plain files: `tests/fixtures/pipeline/<case>/` holds `hks.yaml` and, where something is
//! live already, `before.yaml` (the hks.yaml that made it); beside them the expected `manifest.yaml` and `plan.txt`. A file
//! `edge` names what public hosts are made of.
//! `UPDATE=1` writes the expected files anew.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test of files")]

mod pure;

use hks::ident::{ObjectKey, Revision};
use hks::manifest::{Context, Edge, EdgeTls, Manifest, render};
use hks::plan::{Action, Live, Owned, Plan, compare};
use hks::spec::TlsVersion;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn manifest(path: &Path, revision: &str) -> Manifest {
    let edge = match fs::read_to_string(path.with_file_name("edge")).unwrap_or_default().trim() {
        "traefik" => Edge::Traefik,
        "nginx" => Edge::Nginx,
        "gateway" => Edge::Gateway(pure::gateway()),
        _ => Edge::Plain,
    };
    let options = [(TlsVersion::V1_3, "tls13@file".to_owned())];
    let tls =
        EdgeTls { min_version: Some(TlsVersion::V1_2), options: options.into(), issuer: Some("letsencrypt".into()) };
    let context = Context { scheme: "https".into(), edge, tls, ..pure::context() };
    let spec = hks::spec::parse(&fs::read(path).unwrap(), "hks.yaml").unwrap();
    render(&spec, &Revision::new(revision), &context)
}

/// What the API server would hold after `manifest` was applied, and the inventory.
fn applied(manifest: &Manifest) -> (Live, Vec<Owned>) {
    let object = |object: &std::sync::Arc<hks::manifest::Object>| {
        let mut body = object.body.clone();
        for key in object.recipe.keys() {
            body["data"][key] = Live::HIDDEN.into();
        }
        (object.key.clone(), Arc::new(body))
    };
    let objects = manifest.objects.iter().map(object).collect();
    let owned = manifest
        .objects
        .iter()
        .map(|object| Owned { key: object.key.clone(), settled: true, made: None, doomed: false, accepted: false })
        .collect();
    (Live { objects, ..Live::default() }, owned)
}

fn show(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        match &step.action {
            Action::Create => writeln!(text, "+ {}", step.object.key).unwrap(),
            Action::Keep => writeln!(text, "= {}", step.object.key).unwrap(),
            Action::Change(fields) => {
                writeln!(text, "~ {}", step.object.key).unwrap();
                for field in fields {
                    let live = field.live.as_deref().unwrap_or("nothing");
                    writeln!(text, "    {}: {live} -> {}", field.field, field.wanted).unwrap();
                }
            }
        }
        if let Some(warning) = &step.irreversible {
            writeln!(text, "    ! {warning}").unwrap();
        }
    }
    let list = |text: &mut String, sign: &str, keys: &[ObjectKey]| {
        for key in keys {
            writeln!(text, "{sign} {key}").unwrap();
        }
    };
    list(&mut text, "-", &plan.prune);
    list(&mut text, "kept", &plan.retain);
    for refusal in &plan.refusals {
        writeln!(text, "refused {}: {}", refusal.key, refusal.message).unwrap();
    }
    text
}

fn expect(path: &PathBuf, actual: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected != actual {
        let diff = similar::TextDiff::from_lines(&expected, actual);
        wrong.push(format!("{}\n{}", path.display(), diff.unified_diff()));
    }
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipeline");
    let mut folders: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 6, "cases are missing");
    let mut wrong = vec![];
    for case in folders {
        let wanted = manifest(&case.join("hks.yaml"), "bbbbbbbbbb");
        let bodies =
            wanted.objects.iter().map(|object| format!("---\n{}", serde_saphyr::to_string(&object.body).unwrap()));
        expect(&case.join("manifest.yaml"), &bodies.collect::<String>(), &mut wrong);
        let before = case.join("before.yaml");
        let (live, owned) =
            if before.exists() { applied(&manifest(&before, "aaaaaaaaaa")) } else { Default::default() };
        expect(&case.join("plan.txt"), &show(&compare(&wanted, &live, &owned)), &mut wrong);
        // what was applied as it is needs nothing more
        let (live, owned) = applied(&wanted);
        assert!(
            compare(&wanted, &live, &owned).is_empty(),
            "{}: {}",
            case.display(),
            show(&compare(&wanted, &live, &owned))
        );
    }
    assert!(wrong.is_empty(), "UPDATE=1 accepts what is right:\n{}", wrong.join("\n"));
}
