//! What one side of a connection presents: a certificate and its key, given once or following their files, so that what
//! was renewed on the disk is presented on the next connection.
use crate::files::read;
use crate::seen::{Seen, look};
use crate::serving_files::Pair;
use crate::{Leaf, PkiError};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A certificate and its key. Looking whether files have changed costs a `stat` of each for a connection, and nothing
/// in between.
#[derive(Clone)]
pub struct Presented {
    /// None: what was given stays.
    files: Option<Pair>,
    state: Arc<Mutex<State>>,
}

struct State {
    seen: Seen,
    leaf: Arc<Leaf>,
    /// Made out of `leaf` for who asks.
    certified: Option<Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Presented {
    // The key is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl From<Leaf> for Presented {
    fn from(leaf: Leaf) -> Self {
        Self {
            files: None,
            state: Arc::new(Mutex::new(State {
                seen: Seen::default(),
                leaf: Arc::new(leaf),
                certified: None,
            })),
        }
    }
}

impl Presented {
    /// What two files hold, now and whenever they are replaced.
    pub fn files(pair: Pair) -> Result<Self, PkiError> {
        let seen = look(pair.paths());
        let (leaf, certified) = load(&pair)?;
        Ok(Self {
            files: Some(pair),
            state: Arc::new(Mutex::new(State {
                seen,
                leaf: Arc::new(leaf),
                certified: Some(Arc::new(certified)),
            })),
        })
    }

    /// What a connection that begins now presents; the same `Arc` until it changes. Files that can't be used, or do not
    /// belong together (yet), leave it as it was.
    pub fn current(&self) -> Arc<Leaf> {
        let mut state = self.state.lock();
        self.refresh(&mut state);
        state.leaf.clone()
    }

    fn refresh(&self, state: &mut State) {
        let Some(pair) = &self.files else { return };
        let seen = look(pair.paths());
        if seen == state.seen {
            return;
        }
        state.seen = seen;
        match load(pair) {
            // It was touched: who holds the `Arc` need not connect anew.
            Ok((leaf, _)) if leaf.certificate == state.leaf.certificate => {}
            Ok((leaf, certified)) => {
                state.leaf = Arc::new(leaf);
                state.certified = Some(Arc::new(certified));
                tracing::info!(certificate = %pair.certificate.display(), "a renewed certificate is presented from now on");
            }
            Err(error) => {
                tracing::warn!(%error, "a certificate was replaced by one that can't be used");
            }
        }
    }

    /// The same for who serves with it.
    pub(crate) fn certified(&self) -> Option<Arc<CertifiedKey>> {
        let mut state = self.state.lock();
        self.refresh(&mut state);
        if state.certified.is_none() {
            state.certified = certified(&state.leaf).ok().map(Arc::new);
        }
        state.certified.clone()
    }
}

fn load(pair: &Pair) -> Result<(Leaf, CertifiedKey), PkiError> {
    let leaf = Leaf {
        certificate: read(&pair.certificate)?,
        key: read(&pair.key)?,
    };
    let certified = certified(&leaf).map_err(|reason| PkiError::Tls {
        what: "the certificate and key",
        reason: format!(
            "{reason} ({}, {})",
            pair.certificate.display(),
            pair.key.display()
        ),
    })?;
    Ok((leaf, certified))
}

fn certified(leaf: &Leaf) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(|error| error.to_string())?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, LeafRequest, Usage};

    fn leaf(authority: &Authority, name: &str) -> Leaf {
        authority
            .sign(&LeafRequest {
                identity: Identity::new(name, &[]),
                usage: Usage::ServerAndClient,
                dns_names: vec![name.to_owned()],
                addresses: vec![],
            })
            .unwrap()
    }

    /// Issue 7: certificates renew without a restart.
    #[test]
    fn renewed_files_are_presented_once_both_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let pair = Pair {
            certificate: dir.path().join("a.crt"),
            key: dir.path().join("a.key"),
        };
        let (old, new) = (leaf(&authority, "old"), leaf(&authority, "newer"));
        std::fs::write(&pair.certificate, &old.certificate).unwrap();
        std::fs::write(&pair.key, &old.key).unwrap();
        let presented = Presented::files(pair.clone()).unwrap();
        let first = presented.current();
        assert_eq!(first.certificate, old.certificate);
        assert!(Arc::ptr_eq(&first, &presented.current()), "read once");
        let served = presented.certified().unwrap();

        std::fs::write(&pair.certificate, &new.certificate).unwrap();
        assert!(
            Arc::ptr_eq(&first, &presented.current()),
            "the key is still the old one's"
        );
        std::fs::write(&pair.key, &new.key).unwrap();
        assert_eq!(presented.current().certificate, new.certificate);
        assert!(!Arc::ptr_eq(&served, &presented.certified().unwrap()));

        std::fs::write(&pair.key, "nonsense").unwrap();
        assert_eq!(presented.current().key, new.key);
        std::fs::remove_file(&pair.certificate).unwrap();
        assert_eq!(presented.current().certificate, new.certificate);
        assert!(Presented::files(pair).is_err());
    }

    #[test]
    fn what_is_given_stays() {
        let given = leaf(&Authority::ephemeral("kubernetes").unwrap(), "given");
        let presented = Presented::from(given.clone());
        assert_eq!(presented.current().certificate, given.certificate);
        assert!(presented.certified().is_some());
    }
}
