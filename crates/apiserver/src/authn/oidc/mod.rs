//! Tokens of an OpenID Connect provider. Its keys are asked for when the first such token comes, and again when a
//! token names a key that isn't known: an idle server asks nobody.
mod mapping;

pub use mapping::{Mapping, Rule, Source, of_claims, of_user, reads};

use super::UserInfo;
use super::config::AuthenticationError;
use super::recent::{Recent, digest};
use crate::outbound::{Outbound, OutboundError, Trust};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use orlop_pki::{JWT_ALGORITHMS, JsonWebKey, UnverifiedToken};
use parking_lot::RwLock;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The provider is not asked again before this, whatever tokens come.
const ASK_PAUSE: Duration = Duration::from_secs(10);
/// A provider that takes longer is not waited for.
const ASK_TIME_MAX: Duration = Duration::from_secs(10);
/// A token that was found good is not looked at again for this long.
const REMEMBERED: Duration = Duration::from_secs(10);

/// A provider, and how its claims name users: the `--oidc-…` flags.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    pub issuer: String,
    pub client_id: String,
    /// Authorities of the provider's certificate, PEM; `None`: this machine's.
    pub ca: Option<String>,
    pub username_claim: String,
    /// `None`: the issuer and `#`, for other claims than `email`. `-`: nothing.
    pub username_prefix: Option<String>,
    pub groups_claim: Option<String>,
    pub groups_prefix: Option<String>,
    pub required_claims: Vec<(String, String)>,
    pub algorithms: Vec<String>,
}

impl OidcConfig {
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
            ca: None,
            username_claim: "sub".to_owned(),
            username_prefix: None,
            groups_claim: None,
            groups_prefix: None,
            required_claims: Vec::new(),
            algorithms: vec!["RS256".to_owned()],
        }
    }
}

/// A provider, and what its claims mean.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Where its document is, if not below the issuer.
    pub discovery: Option<String>,
    /// Authorities of its certificate, PEM; `None`: this machine's.
    pub ca: Option<String>,
    /// By which its tokens may be signed.
    pub algorithms: Vec<String>,
    pub mapping: Mapping,
}

impl From<&OidcConfig> for Provider {
    fn from(config: &OidcConfig) -> Self {
        Self {
            discovery: None,
            ca: config.ca.clone(),
            algorithms: config.algorithms.clone(),
            mapping: Mapping::from(config),
        }
    }
}

/// Recognises one provider's tokens.
pub struct Oidc {
    provider: Provider,
    outbound: Outbound,
    /// The provider's keys, as it told them last.
    known: RwLock<Arc<Vec<JsonWebKey>>>,
    /// When it was asked; held while it is.
    asked: Mutex<Option<Instant>>,
    good: Recent<Arc<UserInfo>>,
}

impl Oidc {
    pub fn new(provider: Provider) -> Result<Self, AuthenticationError> {
        let issuer = &provider.mapping.issuer;
        if !issuer.starts_with("https://") {
            return Err(AuthenticationError::Oidc(format!(
                "the issuer {issuer:?} is no https URL"
            )));
        }
        if let Some(unknown) = provider
            .algorithms
            .iter()
            .find(|a| !JWT_ALGORITHMS.contains(&a.as_str()))
        {
            return Err(AuthenticationError::Oidc(format!(
                "signatures by {unknown} cannot be checked, only by {}",
                JWT_ALGORITHMS.join(", ")
            )));
        }
        let trust = provider.ca.as_deref().map_or(Trust::Machine, Trust::Authorities);
        let outbound = Outbound::new(trust, None).map_err(|e| AuthenticationError::Oidc(e.to_string()))?;
        Ok(Self {
            provider,
            outbound,
            known: RwLock::default(),
            asked: Mutex::default(),
            good: Recent::default(),
        })
    }

    /// Whom a token speaks for, if it is one of this provider's.
    pub async fn user(&self, token: &str) -> Option<Arc<UserInfo>> {
        let parsed = UnverifiedToken::parse(token)?;
        if !self.has_issued(&parsed) {
            return None;
        }
        self.user_of(token, &parsed).await
    }

    /// Whether a token says that it is this provider's.
    pub(super) fn has_issued(&self, token: &UnverifiedToken<'_>) -> bool {
        token.claims["iss"].as_str() == Some(self.issuer())
    }

    /// Whom a token that says that it is this provider's speaks for; `parsed`: the same token.
    pub(super) async fn user_of(&self, token: &str, parsed: &UnverifiedToken<'_>) -> Option<Arc<UserInfo>> {
        let (digest, now) = (digest(token), Instant::now());
        if let Some(user) = self.good.get(&digest, now) {
            return Some(user);
        }
        match self.judge(parsed).await {
            Ok(user) => {
                let user = Arc::new(user);
                let left = parsed.claims["exp"].as_i64().unwrap_or(0) - Timestamp::now().as_second();
                let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
                self.good.put(digest, user.clone(), now + REMEMBERED.min(left));
                Some(user)
            }
            Err(reason) => {
                tracing::info!(issuer = self.issuer(), reason, "a token is refused");
                None
            }
        }
    }

    fn issuer(&self) -> &str {
        &self.provider.mapping.issuer
    }

    async fn judge(&self, token: &UnverifiedToken<'_>) -> Result<UserInfo, String> {
        let algorithm = token.header["alg"].as_str().unwrap_or_default();
        if !self
            .provider
            .algorithms
            .iter()
            .any(|allowed| allowed == algorithm)
        {
            return Err(format!("it is signed by {algorithm:?}"));
        }
        // What can be refused without asking the provider is.
        let now = Timestamp::now().as_second();
        let user = self.provider.mapping.user(&token.claims, now)?;
        // Whoever is known waits for nobody.
        let known = self.known.read().clone();
        if token.signed_by(&known) || token.signed_by(&self.newer_than(&known).await?) {
            return Ok(user);
        }
        Err("none of the provider's keys has signed it".to_owned())
    }

    /// The provider's keys, if they may be others than these. It is asked by one at a time, and not again at once.
    async fn newer_than(&self, old: &Arc<Vec<JsonWebKey>>) -> Result<Arc<Vec<JsonWebKey>>, String> {
        let mut asked = self.asked.lock().await;
        let known = self.known.read().clone();
        let rested = asked.is_none_or(|asked| asked.elapsed() >= ASK_PAUSE);
        if !Arc::ptr_eq(old, &known) || !rested {
            return Ok(known);
        }
        let answer = self.ask().await;
        *asked = Some(Instant::now());
        let new = Arc::new(answer?);
        *self.known.write() = new.clone();
        Ok(new)
    }

    /// The provider's keys.
    async fn ask(&self) -> Result<Vec<JsonWebKey>, String> {
        let issuer = self.issuer();
        let usual = || {
            format!(
                "{}/.well-known/openid-configuration",
                issuer.trim_end_matches('/')
            )
        };
        let document = self.provider.discovery.clone().unwrap_or_else(usual);
        let document = self.get(&document).await?;
        if document["issuer"].as_str() != Some(issuer) {
            return Err(format!("the provider calls itself {}", document["issuer"]));
        }
        let keys = document["jwks_uri"]
            .as_str()
            .ok_or("the provider names no keys")?;
        let keys = self.get(keys).await?;
        Ok(keys["keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(JsonWebKey::parse)
            .collect())
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let failed = |error: &dyn std::fmt::Display| format!("GET {url}: {error}");
        let request = Request::get(url)
            .body(Full::<Bytes>::default())
            .map_err(|e| failed(&e))?;
        let answer = self.outbound.send(request, ASK_TIME_MAX).await;
        let answer = answer.map_err(|error: OutboundError| failed(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(failed(&answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|e| failed(&e))
    }
}
