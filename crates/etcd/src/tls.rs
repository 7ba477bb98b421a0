//! The server's side of TLS: as with etcd, what was renewed on the disk counts for the next connection.
use orlop_pki::{PkiError, ServingFiles, TlsLimits, roots, server_config_verifying};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What a server's TLS is made of: files in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// With one, only clients that have a certificate of it are served.
    pub client_authority: Option<PathBuf>,
    /// The list of its certificates that count no more; in DER, too.
    pub revoked: Option<PathBuf>,
    /// What is offered.
    pub limits: TlsLimits,
}

/// The server's side of TLS. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ServingFiles>);

impl Tls {
    /// What the files hold, now and whenever one of them is replaced.
    ///
    /// # Errors
    /// No server can be made of them. Later on such files leave what was as it is.
    pub fn following(files: TlsFiles) -> Result<Self, PkiError> {
        let optional = files.client_authority.iter().chain(&files.revoked);
        let paths = [&files.certificate, &files.key].into_iter().chain(optional);
        let paths = paths.cloned().collect();
        let following = ServingFiles::following(paths, move || load(&files))?;
        Ok(Self(Arc::new(following)))
    }

    /// Shakes hands with a connection that begins now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let (config, read) = self.0.current();
        if let Err(error) = read {
            tracing::warn!(%error, "a file of TLS was replaced by one that can't be used");
        }
        TlsAcceptor::from(config)
    }
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, PkiError> {
    let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
    let verifier = match &files.client_authority {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(authority) => {
            let provider = Arc::new(files.limits.provider());
            verifier(authority, files.revoked.as_deref(), provider)?
        }
    };
    server_config_verifying(&certificate, &key, verifier, &files.limits)
}

fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    std::fs::read(path).map_err(|source| PkiError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn unusable<E: fmt::Display>(what: &'static str) -> impl Fn(E) -> PkiError {
    move |error| PkiError::Tls {
        what,
        reason: error.to_string(),
    }
}

fn verifier(
    authority: &Path,
    revoked: Option<&Path>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    let what = "the trusted authority";
    let roots = Arc::new(roots(&read(authority)?, what)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    if let Some(revoked) = revoked {
        // The list names clients; who is not in it is not revoked.
        builder = builder
            .with_crls(revocations(read(revoked)?)?)
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
    }
    let verifier = builder.build().map_err(unusable(what))?;
    Ok(verifier)
}

/// The lists of a file. One in which there is no PEM has to be a list itself: passed over, it would revoke nobody.
fn revocations(bytes: Vec<u8>) -> Result<Vec<CertificateRevocationListDer<'static>>, PkiError> {
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(unusable("the list of revoked certificates"))?;
    Ok(match lists.is_empty() {
        true => vec![bytes.into()],
        false => lists,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, Issuer, KeyIdMethod,
        KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
    };
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    struct Place {
        directory: tempfile::TempDir,
        authority: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            std::fs::write(directory.path().join("ca.crt"), certificate.pem()).unwrap();
            Self {
                issuer: Issuer::from_ca_cert_pem(&certificate.pem(), key).unwrap(),
                authority: certificate.der().clone(),
                directory,
            }
        }

        fn files(&self) -> TlsFiles {
            let at = |name: &str| self.directory.path().join(name);
            TlsFiles {
                certificate: at("server.crt"),
                key: at("server.key"),
                client_authority: Some(at("ca.crt")),
                revoked: Some(at("crl")),
                limits: TlsLimits::default(),
            }
        }

        fn leaf(&self, names: &[&str], serial: u64) -> (rcgen::Certificate, KeyPair) {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.serial_number = Some(SerialNumber::from(serial));
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &self.issuer).unwrap(), key)
        }

        /// Gives the server a certificate; answers which.
        fn renew(&self, names: &[&str]) -> CertificateDer<'static> {
            let (certificate, key) = self.leaf(names, 1);
            std::fs::write(self.files().key, key.serialize_pem()).unwrap();
            std::fs::write(self.files().certificate, certificate.pem()).unwrap();
            certificate.der().clone()
        }

        fn revoke(&self, serials: &[u64]) -> rcgen::CertificateRevocationList {
            let revoked = serials.iter().map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            });
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2024, 1, 1),
                next_update: date_time_ymd(2100, 1, 1),
                crl_number: SerialNumber::from(1 + serials.len() as u64),
                issuing_distribution_point: None,
                revoked_certs: revoked.collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let list = params.signed_by(&self.issuer).unwrap();
            std::fs::write(self.directory.path().join("crl"), list.pem().unwrap()).unwrap();
            list
        }

        fn client(&self, serial: u64) -> Arc<ClientConfig> {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.clone()).unwrap();
            let provider = Arc::new(TlsLimits::default().provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&TlsLimits::default().versions())
                .unwrap()
                .with_root_certificates(roots);
            let (certificate, key) = self.leaf(&["client"], serial);
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
            let config = builder.with_client_auth_cert(vec![certificate.der().clone()], key);
            Arc::new(config.unwrap())
        }
    }

    /// The certificate that a client is shown, if the server takes the client's.
    async fn shown(tls: &Tls, client: &Arc<ClientConfig>) -> Option<CertificateDer<'static>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = TlsConnector::from(client.clone());
        let name = ServerName::try_from("member").unwrap();
        let (served, connected) = tokio::join!(tls.acceptor().accept(far), connector.connect(name, near));
        served.ok()?;
        let connected = connected.unwrap();
        let chain = connected.get_ref().1.peer_certificates().unwrap();
        Some(chain[0].clone())
    }

    #[tokio::test]
    async fn replaced_files_count_for_the_next_connection_and_bad_ones_for_none() {
        let place = Place::new();
        let first = place.renew(&["member"]);
        place.revoke(&[]);
        let tls = Tls::following(place.files()).unwrap();
        let (good, bad) = (place.client(7), place.client(8));
        assert_eq!(shown(&tls, &good).await, Some(first));
        assert!(shown(&tls, &bad).await.is_some());

        // Of another length: the clock of files may stand still for as long as this takes.
        let second = place.renew(&["member", "another"]);
        assert_eq!(shown(&tls, &good).await, Some(second.clone()));
        let list = place.revoke(&[8]);
        assert_eq!(shown(&tls, &good).await, Some(second.clone()));
        assert_eq!(shown(&tls, &bad).await, None);

        std::fs::write(place.files().certificate, "nonsense").unwrap();
        std::fs::write(place.directory.path().join("crl"), "nonsense").unwrap();
        assert_eq!(shown(&tls, &good).await, Some(second));
        assert_eq!(shown(&tls, &bad).await, None);

        // A list in DER revokes as well.
        let third = place.renew(&["member", "another", "yet-another"]);
        std::fs::write(place.directory.path().join("crl"), list.der()).unwrap();
        assert_eq!(shown(&tls, &good).await, Some(third));
        assert_eq!(shown(&tls, &bad).await, None);
    }

    #[test]
    fn a_list_that_is_none_makes_no_server() {
        let place = Place::new();
        place.renew(&["member"]);
        std::fs::write(place.directory.path().join("crl"), "nonsense").unwrap();
        assert!(Tls::following(place.files()).is_err());
    }
}
