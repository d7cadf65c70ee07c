//! Who may read pages, API and metrics, and act by the endpoint.

use super::{Credential, is_loopback};
use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who may read pages, API and metrics. Where nothing is set, everybody on a loopback address, and nobody on any other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Access {
    /// Whoever reaches the endpoint may read everything: it has a login of its own before it, or only those get there who may.
    pub anonymous: bool,
    /// Who may read with a token, by name.
    pub tokens: BTreeMap<String, Reader>,
    /// Where people log in with a browser. Needs `publicUrl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
}

/// A provider of `OpenID` Connect, and what its groups may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oidc {
    /// Its address, as it calls itself: below it is `.well-known/openid-configuration`. HTTPS, but for loopback.
    pub issuer: String,
    /// hks's name there. Its redirect URI is `publicUrl` with `/login/callback`.
    pub client_id: String,
    /// hks's secret there.
    pub client_secret: Credential,
    /// What is asked for: with these the provider tells the groups.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// The claim of its ID token with the groups: a list of texts, or one.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    /// What whoever is in a group may, by its name there. Who is in none of them sees nothing.
    pub groups: BTreeMap<String, Group>,
}

/// What people of a group may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The sources that may be read, as globs; `*` for all, and for the metrics.
    pub sources: Vec<String>,
    /// Whether they may also ask for what changes what runs in these sources.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub act: bool,
}

/// Who may read, and act, with a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reader {
    /// The token, 16 bytes or more: `Authorization: Bearer …`, or the password that a browser asks for.
    pub token: Credential,
    /// The token before it. Two are accepted while one is being replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_token: Option<Credential>,
    /// The sources that may be read, as globs; `*` for all, and for the metrics.
    pub sources: Vec<String>,
    /// Whether it may also ask for what changes what runs: retry, rollback, suspend, resume, in these sources.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub act: bool,
}

impl Access {
    pub(super) fn check(&self, public_url: Option<&str>) -> Result<()> {
        if self.anonymous && self.tokens.values().any(|reader| !reader.act) {
            bail!(
                "access: anonymous lets everybody read, so a token is only needed to act: act: true; leave out one of both"
            );
        }
        for (name, reader) in &self.tokens {
            if !crate::ident::is_label(name) {
                bail!("access.tokens: {name:?} must consist of a-z, 0-9 and -");
            }
            check_patterns(&format!("access.tokens.{name}"), &reader.sources)?;
        }
        let Some(oidc) = &self.oidc else { return Ok(()) };
        let Some(public_url) = public_url else {
            bail!("access.oidc: the provider has to know where to send people back to; set publicUrl");
        };
        for (key, url) in [("access.oidc.issuer", oidc.issuer.as_str()), ("publicUrl", public_url)] {
            let is_private = url.starts_with("https://") || (url.starts_with("http://") && is_loopback(url));
            if !is_private {
                bail!("{key}: {url:?} must begin with https://, or logins travel in the clear");
            }
        }
        if !oidc.scopes.iter().any(|scope| scope == "openid") {
            bail!("access.oidc.scopes: without openid there is no ID token");
        }
        for (name, group) in &oidc.groups {
            check_patterns(&format!("access.oidc.groups.{name}"), &group.sources)?;
        }
        Ok(())
    }
}

fn check_patterns(of: &str, patterns: &[String]) -> Result<()> {
    match patterns.iter().find(|pattern| globset::Glob::new(pattern).is_err()) {
        Some(wrong) => bail!("{of}: {wrong:?} is not a pattern of names of sources"),
        None => Ok(()),
    }
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email", "groups"].map(str::to_owned).to_vec()
}
fn groups_claim() -> String {
    "groups".into()
}
