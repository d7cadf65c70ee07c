//! Helm: the program that the kit builds.

use super::kit::kit;
use std::path::Path;
use std::process::Command;

/// Something that the kit tells of itself.
pub(super) fn variable(name: &str) -> String {
    let env = Command::new("bash").args(["tests/cluster/cluster", "env"]).output().unwrap().stdout;
    let env = String::from_utf8(env).unwrap();
    let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {name}="))).unwrap();
    line.trim_matches(['"', '\'']).to_owned()
}

/// Helm that keeps what it keeps in a folder; none where the cluster is somebody's own.
pub fn helm(folder: &Path) -> Option<Command> {
    let told = std::env::var("HKS_KIT_HELM").ok();
    let program = told.or_else(|| kit().vcluster.as_ref().map(|_| variable("HKS_KIT_HELM")))?;
    let mut command = Command::new(program);
    for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(home, folder.join("helm"));
    }
    Some(command)
}
