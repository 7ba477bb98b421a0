//! Authorities of client certificates, which can be replaced while the server runs, and what they make of a connection.
use super::{Authentication, Certificate, Identity, certificate};
use crate::metrics::Metrics;
use orlop_pki::{ClientAuthorities, PkiError};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use tokio::sync::watch;

/// Authorities whose client certificates count. Clones share them.
#[derive(Clone, Debug)]
pub struct TrustedAuthorities {
    what: &'static str,
    current: Arc<watch::Sender<Arc<Bundle>>>,
}

/// What one file held.
#[derive(Debug)]
struct Bundle {
    pem: String,
    parsed: ClientAuthorities,
    /// Counts replacements.
    version: u64,
}

impl TrustedAuthorities {
    /// Those that sign clients' certificates, PEM.
    ///
    /// # Errors
    /// There is none, or one that cannot be read.
    pub fn of_clients(pem: &str) -> Result<Self, PkiError> {
        Self::new(pem, "the client CA")
    }

    /// Those that sign the certificates of front proxies, PEM.
    ///
    /// # Errors
    /// The same.
    pub fn of_front_proxies(pem: &str) -> Result<Self, PkiError> {
        Self::new(pem, "the CA of front proxies")
    }

    fn new(pem: &str, what: &'static str) -> Result<Self, PkiError> {
        let first = Bundle {
            pem: pem.to_owned(),
            parsed: ClientAuthorities::from_pem(pem, what)?,
            version: 0,
        };
        Ok(Self {
            what,
            current: Arc::new(watch::Sender::new(Arc::new(first))),
        })
    }

    /// Others count from now on, on connections that are open, too.
    ///
    /// # Errors
    /// They cannot be read; those before still count.
    pub fn replace(&self, pem: &str) -> Result<(), PkiError> {
        let parsed = ClientAuthorities::from_pem(pem, self.what)?;
        self.current.send_if_modified(|current| {
            let is_other = current.pem != pem;
            if is_other {
                *current = Arc::new(Bundle {
                    pem: pem.to_owned(),
                    parsed,
                    version: current.version + 1,
                });
            }
            is_other
        });
        Ok(())
    }

    /// As they are now, PEM.
    pub fn pem(&self) -> String {
        self.current.borrow().pem.clone()
    }

    /// Returns once they have been replaced after this was called.
    pub fn replaced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut seen = self.current.subscribe();
        let current = self.current.clone();
        async move {
            // They cannot go while they are held here.
            let _ = seen.changed().await;
            drop(current);
        }
    }

    pub(super) fn signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        let current = self.current.borrow().clone();
        current.parsed.signed(chain)
    }

    fn version(&self) -> u64 {
        self.current.borrow().version
    }
}

/// What was presented on a connection, and what it proves. It is judged again when the authorities have changed: a
/// connection can be older than they are.
pub struct Connection {
    chain: Box<[CertificateDer<'static>]>,
    judged: Mutex<(Versions, Identity)>,
}

/// Of the authorities of clients and of front proxies.
type Versions = [u64; 2];

impl Connection {
    pub fn new(
        authentication: &Authentication,
        chain: Option<&[CertificateDer<'_>]>,
        metrics: &Metrics,
    ) -> Self {
        let chain = chain
            .unwrap_or_default()
            .iter()
            .map(|der| der.clone().into_owned());
        let chain: Box<[_]> = chain.collect();
        let versions = authentication.versions();
        let identity = authentication.judge(&chain);
        if let (Certificate::Of(_), Some(leaf)) = (&identity.certificate, chain.first())
            && let Some(left) = orlop_pki::seconds_left(leaf)
        {
            metrics.certificate_used(left);
        }
        Self {
            chain,
            judged: Mutex::new((versions, identity)),
        }
    }

    /// What it proves of a request that comes now.
    pub fn identity(&self, authentication: &Authentication) -> Identity {
        if self.chain.is_empty() {
            return Identity::default();
        }
        let versions = authentication.versions();
        let mut judged = self.judged.lock();
        if judged.0 != versions {
            *judged = (versions, authentication.judge(&self.chain));
        }
        judged.1.clone()
    }
}

impl Authentication {
    fn versions(&self) -> Versions {
        let clients = self.client_ca.as_ref().map(TrustedAuthorities::version);
        let proxies = self
            .front_proxy
            .as_ref()
            .map(|proxy| proxy.authorities().version());
        [clients.unwrap_or_default(), proxies.unwrap_or_default()]
    }

    /// What a chain of certificates proves, the client's own first.
    fn judge(&self, chain: &[CertificateDer<'_>]) -> Identity {
        let Some(leaf) = chain.first() else {
            return Identity::default();
        };
        let signed = self.client_ca.as_ref().is_some_and(|ca| ca.signed(chain));
        let user = signed.then(|| certificate::user(leaf)).flatten();
        Identity {
            certificate: user.map_or(Certificate::Bad, |user| Certificate::Of(Arc::new(user))),
            is_proxy: self
                .front_proxy
                .as_ref()
                .is_some_and(|proxy| proxy.is_proxy(chain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use orlop_pki::Authority;

    #[test]
    fn what_cannot_be_read_replaces_nothing_and_the_same_is_no_news() {
        let pem = |name| Authority::ephemeral(name).unwrap().certificate().to_owned();
        let (old, new) = (pem("old"), pem("new"));
        let trusted = TrustedAuthorities::of_clients(&old).unwrap();
        let replaced = trusted.replaced();
        for bad in ["", "nonsense", &old[..old.len() / 2]] {
            trusted.replace(bad).unwrap_err();
        }
        trusted.replace(&old).unwrap();
        assert_eq!((trusted.pem(), trusted.version()), (old, 0));
        assert!(trusted.replaced().now_or_never().is_none());
        trusted.replace(&new).unwrap();
        assert_eq!((trusted.pem(), trusted.version()), (new, 1));
        assert!(replaced.now_or_never().is_some());
    }
}
