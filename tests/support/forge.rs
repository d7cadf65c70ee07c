//! A repository of a test's own at the kit's forge.

use super::ask::{get_json, request};
use super::kit::Forge;
use std::path::Path;

/// A repository, deleted with its test.
pub struct Repository {
    /// `owner/name`.
    pub path: String,
    /// The forge's API.
    pub api: String,
    forge: &'static Forge,
}

impl Repository {
    /// An empty one of this name, which ends with the id of this process; those of runs that were killed go.
    pub fn new(forge: &'static Forge, name: &str) -> Self {
        let new = Self { path: format!("{}/{name}", forge.user), api: format!("{}/api/v1", forge.url), forge };
        let all = get_json(&format!("{}/repos/search?q=e2e-&limit=50", new.api)).unwrap_or_default();
        for left in all["data"].as_array().into_iter().flatten().filter_map(|one| one["full_name"].as_str()) {
            let of = left.rsplit('-').next().unwrap_or_default();
            if left.contains("/e2e-") && !Path::new(&format!("/proc/{of}")).exists() {
                new.ask("DELETE", &format!("repos/{left}"), "");
            }
        }
        let (status, text) = new.ask("POST", "user/repos", &format!("{{\"name\":\"{name}\"}}"));
        assert_eq!(status, 201, "{text}");
        new
    }

    /// Asks the forge's API.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let bearer = format!("token {}", self.token());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        request(method, &format!("{}/{path}", self.api), &headers, body)
    }

    /// The token of its owner.
    pub fn token(&self) -> String {
        std::fs::read_to_string(&self.forge.token).unwrap().trim().to_owned()
    }

    /// The password of its owner.
    pub fn password(&self) -> String {
        std::fs::read_to_string(&self.forge.password).unwrap().trim().to_owned()
    }

    /// Where a developer pushes to.
    pub fn remote(&self) -> String {
        let who = format!("://{}:{}@", self.forge.user, self.password());
        format!("{}/{}.git", self.forge.url.replacen("://", &who, 1), self.path)
    }

    /// States and descriptions of a commit's statuses, in their order.
    pub fn statuses(&self, sha: &str) -> Vec<(String, String)> {
        let list = get_json(&format!("{}/repos/{}/commits/{sha}/statuses", self.api, self.path)).unwrap_or_default();
        let mut rows: Vec<_> = list.as_array().cloned().unwrap_or_default();
        rows.sort_by_key(|row| row["id"].as_i64());
        let word = |text: &serde_json::Value| text.as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (word(&row["status"]), word(&row["description"]))).collect()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.ask("DELETE", &format!("repos/{}", self.path), "");
    }
}
