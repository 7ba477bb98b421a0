//! The authority that clients within the cluster are told of, as its file says at any time.
use anyhow::{Context, Result};
use orlop_client::Followed;
use orlop_controllers::RootCa;
use orlop_pki::ClientAuthorities;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// What a file holds, now and whenever it is replaced.
pub fn of_file(path: PathBuf) -> Result<RootCa> {
    let followed = Followed::new(vec![path.clone()]);
    let (current, root_ca) = watch::channel(read(&path)?);
    tokio::spawn(follow(path, followed, current));
    Ok(root_ca.into())
}

async fn follow(path: PathBuf, mut followed: Followed, current: watch::Sender<Arc<str>>) {
    loop {
        followed.changed().await;
        match read(&path) {
            Ok(pem) => {
                let is_another = current.send_if_modified(|known| {
                    let is_another = *known != pem;
                    *known = pem;
                    is_another
                });
                if is_another {
                    tracing::info!(path = %path.display(), "clients within the cluster are told of another authority");
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the root CA was replaced by one that can't be used"
                );
            }
        }
    }
}

/// What is no authority is told to nobody, as a file that is being written.
fn read(path: &Path) -> Result<Arc<str>> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    ClientAuthorities::from_pem(&pem, "the root CA").with_context(|| path.display().to_string())?;
    Ok(pem.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_pki::Authority;

    #[tokio::test]
    async fn what_is_in_the_file_is_told_unless_it_is_no_authority() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let put = |text: &str| {
            let fresh = dir.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(&fresh, &path).unwrap();
        };
        let [old, new] = ["old", "newer"].map(|name| Authority::ephemeral(name).unwrap());
        put("nonsense");
        assert!(of_file(path.clone()).is_err());
        put(old.certificate());
        let followed = Followed::new(vec![path.clone()]);
        let (current, mut told) = watch::channel(read(&path).unwrap());
        let following = tokio::spawn(follow(path.clone(), followed, current));
        // Whether it is heard of or not: it is not what is told next.
        put("nonsense, too");
        put(new.certificate());
        told.changed().await.unwrap();
        assert_eq!(&**told.borrow(), new.certificate());
        following.abort();
    }
}
