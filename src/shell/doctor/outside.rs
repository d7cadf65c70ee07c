//! What is outside of the cluster: registries, the forge, and the credentials for both.

use super::Finding;
use crate::config::{Config, Credential, Forge, ForgeKind, Source, is_loopback};
use crate::platform::{Images, Platform};
use crate::shell::{credential, probe};
use std::path::Path;

/// Whether the registries answer that the platform's images are taken from, unless they are the usual ones.
pub(super) async fn of_platform(platform: &Platform) -> Vec<Finding> {
    const ABOUT: &str = "registry";
    let Ok(http) = probe::http_client() else { return vec![] };
    let mut found = vec![];
    for registry in registries(&platform.images) {
        let scheme = if is_loopback(&format!("http://{registry}")) { "http" } else { "https" };
        found.push(match http.get(format!("{scheme}://{registry}/v2/")).send().await {
            // a login is asked for by 401, and that is an answer
            Ok(_) => Finding::ok(ABOUT, format!("{registry} answers")),
            Err(error) => Finding::warning(
                ABOUT,
                format!("{registry} does not answer here: {}", crate::shell::cluster::failure::root(&error)),
                "see that nodes reach it; correct images in the configuration (HKS_POSTGRES_IMAGE, …)",
            ),
        });
    }
    found
}

/// Registries of images that somebody has configured.
fn registries(images: &Images) -> Vec<String> {
    let usual = Images::default();
    let all = [
        (&images.postgres, &usual.postgres),
        (&images.redis, &usual.redis),
        (&images.valkey, &usual.valkey),
        (&images.pgbouncer, &usual.pgbouncer),
    ];
    let own = all.into_iter().filter(|(image, usual)| image != usual).map(|(image, _)| image);
    // the first part of a reference is a registry if it looks like a host (distribution/reference)
    let host = |image: &String| {
        let (first, _) = image.split_once('/')?;
        (first.contains(['.', ':']) || first == "localhost").then(|| first.to_owned())
    };
    let mut found: Vec<_> = own.filter_map(host).collect();
    found.sort();
    found.dedup();
    found
}

/// Whether a source's credentials are there and its forge takes them.
pub async fn of_source(config: &Config, name: &str, source: &Source) -> Vec<Finding> {
    let kubeconfig = config.kubeconfig.as_deref();
    let mut found = vec![];
    let named = [
        ("git password", source.git.password.as_ref()),
        ("git key", source.git.ssh_key.as_ref()),
        ("webhook secret", source.webhook.as_ref().map(|webhook| &webhook.secret)),
        ("previous webhook secret", source.webhook.as_ref().and_then(|webhook| webhook.previous_secret.as_ref())),
    ];
    for (what, credential) in named {
        if let Some(credential) = credential {
            found.push(readable(name, what, credential, kubeconfig).await);
        }
    }
    if let Some(forge) = &source.forge {
        found.push(token(name, forge, kubeconfig).await);
    }
    found
}

async fn readable(source: &str, what: &str, credential: &Credential, kubeconfig: Option<&Path>) -> Finding {
    match credential::read(credential, kubeconfig).await {
        Ok(_) => Finding::ok("credentials", format!("{source}: the {what} can be read")),
        Err(error) => Finding::missing("credentials", format!("{source}: the {what}: {error:#}"), place(credential)),
    }
}

/// How a credential comes to be where it is looked for.
fn place(credential: &Credential) -> String {
    match credential {
        Credential::File(path) => format!("put it into {}", path.display()),
        Credential::Env(name) => format!("set the variable {name} for the daemon"),
        Credential::Secret(place) => {
            let mut parts = place.split('/');
            let (namespace, name, key) =
                (parts.next().unwrap_or("NAMESPACE"), parts.next().unwrap_or("NAME"), parts.next().unwrap_or("KEY"));
            format!("kubectl -n {namespace} create secret generic {name} --from-literal={key}=…")
        }
    }
}

async fn token(source: &str, forge: &Forge, kubeconfig: Option<&Path>) -> Finding {
    const ABOUT: &str = "forge";
    let token = match credential::read(&forge.token, kubeconfig).await {
        Ok(token) => token,
        Err(error) => return Finding::missing(ABOUT, format!("{source}: the token: {error:#}"), place(&forge.token)),
    };
    let Ok(http) = probe::http_client() else {
        return Finding::warning(ABOUT, format!("{source}: HTTP can't be set up"), "report this as a bug of hks");
    };
    let repository = &forge.repository;
    let answer = http
        .get(format!("{}/repos/{repository}", forge.api_url.trim_end_matches('/')))
        .bearer_auth(token.expose())
        .send()
        .await;
    judge(
        source,
        repository,
        forge.kind,
        answer.map(|answer| answer.status().as_u16()).map_err(|error| crate::shell::cluster::failure::root(&error)),
    )
}

fn judge(source: &str, repository: &str, kind: ForgeKind, answer: Result<u16, String>) -> Finding {
    const ABOUT: &str = "forge";
    let rights = match kind {
        ForgeKind::Github => "Contents: read and Commit statuses: write",
        ForgeKind::Gitea => "the scope write:repository",
    };
    match answer {
        Ok(200..=299) => {
            Finding::ok(ABOUT, format!("{source}: the token is taken for {repository}; it needs {rights}"))
        }
        Ok(401) => Finding::missing(
            ABOUT,
            format!("{source}: the forge does not take the token"),
            format!("make a new one with {rights}"),
        ),
        Ok(403 | 404) => Finding::missing(
            ABOUT,
            format!("{source}: the token does not reach {repository}"),
            format!("give it {rights} for this repository, or correct forge.repository"),
        ),
        Ok(code) => {
            Finding::warning(ABOUT, format!("{source}: the forge answers with status {code}"), "see forge.apiUrl")
        }
        Err(why) => Finding::missing(
            ABOUT,
            format!("{source}: the forge does not answer: {why}"),
            "see forge.apiUrl, and that the daemon gets there",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn only_configured_registries_are_asked() {
        assert_eq!(registries(&Images::default()), Vec::<String>::new());
        let images = Images {
            postgres: "mirror.example:5000/postgres:{version}".into(),
            redis: "mirror.example:5000/redis".into(),
            valkey: "team/valkey".into(),
            pgbouncer: "localhost/pgbouncer".into(),
            pull_secret: None,
        };
        assert_eq!(registries(&images), ["localhost", "mirror.example:5000"]);
    }

    #[test]
    fn what_a_forge_says_of_a_token_is_told_with_the_right_that_it_needs() {
        let verdict = |answer| judge("shop", "acme/shop", ForgeKind::Github, answer).verdict;
        assert_eq!(verdict(Ok(200)), Verdict::Ok);
        assert_eq!([verdict(Ok(401)), verdict(Ok(404)), verdict(Err("refused".into()))], [Verdict::Missing; 3]);
        assert_eq!(verdict(Ok(502)), Verdict::Warning);
    }

    #[test]
    fn a_credential_that_is_not_there_is_made_by_a_command() {
        let credential = Credential::Secret("hks/forge/token".into());
        assert_eq!(place(&credential), "kubectl -n hks create secret generic forge --from-literal=token=…");
    }
}
