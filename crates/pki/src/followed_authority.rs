//! An authority that follows its files: what it signs is signed by the one that is in them at that time.
use crate::seen::{Seen, look};
use crate::{Authority, Pair, PkiError};
use parking_lot::Mutex;
use std::sync::Arc;

/// An authority, given once or following its files. Looking whether they have changed costs a `stat` of each for a
/// signature, and nothing in between.
#[derive(Clone)]
pub struct FollowedAuthority {
    /// None: what was given stays.
    files: Option<Pair>,
    state: Arc<Mutex<State>>,
}

struct State {
    seen: Seen,
    authority: Arc<Authority>,
}

impl std::fmt::Debug for FollowedAuthority {
    // The key is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowedAuthority")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl From<Authority> for FollowedAuthority {
    fn from(authority: Authority) -> Self {
        Self::begun(None, Seen::default(), authority)
    }
}

impl FollowedAuthority {
    /// What two files hold, now and whenever they are replaced.
    pub fn files(pair: Pair) -> Result<Self, PkiError> {
        let seen = look(pair.paths());
        let authority = Authority::open(&pair.certificate, &pair.key)?;
        Ok(Self::begun(Some(pair), seen, authority))
    }

    fn begun(files: Option<Pair>, seen: Seen, authority: Authority) -> Self {
        let authority = Arc::new(authority);
        Self {
            files,
            state: Arc::new(Mutex::new(State { seen, authority })),
        }
    }

    /// Who signs now. Files that can't be used, or do not belong together (yet), leave it as it was.
    pub fn current(&self) -> Arc<Authority> {
        let mut state = self.state.lock();
        if let Some(pair) = &self.files {
            let seen = look(pair.paths());
            if seen != state.seen {
                state.seen = seen;
                match Authority::open(&pair.certificate, &pair.key) {
                    // It was touched.
                    Ok(authority) if authority.certificate() == state.authority.certificate() => {}
                    Ok(authority) => {
                        state.authority = Arc::new(authority);
                        tracing::info!(certificate = %pair.certificate.display(), "another authority signs from now on");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an authority was replaced by one that can't be used: that of before signs");
                    }
                }
            }
        }
        state.authority.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_files_signs_once_both_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        Authority::ensure(&old, "ca", "kubernetes").unwrap();
        let wanted = Authority::ensure(&new, "ca", "another-kubernetes").unwrap();
        let pair = Pair {
            certificate: old.join("ca.crt"),
            key: old.join("ca.key"),
        };
        let followed = FollowedAuthority::files(pair.clone()).unwrap();
        let first = followed.current();
        assert!(Arc::ptr_eq(&first, &followed.current()), "read once");

        std::fs::copy(new.join("ca.crt"), &pair.certificate).unwrap();
        assert!(
            Arc::ptr_eq(&first, &followed.current()),
            "the key is still the old one's"
        );
        std::fs::rename(new.join("ca.key"), &pair.key).unwrap();
        let second = followed.current();
        assert_eq!(second.certificate(), wanted.certificate());
        std::fs::File::open(&pair.key)
            .and_then(|key| key.set_modified(std::time::SystemTime::UNIX_EPOCH))
            .unwrap();
        assert!(Arc::ptr_eq(&second, &followed.current()), "touched");

        std::fs::write(&pair.certificate, "nonsense").unwrap();
        assert_eq!(followed.current().certificate(), wanted.certificate());
        assert!(FollowedAuthority::files(pair).is_err());
    }
}
