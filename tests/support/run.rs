//! hks as a person runs it: in the project, with what the kit's platform has set up, or with as little as is needed.

use super::{World, kit};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

impl World {
    /// hks in the project, without anything that is known of the cluster or the platform.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hks"));
        // what the person at this machine has set is none of the test's business
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HKS_")) {
            command.env_remove(name);
        }
        command.args(args).current_dir(self.work()).env("HKS_NAMESPACE", &self.namespace);
        command
    }

    /// … and all that is known is where the cluster is.
    pub fn on_cluster(&self, args: &[&str]) -> Command {
        let kit = kit();
        let mut command = self.command(args);
        command.env("HKS_KUBECONFIG", &kit.kubeconfig);
        if let Some(vcluster) = &kit.vcluster {
            command.env("HKS_VCLUSTER", vcluster);
        }
        command
    }

    /// Runs hks without anything that is known of the platform: only where the cluster is.
    pub fn bare_hks(&self, args: &[&str]) -> Output {
        self.on_cluster(args).output().expect("hks runs")
    }

    /// Runs hks with another kubeconfig.
    pub fn hks_by(&self, kubeconfig: &Path, args: &[&str]) -> Output {
        self.command(args).env("HKS_KUBECONFIG", kubeconfig).output().expect("hks runs")
    }

    /// Runs hks in the project.
    pub fn hks(&self, args: &[&str]) -> Output {
        self.hks_with(args, "")
    }

    /// Runs hks in the project with this on its standard input.
    pub fn hks_with(&self, args: &[&str], input: &str) -> Output {
        let kit = kit();
        let file = self.folder.path().join("input");
        std::fs::write(&file, input).expect("written");
        self.on_cluster(args)
            .env("HKS_DOMAIN", &kit.domain)
            .env("HKS_REDIS_IMAGE", format!("{}/redis:{{version}}", kit.registry))
            .env("HKS_PGBOUNCER_IMAGE", format!("{}/pgbouncer:1", kit.registry))
            .env("HKS_POSTGRES_IMAGE", format!("{}/postgres:{{version}}", kit.registry))
            .stdin(File::open(&file).expect("readable"))
            .output()
            .expect("hks runs")
    }

    /// Runs hks in the project, which must work; all that it prints.
    pub fn hks_works(&self, args: &[&str]) -> String {
        let done = self.hks(args);
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "hks {args:?}: {text}");
        text
    }
}
