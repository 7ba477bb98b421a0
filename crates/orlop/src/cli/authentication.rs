//! Flags by which the API server recognises its callers and decides what they may do, under upstream's names.
use super::parts::go_duration;
use anyhow::{Context, Result, bail};
use clap::{ArgAction, Args};
use orlop_apiserver::{
    AccessWebhookConfig, AuthenticationConfig, AuthorizationMode, FrontProxyConfig, OidcConfig,
    ReviewVersion, StructuredAuthentication, StructuredAuthorization, TokenWebhookConfig, TrustedAuthorities,
};
use orlop_pki::{Pair, Presented};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
pub struct AuthenticationArgs {
    /// Authority whose client certificates are trusted [default: /etc/kubernetes/pki/ca.crt]. Changes of the file are
    /// followed.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Let requests without credentials in, as system:anonymous [default: true].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// AuthenticationConfiguration of apiserver.config.k8s.io/v1: providers of tokens, whose claims become users by
    /// expressions, and who may come without credentials. Changes of the file are followed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["oidc_issuer_url", "oidc_client_id"])]
    pub authentication_config: Option<PathBuf>,
    /// AuthorizationConfiguration of apiserver.config.k8s.io/v1: who decides, in which order, several webhooks among them.
    /// Changes of the file are followed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["authorization_mode", "authorization_webhook_config_file"])]
    pub authorization_config: Option<PathBuf>,
    /// Lines of `token,user,uid,"group1,group2"`.
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Take the Secrets of type bootstrap.kubernetes.io/token in kube-system for tokens.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_bootstrap_token_auth: bool,
    /// Kubeconfig of a webhook that is asked about tokens.
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// How long its answers count.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = go_duration)]
    pub authentication_token_webhook_cache_ttl: Duration,
    /// Version of the TokenReviews it is sent.
    #[arg(long, value_name = "VERSION", default_value = "v1beta1")]
    pub authentication_token_webhook_version: ReviewVersion,
    /// Kubeconfig of the webhook that is asked in the mode Webhook.
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// How long it counts that it has allowed something.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = go_duration)]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long it counts that it has not.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = go_duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
    /// Version of the SubjectAccessReviews it is sent.
    #[arg(long, value_name = "VERSION", default_value = "v1beta1")]
    pub authorization_webhook_version: ReviewVersion,
    /// Who decides, in this order, comma-separated: AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook.
    #[arg(
        long,
        value_name = "MODES",
        value_delimiter = ',',
        default_value = "Node,RBAC"
    )]
    pub authorization_mode: Vec<AuthorizationMode>,
    /// Certificate by which servers of aggregated APIs recognise this one.
    #[arg(long, value_name = "FILE", requires = "proxy_client_key_file")]
    pub proxy_client_cert_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "proxy_client_cert_file")]
    pub proxy_client_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub request_header: RequestHeaderArgs,
    #[command(flatten)]
    pub oidc: OidcArgs,
}

#[derive(Debug, Args)]
pub struct RequestHeaderArgs {
    /// Authority of proxies that say in headers who is calling. Changes of the file are followed.
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of such proxies, comma-separated [default: any].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "X-Remote-User"
    )]
    pub requestheader_username_headers: Vec<String>,
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "X-Remote-Uid"
    )]
    pub requestheader_uid_headers: Vec<String>,
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "X-Remote-Group"
    )]
    pub requestheader_group_headers: Vec<String>,
    #[arg(
        long,
        value_name = "PREFIXES",
        value_delimiter = ',',
        default_value = "X-Remote-Extra-"
    )]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

#[derive(Debug, Args)]
pub struct OidcArgs {
    /// OpenID Connect provider whose tokens are taken.
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// What its tokens have to be for.
    #[arg(long, value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// Authorities of the provider's certificate [default: this machine's].
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub oidc_username_claim: String,
    /// Put before names; `-` for nothing [default: the issuer and #, unless the claim is email].
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,
    #[arg(long, value_name = "CLAIM")]
    pub oidc_groups_claim: Option<String>,
    #[arg(long, value_name = "PREFIX")]
    pub oidc_groups_prefix: Option<String>,
    /// Claims that tokens must have, each as `claim=value`.
    #[arg(long, value_name = "CLAIMS", value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

impl AuthenticationArgs {
    /// `client_ca`: the authority of client certificates; `own_issuers`: of service account tokens.
    pub fn config(
        &self,
        client_ca: TrustedAuthorities,
        own_issuers: &[String],
    ) -> Result<AuthenticationConfig> {
        let file = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
        let structured = self.authentication_config.as_deref();
        let structured = structured
            .map(|path| {
                StructuredAuthentication::new(&read(path)?, own_issuers)
                    .with_context(|| path.display().to_string())
            })
            .transpose()?;
        if self.anonymous_auth.is_some() && structured.as_ref().is_some_and(|s| s.is_about_anonymous()) {
            bail!(
                "--anonymous-auth cannot be given when the --authentication-config has the field anonymous"
            );
        }
        Ok(AuthenticationConfig {
            client_ca: Some(client_ca),
            front_proxy: self.request_header.config()?,
            anonymous: self.anonymous_auth.unwrap_or(true),
            structured,
            static_tokens: file(&self.token_auth_file)?,
            bootstrap_tokens: self.enable_bootstrap_token_auth,
            oidc: self.oidc.config()?,
            token_webhook: self.token_webhook(),
        })
    }
}

impl AuthenticationArgs {
    fn token_webhook(&self) -> Option<TokenWebhookConfig> {
        let kubeconfig = self.authentication_token_webhook_config_file.clone()?;
        Some(TokenWebhookConfig {
            kubeconfig,
            version: self.authentication_token_webhook_version,
            ttl: self.authentication_token_webhook_cache_ttl,
        })
    }

    /// Who decides, if a file says so.
    pub fn structured_authorization(&self) -> Result<Option<StructuredAuthorization>> {
        let Some(path) = self.authorization_config.as_deref() else {
            return Ok(None);
        };
        let structured = StructuredAuthorization::new(&read(path)?);
        Ok(Some(structured.with_context(|| path.display().to_string())?))
    }

    /// Who is asked in the mode Webhook.
    pub fn access_webhook(&self) -> Result<Option<AccessWebhookConfig>> {
        let asks = self.authorization_mode.contains(&AuthorizationMode::Webhook);
        match (&self.authorization_webhook_config_file, asks) {
            (None, false) => Ok(None),
            (None, true) => bail!("--authorization-mode Webhook needs --authorization-webhook-config-file"),
            (Some(_), false) => {
                bail!("--authorization-webhook-config-file needs Webhook in --authorization-mode")
            }
            (Some(kubeconfig), true) => Ok(Some(AccessWebhookConfig {
                allowed_ttl: self.authorization_webhook_cache_authorized_ttl,
                denied_ttl: self.authorization_webhook_cache_unauthorized_ttl,
                ..AccessWebhookConfig::new(kubeconfig.clone(), self.authorization_webhook_version)
            })),
        }
    }

    /// How the server presents itself to those of aggregated APIs.
    pub fn proxy_identity(&self) -> Result<Option<Presented>> {
        let Some((certificate, key)) = self
            .proxy_client_cert_file
            .as_ref()
            .zip(self.proxy_client_key_file.as_ref())
        else {
            return Ok(None);
        };
        Ok(Some(Presented::files(Pair {
            certificate: certificate.clone(),
            key: key.clone(),
        })?))
    }
}

impl RequestHeaderArgs {
    fn config(&self) -> Result<Option<FrontProxyConfig>> {
        let Some(ca) = &self.requestheader_client_ca_file else {
            return Ok(None);
        };
        Ok(Some(FrontProxyConfig {
            ca: TrustedAuthorities::of_front_proxies(&read(ca)?).with_context(|| ca.display().to_string())?,
            allowed_names: self.requestheader_allowed_names.clone(),
            username_headers: self.requestheader_username_headers.clone(),
            uid_headers: self.requestheader_uid_headers.clone(),
            group_headers: self.requestheader_group_headers.clone(),
            extra_prefixes: self.requestheader_extra_headers_prefix.clone(),
        }))
    }
}

impl OidcArgs {
    fn config(&self) -> Result<Option<OidcConfig>> {
        let Some((issuer, client)) = self.oidc_issuer_url.as_ref().zip(self.oidc_client_id.as_ref()) else {
            return Ok(None);
        };
        let mut required_claims = Vec::new();
        for claim in &self.oidc_required_claim {
            let Some((name, value)) = claim.split_once('=') else {
                bail!("--oidc-required-claim {claim:?} is not of the form claim=value");
            };
            required_claims.push((name.to_owned(), value.to_owned()));
        }
        Ok(Some(OidcConfig {
            ca: self.oidc_ca_file.as_deref().map(read).transpose()?,
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            required_claims,
            algorithms: self.oidc_signing_algs.clone(),
            ..OidcConfig::new(issuer, client)
        }))
    }
}
