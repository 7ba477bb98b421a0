//! TLS as probes and hooks speak it: they ask whether something answers, not who.
use rustls::ClientConfig;
use std::sync::{Arc, OnceLock};

/// The one configuration all probes and hooks share.
pub fn unverified() -> Result<Arc<ClientConfig>, rustls::Error> {
    static SHARED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = SHARED.get() {
        return Ok(config.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(orlop_pki::any_certificate())
        .with_no_client_auth();
    // A connection of its own each time: there is no session to come back to.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(SHARED.get_or_init(|| Arc::new(config)).clone())
}
