//! AuthenticationConfiguration (`--authentication-config`): providers of tokens and what their claims mean, and whether
//! anybody may come without. It can be replaced while the server runs.
//!
//! | file | does |
//! |---|---|
//! | `read` | the configuration as a whole |
//! | `provider` | one provider of tokens |
mod provider;
mod read;

use super::oidc::Oidc;
use crate::settings::{Reloads, SettingsError};
use orlop_api::validation::FieldError;
use orlop_pki::UnverifiedToken;
use parking_lot::RwLock;
use read::read;
use std::sync::Arc;

/// Whom requests without credentials come from, if they are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    pub enabled: bool,
    /// The paths they may come to; none: all.
    pub paths: Vec<String>,
}

impl Anonymous {
    pub fn may_come_to(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|allowed| allowed == path))
    }
}

/// What a configuration says.
struct Rules {
    providers: Vec<Oidc>,
    /// `None`: what the command line says.
    anonymous: Option<Anonymous>,
}

/// The configuration that is followed now. Clones share it, so that it can be replaced while a server runs.
#[derive(Clone)]
pub struct StructuredAuthentication(Arc<Shared>);

struct Shared {
    /// Issuers that are this server's own.
    own_issuers: Vec<String>,
    rules: RwLock<Arc<Rules>>,
    reloads: Reloads,
}

impl StructuredAuthentication {
    /// `text`: an AuthenticationConfiguration, YAML or JSON. `own_issuers`: those of service account tokens, which nobody
    /// else can be.
    ///
    /// # Errors
    /// It is none, or one that cannot be followed.
    pub fn new(text: &str, own_issuers: &[String]) -> Result<Self, SettingsError> {
        Ok(Self(Arc::new(Shared {
            rules: RwLock::new(Arc::new(rules(text, own_issuers)?)),
            own_issuers: own_issuers.to_vec(),
            reloads: Reloads::new(text),
        })))
    }

    /// Follows another configuration from now on. `text`: what its file holds, or why that cannot be told.
    ///
    /// # Errors
    /// It cannot be followed; the one before still is.
    pub fn replace(&self, text: Result<&str, String>) -> Result<(), SettingsError> {
        let shared = &self.0;
        shared.reloads.replace(
            text,
            |text| rules(text, &shared.own_issuers),
            |rules| *shared.rules.write() = Arc::new(rules),
        )
    }

    /// Whether it says who may come without credentials.
    pub fn is_about_anonymous(&self) -> bool {
        self.0.rules.read().anonymous.is_some()
    }

    /// Whether somebody without credentials may come to a path; `None`: it doesn't say.
    pub(super) fn may_come_to(&self, path: &str) -> Option<bool> {
        let rules = self.0.rules.read();
        rules
            .anonymous
            .as_ref()
            .map(|anonymous| anonymous.may_come_to(path))
    }

    /// Whom a token of one of the providers speaks for.
    pub(super) async fn user(&self, token: &str) -> Option<Arc<super::UserInfo>> {
        let rules = self.0.rules.read().clone();
        let parsed = UnverifiedToken::parse(token)?;
        // No two have the same issuer.
        let provider = rules
            .providers
            .iter()
            .find(|provider| provider.has_issued(&parsed))?;
        provider.user_of(token, &parsed).await
    }

    pub(crate) fn reloads(&self) -> &Reloads {
        &self.0.reloads
    }
}

fn rules(text: &str, own_issuers: &[String]) -> Result<Rules, SettingsError> {
    let (providers, anonymous) = read(text, own_issuers)?;
    let mut ready = Vec::with_capacity(providers.len());
    for (number, provider) in providers.into_iter().enumerate() {
        let made = Oidc::new(provider);
        ready.push(
            made.map_err(|error| {
                FieldError::invalid(format!("jwt[{number}].issuer"), "", &error.to_string())
            })?,
        );
    }
    Ok(Rules {
        providers: ready,
        anonymous,
    })
}
