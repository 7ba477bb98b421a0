//! How callers are recognised, as the server is told beforehand.
use super::authorities::TrustedAuthorities;
use super::oidc::OidcConfig;
use super::structured::StructuredAuthentication;
use super::webhook::TokenWebhookConfig;
use crate::outbound::RemoteError;

/// What counts as a proof of who is calling. Service account tokens have their own part of the configuration.
pub struct AuthenticationConfig {
    /// Sign client certificates. `None`: no certificate counts.
    pub client_ca: Option<TrustedAuthorities>,
    /// A proxy that says in headers who is calling.
    pub front_proxy: Option<FrontProxyConfig>,
    /// Whether requests without credentials are let in, as `system:anonymous`.
    pub anonymous: bool,
    /// Lines of `token,user,uid,"group1,group2"`.
    pub static_tokens: Option<String>,
    /// Whether Secrets of the type `bootstrap.kubernetes.io/token` are tokens.
    pub bootstrap_tokens: bool,
    pub oidc: Option<OidcConfig>,
    /// An AuthenticationConfiguration.
    pub structured: Option<StructuredAuthentication>,
    /// Asked about tokens that nobody here knows.
    pub token_webhook: Option<TokenWebhookConfig>,
}

impl Default for AuthenticationConfig {
    fn default() -> Self {
        Self {
            client_ca: None,
            front_proxy: None,
            anonymous: true,
            static_tokens: None,
            bootstrap_tokens: false,
            oidc: None,
            structured: None,
            token_webhook: None,
        }
    }
}

impl AuthenticationConfig {
    /// All authorities whose certificates may be presented.
    pub fn trusted(&self) -> Vec<TrustedAuthorities> {
        let proxies = self.front_proxy.iter().map(|proxy| &proxy.ca);
        self.client_ca.iter().chain(proxies).cloned().collect()
    }
}

/// Whose word about the caller is taken, and in which headers.
#[derive(Clone, Debug)]
pub struct FrontProxyConfig {
    /// Sign the proxies' certificates.
    pub ca: TrustedAuthorities,
    /// Common names of the proxies; empty: any that is signed.
    pub allowed_names: Vec<String>,
    /// Of each kind the first header that is there counts, of groups all.
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

impl FrontProxyConfig {
    /// Every header, or beginning of one, in which a proxy says something about its caller.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let lists = [
            &self.username_headers,
            &self.uid_headers,
            &self.group_headers,
            &self.extra_prefixes,
        ];
        lists.into_iter().flatten().map(String::as_str)
    }

    /// kubeadm's header names, and the one name of a proxy it gives a certificate to.
    pub fn usual(ca: TrustedAuthorities) -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            ca,
            allowed_names: one("front-proxy-client"),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }
}

/// Authentication could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    #[error(transparent)]
    Authority(#[from] orlop_pki::PkiError),
    #[error(
        "line {line} of the token file is unusable: {reason}; each is token,user,uid[,\"group1,group2\"]"
    )]
    TokenFile { line: usize, reason: &'static str },
    #[error("OIDC cannot be set up: {0}")]
    Oidc(String),
    #[error("the authentication webhook: {0}")]
    Webhook(#[from] RemoteError),
}
