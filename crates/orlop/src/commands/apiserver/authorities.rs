//! Authorities of client certificates, which follow their files.
use super::{follow, pki, read};
use crate::cli::ApiServerArgs;
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_apiserver::{SettingsError, TrustedAuthorities};
use orlop_client::Followed;
use orlop_pki::{Authority, PkiError};
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// The given authority of client certificates, or that of the PKI directory, as it is in its file from now on.
pub fn of_clients(arguments: &ApiServerArgs, root: &Root) -> Result<TrustedAuthorities> {
    let path = match &arguments.authentication.client_ca_file {
        Some(path) => path.clone(),
        None => {
            let directory = pki(arguments, root);
            Authority::ensure(&directory, "ca", "kubernetes")?;
            directory.join("ca.crt")
        }
    };
    of_file(path, TrustedAuthorities::of_clients)
}

/// Those that a file names, now and whenever it is replaced.
pub fn of_file(
    path: PathBuf,
    read_as: fn(&str) -> Result<TrustedAuthorities, PkiError>,
) -> Result<TrustedAuthorities> {
    let followed = Followed::new(vec![path.clone()]);
    let trusted = read_as(&read(&path)?).with_context(|| path.display().to_string())?;
    tokio::spawn(follow((path, followed), trusted.clone()));
    Ok(trusted)
}

/// Trusts whom a file names, whenever it is replaced.
pub async fn follow(followed: (PathBuf, Followed), trusted: TrustedAuthorities) {
    let unusable = |error: PkiError| SettingsError::Unreadable(error.to_string());
    follow::settings(followed, move |text| {
        let pem = text.map_err(SettingsError::Unreadable)?;
        trusted.replace(pem).map_err(unusable)
    })
    .await;
}

/// TLS settings that name clients the authorities of their certificates, made again whenever others count: clients
/// present none that nobody asks for.
pub fn told_to_clients(
    trusted: Vec<TrustedAuthorities>,
    make: impl Fn(&str) -> Result<Arc<ServerConfig>, PkiError> + Send + 'static,
) -> Result<watch::Receiver<Arc<ServerConfig>>, PkiError> {
    let all = |trusted: &[TrustedAuthorities]| -> String {
        let pems: Vec<String> = trusted.iter().map(TrustedAuthorities::pem).collect();
        pems.join("\n")
    };
    let (settings, current) = watch::channel(make(&all(&trusted))?);
    if trusted.is_empty() {
        return Ok(current);
    }
    tokio::spawn(async move {
        loop {
            let replaced = trusted.iter().map(|trusted| Box::pin(trusted.replaced()));
            let replaced = futures::future::select_all(replaced);
            match make(&all(&trusted)) {
                Ok(made) => drop(settings.send_replace(made)),
                Err(error) => {
                    tracing::error!(%error, "clients are asked for certificates of the authorities before")
                }
            }
            replaced.await;
        }
    });
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_pki::{Identity, LeafRequest, Usage, server_config_for_any_client};

    /// Upstream reads the files of client authorities again.
    #[tokio::test]
    async fn who_is_in_a_file_that_is_replaced_counts_and_clients_are_asked_for_their_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let put = |text: &str| {
            let fresh = dir.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(&fresh, &path).unwrap();
        };
        let (old, new) = (
            Authority::ephemeral("old").unwrap(),
            Authority::ephemeral("new").unwrap(),
        );
        put(old.certificate());
        let followed = follow::file(&Some(path.clone())).unwrap();
        let trusted = TrustedAuthorities::of_clients(&read(&path).unwrap()).unwrap();
        let serving = old
            .sign(&LeafRequest {
                identity: Identity::new("kube-apiserver", &[]),
                usage: Usage::Server,
                dns_names: Vec::new(),
                addresses: Vec::new(),
            })
            .unwrap();
        let make = move |pem: &str| server_config_for_any_client(&serving.certificate, &serving.key, pem);
        let mut settings = told_to_clients(vec![trusted.clone()], make).unwrap();
        // Both are at work when nothing but a change can wake them.
        let following = tokio::spawn(follow(followed, trusted.clone()));
        settings.changed().await.unwrap();

        put(new.certificate());
        settings.changed().await.unwrap();
        assert_eq!(trusted.pem(), new.certificate());
        following.abort();
    }
}
