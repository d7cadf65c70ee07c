//! Settings of the platform as far as flags and variables give them: what they don't say comes from the project, where a
//! daemon has published it, or from the defaults.

use crate::platform::{Gateway, Platform};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// Flags and variables of the platform's settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlatformArgs {
    given: ArgMatches,
}

impl PlatformArgs {
    /// `base` with what was given in its place.
    ///
    /// # Errors
    /// When a listener or feature of a Gateway is given and there is no Gateway.
    pub(super) fn over(&self, mut base: Platform) -> Result<Platform, Error> {
        let matches = &mut self.given.clone();
        let of_gateway = ["gateway-http", "gateway-https", "gateway-features"];
        if matches.contains_id("gateway") {
            base.gateway = Some(Gateway::from_arg_matches(matches)?);
        } else if let Some(gateway) = &mut base.gateway {
            gateway.update_from_arg_matches(matches)?;
        } else if let Some(lonely) = of_gateway.iter().find(|name| matches.contains_id(name)) {
            let message = format!("--{lonely} needs --gateway: the project's platform has none\n");
            return Err(Error::raw(ErrorKind::MissingRequiredArgument, message));
        }
        base.update_from_arg_matches(matches)?;
        Ok(base)
    }
}

impl FromArgMatches for PlatformArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self { given: matches.clone() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.given = matches.clone();
        Ok(())
    }
}

impl Args for PlatformArgs {
    fn augment_args(command: Command) -> Command {
        Gateway::augment_args(Platform::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Scheme;

    fn given(arguments: &[&str]) -> PlatformArgs {
        let command = PlatformArgs::augment_args(Command::new("hks"));
        let matches = command.try_get_matches_from(std::iter::once(&"hks").chain(arguments));
        matches.and_then(|matches| PlatformArgs::from_arg_matches(&matches)).unwrap_or_default()
    }

    fn published() -> Platform {
        let gateway = Gateway { name: "gateways/public".into(), http: None, https: None, features: None };
        Platform { domain: "apps.example".into(), gateway: Some(gateway), probe_urls: false, ..Platform::default() }
    }

    #[test]
    fn what_is_not_given_stays() {
        assert_eq!(given(&[]).over(published()).ok(), Some(published()));
        assert_eq!(given(&[]).over(Platform::default()).ok(), Some(Platform::default()));
    }

    #[test]
    fn what_is_given_wins() {
        let arguments =
            ["--domain", "other.example", "--scheme", "https", "--gateway-http", "web", "--probe-urls", "true"];
        let over = given(&arguments).over(published()).unwrap_or_default();
        assert_eq!((over.domain.as_str(), over.scheme, over.probe_urls), ("other.example", Scheme::Https, true));
        let gateway = over.gateway.unwrap_or_else(|| unreachable!("the published one"));
        assert_eq!((gateway.name.as_str(), gateway.http.as_deref()), ("gateways/public", Some("web")));
        assert_eq!(over.images, published().images);
        let over = given(&["--gateway", "a/b", "--redis-image", "r/redis:1"]).over(published()).unwrap_or_default();
        assert_eq!(over.gateway.map(|gateway| gateway.name), Some("a/b".to_owned()));
        assert_eq!(over.images.redis, "r/redis:1");
    }

    #[test]
    fn a_listener_without_a_gateway_is_refused() {
        let refusal = given(&["--gateway-http", "web"]).over(Platform::default()).err();
        assert!(refusal.is_some_and(|error| error.to_string().contains("--gateway-http needs --gateway")));
    }
}
