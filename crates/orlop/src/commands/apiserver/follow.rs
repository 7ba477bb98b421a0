//! Configuration files that are replaced while the server runs.
use orlop_apiserver::{Encryption, SettingsError};
use orlop_client::Followed;
use std::path::PathBuf;
use std::time::Duration;

/// How often a configuration that may change is looked at.
const RELOAD_PERIOD: Duration = Duration::from_secs(5);

/// Follows a file from now on, so that no change is missed that comes after it is read.
pub fn file(path: &Option<PathBuf>) -> Option<(PathBuf, Followed)> {
    let path = path.clone()?;
    Some((path.clone(), Followed::new(vec![path])))
}

/// Follows the file of a configuration that can be replaced.
pub async fn settings(
    (path, mut followed): (PathBuf, Followed),
    replace: impl Fn(Result<&str, String>) -> Result<(), SettingsError> + Send,
) {
    loop {
        followed.changed().await;
        let found = tokio::fs::read_to_string(&path).await;
        match replace(found.as_deref().map_err(|error| error.to_string())) {
            Ok(()) => tracing::info!(path = %path.display(), "another configuration is followed"),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the configuration before is still followed");
            }
        }
    }
}

/// Follows the file of an encryption configuration. It is looked at again and again, since files in mounted Secrets are
/// replaced in ways that its own directory doesn't tell.
pub async fn encryption(path: PathBuf, mut text: String, encryption: Encryption) {
    loop {
        tokio::time::sleep(RELOAD_PERIOD).await;
        let Ok(found) = tokio::fs::read_to_string(&path).await else {
            continue;
        };
        if found == text {
            continue;
        }
        match encryption.replace(&found) {
            Ok(()) => tracing::info!(path = %path.display(), "another encryption configuration is followed"),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the encryption configuration before is still followed");
            }
        }
        text = found;
    }
}
