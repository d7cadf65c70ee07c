//! What is outside of the cluster: registries, the forge, and the credentials for both.

use super::Finding;
use crate::config::{Config, Credential, Forge, ForgeKind, Source, is_loopback};
use crate::platform::{Images, Platform};
use crate::shell::cluster::failure::root;
use crate::shell::credential::Hidden;
use crate::shell::oidc::Provider;
use crate::shell::{answer, credential, probe};
use serde_json::Value;
use std::path::Path;

/// Where webhooks arrive.
const PATH: &str = "/webhooks/github";

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
                format!("{registry} does not answer here: {}", root(&error)),
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
        found.extend(of_forge(config, name, source, forge).await);
    }
    found
}

/// Whether who has a token can be let in to the endpoint, and whether anybody else would be.
pub async fn of_access(config: &Config) -> Vec<Finding> {
    const ABOUT: &str = "access";
    let access = &config.access;
    if access.tokens.is_empty() && access.oidc.is_none() && !access.anonymous && !config.listen.ip().is_loopback() {
        return vec![Finding::warning(
            ABOUT,
            format!("the endpoint at {} shows nothing to anybody", config.listen),
            "access.tokens or access.oidc in the configuration; or access.anonymous, where only those get there who may see all Stacks",
        )];
    }
    let mut found = vec![];
    for (name, reader) in &access.tokens {
        for (what, credential) in [("token", Some(&reader.token)), ("previous token", reader.previous_token.as_ref())] {
            if let Some(credential) = credential {
                found.push(readable(&format!("reader {name}"), what, credential, config.kubeconfig.as_deref()).await);
            }
        }
    }
    if let (Some(oidc), Some(public_url)) = (&access.oidc, &config.public_url) {
        found.push(readable("logins", "client secret", &oidc.client_secret, config.kubeconfig.as_deref()).await);
        let answers = match Provider::new(oidc, public_url, config.kubeconfig.as_deref()) {
            Ok(provider) => provider.check().await,
            Err(error) => Err(error),
        };
        found.push(match answers {
            Ok(()) => Finding::ok(ABOUT, format!("logins: {} answers", oidc.issuer)),
            Err(error) => Finding::missing(
                ABOUT,
                format!("logins: {}: {error:#}", oidc.issuer),
                "access.oidc.issuer; the way from the daemon's pod to it; SSL_CERT_FILE or the chart's caConfigMap for an authority of your own",
            ),
        });
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

/// Bytes of a forge's answer that are read at most.
const MOST_ANSWERED: usize = 1 << 20;

/// What a forge answers: the status and, where it is that, JSON.
type Answer = Result<(u16, Value), String>;

/// Whether the forge takes the token for what hks writes there, and whether it would tell of pushes.
async fn of_forge(config: &Config, name: &str, source: &Source, forge: &Forge) -> Vec<Finding> {
    let token = match credential::read(&forge.token, config.kubeconfig.as_deref()).await {
        Ok(token) => token,
        Err(error) => {
            return vec![Finding::missing("forge", format!("{name}: the token: {error:#}"), place(&forge.token))];
        }
    };
    let Ok(http) = probe::http_client() else {
        return vec![Finding::warning("forge", format!("{name}: HTTP can't be set up"), "report this as a bug of hks")];
    };
    let repository = format!("{}/repos/{}", forge.api_url.trim_end_matches('/'), forge.repository);
    let mut found = vec![rights(name, &forge.repository, forge.kind, &ask(&http, &repository, &token).await)];
    if source.webhook.is_some() {
        let hooks = ask(&http, &format!("{repository}/hooks"), &token).await;
        found.push(webhook(name, config.public_url.as_deref(), &hooks));
    }
    found
}

async fn ask(http: &reqwest::Client, url: &str, token: &Hidden) -> Answer {
    let answer = http.get(url).bearer_auth(token.expose()).send().await;
    let mut answer = answer.map_err(|error| root(&error))?;
    let (body, is_cut) = answer::read(&mut answer, MOST_ANSWERED).await.map_err(|error| root(&error))?;
    if is_cut {
        return Err("its answer is too long".into());
    }
    Ok((answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
}

fn rights(source: &str, repository: &str, kind: ForgeKind, answer: &Answer) -> Finding {
    const ABOUT: &str = "forge";
    let rights = match kind {
        ForgeKind::Github => "Contents: read and Commit statuses: write",
        ForgeKind::Gitea => "the scope write:repository",
    };
    match answer {
        // GitHub's apps are told no permissions
        Ok((200..=299, of)) if of["permissions"]["push"] == false => Finding::missing(
            ABOUT,
            format!("{source}: the token's user may not write to {repository}, so no commit status can be"),
            format!("let the user write there, or take a token of one who may, with {rights}"),
        ),
        Ok((200..=299, of)) if of["permissions"]["push"] == true => Finding::ok(
            ABOUT,
            format!("{source}: the token is of one who may write to {repository}; it needs {rights}"),
        ),
        Ok((200..=299, _)) => {
            Finding::ok(ABOUT, format!("{source}: the token is taken for {repository}; it needs {rights}"))
        }
        Ok((401, _)) => Finding::missing(
            ABOUT,
            format!("{source}: the forge does not take the token"),
            format!("make a new one with {rights}"),
        ),
        Ok((403 | 404, _)) => Finding::missing(
            ABOUT,
            format!("{source}: the token does not reach {repository}"),
            format!("give it {rights} for this repository, or correct forge.repository"),
        ),
        Ok((code, _)) => {
            Finding::warning(ABOUT, format!("{source}: the forge answers with status {code}"), "see forge.apiUrl")
        }
        Err(why) => Finding::missing(
            ABOUT,
            format!("{source}: the forge does not answer: {why}"),
            "see forge.apiUrl, and that the daemon gets there",
        ),
    }
}

/// Whether the forge tells the daemon of pushes, as its list of webhooks says.
fn webhook(source: &str, public_url: Option<&str>, hooks: &Answer) -> Finding {
    const ABOUT: &str = "webhook";
    let at = public_url.map(|url| format!("{}{PATH}", url.trim_end_matches('/')));
    let wanted = at.clone().unwrap_or_else(|| format!("DAEMON{PATH}"));
    let add = format!("add one in the forge: {wanted}, application/json, with the secret, for pushes");
    let list = match hooks {
        Ok((200..=299, list)) => list.as_array().map(Vec::as_slice).unwrap_or_default(),
        Ok((code, _)) => {
            let says = format!("{source}: this token may not see the webhooks of the repository (status {code})");
            return Finding::unseen(
                ABOUT,
                says,
                format!("deliver a test in the forge's settings: {wanted} answers 200"),
            );
        }
        Err(why) => {
            let says = format!("{source}: the forge does not tell its webhooks: {why}");
            return Finding::unseen(ABOUT, says, "see forge.apiUrl");
        }
    };
    let leads = |hook: &&Value| {
        let url = hook["config"]["url"].as_str().unwrap_or_default();
        at.as_deref().map_or_else(|| url.ends_with(PATH), |at| url == at)
    };
    let Some(hook) = list.iter().find(leads) else {
        return Finding::warning(ABOUT, format!("{source}: no webhook leads here, so pushes are seen late"), add);
    };
    let pushes =
        hook["events"].as_array().is_some_and(|events| events.iter().any(|event| event == "push" || event == "*"));
    if hook["active"] != true || !pushes {
        return Finding::warning(
            ABOUT,
            format!("{source}: the webhook is not active for pushes, so they are seen late"),
            "activate it in the forge's settings",
        );
    }
    // GitHub keeps how the last delivery went; 0 and null are none yet
    match hook["last_response"]["code"].as_u64() {
        Some(code @ (1..=199 | 300..)) => Finding::warning(
            ABOUT,
            format!("{source}: the last delivery of the webhook ended with status {code}"),
            "see its deliveries in the forge's settings: 401 is another secret, 404 another path",
        ),
        _ => Finding::ok(ABOUT, format!("{source}: a webhook tells of pushes")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use serde_json::json;

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
        let verdict = |answer| rights("shop", "acme/shop", ForgeKind::Github, &answer).verdict;
        let may = |push: bool| Ok((200, json!({ "permissions": { "push": push } })));
        assert_eq!([verdict(may(true)), verdict(Ok((200, Value::Null)))], [Verdict::Ok; 2]);
        let wrong = [Ok((401, Value::Null)), Ok((404, Value::Null)), Err("refused".into()), may(false)];
        assert_eq!(wrong.map(verdict), [Verdict::Missing; 4]);
        assert_eq!(verdict(Ok((502, Value::Null))), Verdict::Warning);
    }

    #[test]
    fn a_webhook_must_lead_here_and_have_arrived() {
        let hook = |url: &str, active: bool, code: Value| {
            let config = json!({ "url": url });
            json!({ "active": active, "events": ["push"], "config": config, "last_response": { "code": code } })
        };
        let here = "https://hks.example/webhooks/github";
        let look = |hooks: Vec<Value>| {
            let finding = webhook("shop", Some("https://hks.example/"), &Ok((200, Value::Array(hooks))));
            (finding.verdict, finding.says)
        };
        assert_eq!(look(vec![hook(here, true, json!(202))]).0, Verdict::Ok);
        assert_eq!(look(vec![hook(here, true, Value::Null)]).0, Verdict::Ok);
        assert!(
            look(vec![hook("https://other.example/webhooks/github", true, Value::Null)]).1.contains("no webhook leads")
        );
        assert!(look(vec![hook(here, false, Value::Null)]).1.contains("not active"));
        assert!(look(vec![hook(here, true, json!(401))]).1.contains("status 401"));
        assert!(webhook("shop", None, &Ok((403, Value::Null))).unseen);
    }

    #[test]
    fn a_credential_that_is_not_there_is_made_by_a_command() {
        let credential = Credential::Secret("hks/forge/token".into());
        assert_eq!(place(&credential), "kubectl -n hks create secret generic forge --from-literal=token=…");
    }
}
