//! The chapter about a default vCluster in docs/doctor.md, followed word for word on one that is made for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use support::own::{Own, text};
use support::{kit, sample, until};

/// The values that the chapter gives.
fn chapter() -> String {
    let page = std::fs::read_to_string("docs/doctor.md").unwrap();
    let (_, chapter) = page.split_once("## A default vCluster").unwrap();
    let (_, rest) = chapter.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn a_default_vcluster_lacks_what_the_chapter_gives_it() {
    if kit().vcluster.is_none() {
        // the cluster is somebody's own: no vCluster is made there
        return;
    }
    let own = Own::new("plain");
    own.install("");
    let absent = own.hks(&["doctor"]);
    assert!(text(&absent).contains("kubectl create namespace shop"), "{}", text(&absent));
    own.make_project();
    let before = text(&own.hks(&["doctor"]));
    for lacking in ["ingresses", "networkPolicies", "podDisruptionBudgets", "storageClasses", "metricsServer"] {
        assert!(before.contains(&format!("{lacking}.enabled: true")), "{lacking}: {before}");
    }
    own.install(&chapter());
    let mut after = String::new();
    let well = until(90, || {
        let seen = own.hks(&["doctor"]);
        after = text(&seen);
        seen.status.success() && !after.contains("vcluster.yaml") && after.contains("what pods use is measured")
    });
    assert!(well, "{after}");
    let file = own.file("hks.yaml", &sample("one", "1.0.0"));
    let applied = own.hks(&["apply", file.to_str().unwrap()]);
    assert!(applied.status.success(), "{}", text(&applied));
    assert!(text(&applied).contains("http://one-shop."), "{}", text(&applied));
}
