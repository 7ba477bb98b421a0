//! Who is calling (contract §15): a client certificate, a front proxy's word, a bearer token, or nobody.
mod accounts;
mod authorities;
mod bootstrap;
mod certificate;
mod config;
mod front_proxy;
mod impersonation;
mod kept;
mod oidc;
mod recent;
mod static_tokens;
mod structured;
mod user;
mod webhook;

pub use accounts::{Accounts, Bound, Verified, Wanted};
pub use authorities::{Connection, TrustedAuthorities};
pub use config::{AuthenticationConfig, AuthenticationError, FrontProxyConfig};
pub use impersonation::requested as requested_impersonation;
pub use oidc::OidcConfig;
pub(crate) use recent::{Recent, digest};
pub use structured::StructuredAuthentication;
pub use user::UserInfo;
pub use webhook::TokenWebhookConfig;

use crate::ApiServer;
use crate::settings::Reloads;
use crate::status::ApiError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use front_proxy::FrontProxy;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use oidc::Oidc;
use static_tokens::StaticTokens;
use std::borrow::Cow;
use std::sync::Arc;
use webhook::TokenWebhook;

/// How a browser's WebSocket brings a token: it cannot set headers.
pub const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// What stands before a token in `Authorization`.
const BEARER: &[u8] = b"Bearer ";

/// Everything that proves who is calling, but for service account tokens.
pub struct Authentication {
    client_ca: Option<TrustedAuthorities>,
    front_proxy: Option<FrontProxy>,
    anonymous: bool,
    static_tokens: StaticTokens,
    bootstrap_tokens: bool,
    oidc: Option<Oidc>,
    structured: Option<StructuredAuthentication>,
    webhook: Option<TokenWebhook>,
    nobody: Arc<UserInfo>,
}

impl Authentication {
    pub fn new(config: AuthenticationConfig) -> Result<Self, AuthenticationError> {
        let tokens = config.static_tokens.as_deref();
        Ok(Self {
            client_ca: config.client_ca,
            front_proxy: config.front_proxy.map(FrontProxy::new),
            anonymous: config.anonymous,
            static_tokens: tokens.map(StaticTokens::parse).transpose()?.unwrap_or_default(),
            bootstrap_tokens: config.bootstrap_tokens,
            oidc: config
                .oidc
                .map(|config| Oidc::new((&config).into()))
                .transpose()?,
            structured: config.structured,
            webhook: config.token_webhook.map(TokenWebhook::new).transpose()?,
            nobody: Arc::new(UserInfo::anonymous()),
        })
    }

    /// Whether requests without credentials are let in to a path.
    fn lets_anybody_come_to(&self, path: &str) -> bool {
        let said = self.structured.as_ref().and_then(|rules| rules.may_come_to(path));
        said.unwrap_or(self.anonymous)
    }

    /// What is counted about the configuration file.
    pub(crate) fn reloads(&self) -> Option<&Reloads> {
        self.structured.as_ref().map(StructuredAuthentication::reloads)
    }
}

/// What a connection proves about its client.
#[derive(Clone, Default)]
pub struct Identity {
    certificate: Certificate,
    /// Its word about callers is taken.
    is_proxy: bool,
}

#[derive(Clone, Default)]
enum Certificate {
    #[default]
    None,
    Of(Arc<UserInfo>),
    /// One of an authority that doesn't count, or that names nobody.
    Bad,
}

/// The user of one request on a connection, counted.
pub async fn authenticate(
    server: &ApiServer,
    identity: &Identity,
    head: &Parts,
) -> Result<Arc<UserInfo>, ApiError> {
    let user = recognise(server, identity, head).await;
    server.metrics.authenticated(user.is_ok());
    user
}

/// A proxy's word counts before its own certificate, and that before a token.
async fn recognise(server: &ApiServer, identity: &Identity, head: &Parts) -> Result<Arc<UserInfo>, ApiError> {
    let (authn, headers) = (&server.authentication, &head.headers);
    let proxy = authn.front_proxy.as_ref().filter(|_| identity.is_proxy);
    if let Some(user) = proxy.and_then(|proxy| proxy.user(headers)) {
        return Ok(Arc::new(user));
    }
    if let Certificate::Of(user) = &identity.certificate {
        return Ok(user.clone());
    }
    if let Some(token) = bearer(headers) {
        // A wrong token is refused rather than ignored.
        if token.is_empty() {
            return Err(ApiError::unauthorized());
        }
        let verified = verify_token(server, &token, &[]).await;
        return verified
            .map(|verified| verified.user)
            .ok_or_else(ApiError::unauthorized);
    }
    match identity.certificate {
        Certificate::None if authn.lets_anybody_come_to(head.uri.path()) => Ok(authn.nobody.clone()),
        _ => Err(ApiError::unauthorized()),
    }
}

/// The token of an `Authorization: Bearer` header or of a WebSocket's protocols. Other schemes count as no credentials; a
/// token that cannot be read is one, and nobody's.
fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    const UNREADABLE: Cow<'static, str> = Cow::Borrowed("");
    if let Some(header) = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)
        && let Some((scheme, token)) = header.split_at_checked(BEARER.len())
        && scheme.eq_ignore_ascii_case(BEARER)
    {
        return Some(std::str::from_utf8(token).map_or(UNREADABLE, |token| Cow::Borrowed(token.trim())));
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let encoded = protocols
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(WEBSOCKET_BEARER))?;
    let token = URL_SAFE_NO_PAD.decode(encoded).ok();
    let token = token.and_then(|token| String::from_utf8(token).ok());
    Some(token.map_or(UNREADABLE, Cow::Owned))
}

/// Whom a token speaks for, if it is for one of these audiences (none: for this server).
pub async fn verify_token(server: &ApiServer, token: &str, audiences: &[String]) -> Option<Verified> {
    let authn = &server.authentication;
    let own = server
        .accounts
        .as_ref()
        .map_or(&[][..], |accounts| &accounts.audiences);
    let wanted = if audiences.is_empty() { own } else { audiences };
    let now = Timestamp::now();
    let for_this_server = || -> Option<Vec<String>> {
        let shared: Vec<String> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
        (audiences.is_empty() || !shared.is_empty()).then_some(shared)
    };
    let user = if let Some(user) = authn.static_tokens.user(token) {
        user
    } else if let Some(user) = authn
        .bootstrap_tokens
        .then(|| bootstrap::user(token, &server.cache, now))
        .flatten()
    {
        Arc::new(user)
    } else if let Some(accounts) = &server.accounts
        && let Some(verified) = accounts.verify(token, wanted, &server.cache, now)
    {
        return Some(verified);
    } else if let Some(oidc) = &authn.oidc
        && let Some(user) = oidc.user(token).await
    {
        user
    } else if let Some(structured) = &authn.structured
        && let Some(user) = structured.user(token).await
    {
        user
    } else {
        return authn.webhook.as_ref()?.verify(token, wanted).await;
    };
    // These tokens name no audience: they are for this server.
    Some(Verified {
        user,
        audiences: for_this_server()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_in_the_header_or_in_a_websockets_protocols() {
        let of = |name, value: &'static str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            bearer(&headers).map(Cow::into_owned)
        };
        assert_eq!(of(AUTHORIZATION, "Bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(of(AUTHORIZATION, "bearer abc").as_deref(), Some("abc"));
        assert_eq!(of(AUTHORIZATION, "Basic YWJj"), None);
        let protocols = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
        assert_eq!(of(SEC_WEBSOCKET_PROTOCOL, protocols).as_deref(), Some("abc"));
        assert_eq!(of(SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io"), None);
        // Nobody's, which is not the same as none.
        let encoded = "base64url.bearer.authorization.k8s.io.?";
        assert_eq!(of(SEC_WEBSOCKET_PROTOCOL, encoded).as_deref(), Some(""));
        let bytes = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bytes)]);
        assert_eq!(bearer(&headers).as_deref(), Some(""));
    }
}
