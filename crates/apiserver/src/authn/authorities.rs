//! Authorities of client certificates, which can be replaced while the server runs, and what they make of a connection.
use super::{Authentication, Certificate, Identity, certificate};
use crate::metrics::Metrics;
use orlop_pki::{ClientAuthorities, PkiError};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};
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

    pub(super) fn signed(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let current = self.current.borrow().clone();
        current.parsed.signed_at(chain, now)
    }

    fn next_change(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<u64> {
        let current = self.current.borrow().clone();
        current.parsed.next_change(chain, now)
    }

    fn version(&self) -> u64 {
        self.current.borrow().version
    }
}

/// What was presented on a connection, and what it proves. It is judged again when the authorities have changed, which
/// can be younger than a connection, and when one of the certificates has ended.
pub struct Connection {
    chain: Box<[CertificateDer<'static>]>,
    judged: Mutex<Judged>,
}

/// Of the authorities of clients and of front proxies.
type Versions = [u64; 2];

struct Judged {
    versions: Versions,
    /// Seconds since 1970 from and before which nothing but other authorities changes it.
    from: u64,
    before: Option<u64>,
    identity: Identity,
}

impl Judged {
    fn new(authentication: &Authentication, chain: &[CertificateDer<'_>], now: UnixTime) -> Self {
        // Asked first: what is replaced meanwhile is judged again.
        let versions = authentication.versions();
        let trusted = authentication.trusted();
        Self {
            versions,
            from: now.as_secs(),
            before: trusted
                .filter_map(|trusted| trusted.next_change(chain, now))
                .min(),
            identity: authentication.judge(chain, now),
        }
    }

    fn holds(&self, versions: Versions, now: UnixTime) -> bool {
        let now = now.as_secs();
        self.versions == versions && self.from <= now && self.before.is_none_or(|change| now < change)
    }
}

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
        let judged = Judged::new(authentication, &chain, UnixTime::now());
        if let (Certificate::Of(_), Some(leaf)) = (&judged.identity.certificate, chain.first())
            && let Some(left) = orlop_pki::seconds_left(leaf)
        {
            metrics.certificate_used(left);
        }
        Self {
            chain,
            judged: Mutex::new(judged),
        }
    }

    /// What it proves of a request that comes now.
    pub fn identity(&self, authentication: &Authentication) -> Identity {
        if self.chain.is_empty() {
            return Identity::default();
        }
        self.identity_at(authentication, UnixTime::now())
    }

    fn identity_at(&self, authentication: &Authentication, now: UnixTime) -> Identity {
        let mut judged = self.judged.lock();
        if !judged.holds(authentication.versions(), now) {
            *judged = Judged::new(authentication, &self.chain, now);
        }
        judged.identity.clone()
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

    /// Those whose word counts.
    fn trusted(&self) -> impl Iterator<Item = &TrustedAuthorities> {
        let proxies = self.front_proxy.iter().map(|proxy| proxy.authorities());
        self.client_ca.iter().chain(proxies)
    }

    /// What a chain of certificates proves, the client's own first.
    fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Identity {
        let Some(leaf) = chain.first() else {
            return Identity::default();
        };
        let signed = self.client_ca.as_ref().is_some_and(|ca| ca.signed(chain, now));
        let user = signed.then(|| certificate::user(leaf)).flatten();
        Identity {
            certificate: user.map_or(Certificate::Bad, |user| Certificate::Of(Arc::new(user))),
            is_proxy: self
                .front_proxy
                .as_ref()
                .is_some_and(|proxy| proxy.is_proxy(chain, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuthenticationConfig, FrontProxyConfig};
    use super::*;
    use futures::FutureExt;
    use orlop_pki::{Authority, LeafRequest, Usage};
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    /// Upstream verifies a certificate with every request: one that ends proves nothing on a connection that is open.
    #[test]
    fn a_certificate_that_ends_while_its_connection_is_open_proves_nothing_any_more() {
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let leaf = authority.sign(&LeafRequest {
            identity: orlop_pki::Identity::new("front-proxy-client", &[]),
            usage: Usage::Client,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        });
        let chain = [CertificateDer::from_pem_slice(leaf.unwrap().certificate.as_bytes()).unwrap()];
        let trusted = TrustedAuthorities::of_clients(authority.certificate()).unwrap();
        let authentication = Authentication::new(AuthenticationConfig {
            client_ca: Some(trusted.clone()),
            front_proxy: Some(FrontProxyConfig::usual(trusted)),
            ..AuthenticationConfig::default()
        })
        .unwrap();
        let connection = Connection::new(&authentication, Some(&chain), &Metrics::default());
        let proved = |day: u64| {
            let later = UnixTime::now().as_secs() + day * 24 * 3600;
            let now = UnixTime::since_unix_epoch(Duration::from_secs(later));
            let identity = connection.identity_at(&authentication, now);
            (
                matches!(identity.certificate, Certificate::Of(_)),
                identity.is_proxy,
            )
        };
        assert_eq!([0, 1, 300].map(proved), [(true, true); 3]);
        assert_eq!([366, 400].map(proved), [(false, false); 2]);
        // A clock that was wrong is put right.
        assert_eq!(proved(1), (true, true));
    }

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
