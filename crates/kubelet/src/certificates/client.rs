//! The agent as a client: its certificate, its kubeconfig, and the client whose connections follow them.
use super::plan::{self, Begin, Given, InUse, Step};
use super::request::{ObtainError, Signer, obtain};
use super::{LOOK_EVERY, leaf};
use crate::metrics::Certificates;
use jiff::Timestamp;
use kube::Client;
use orlop_client::kubeconfig::{client_certificate, embedded_certificate, with_certificate_file};
use orlop_client::{ConnectError, Followed, Replaceable, connect, connect_as, connect_measured};
use orlop_metrics::CallMetrics;
use orlop_pki::{Asking, FileVersion, Leaf, PkiError, RenewedLeaf, Usage, Validity, write_private};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the agent's identity comes from.
#[derive(Clone)]
pub struct ClientOptions {
    pub node_name: String,
    /// `--kubeconfig`; written when it is bootstrapped.
    pub kubeconfig: PathBuf,
    /// `--bootstrap-kubeconfig`.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// `--cert-dir`.
    pub directory: PathBuf,
    /// `rotateCertificates`.
    pub rotate: bool,
    /// Where the client's calls are counted.
    pub calls: CallMetrics,
    /// Where it is told how long the certificate lasts.
    pub counted: Certificates,
}

/// Why the agent is nobody to the API server.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(
        "there is no kubeconfig {}: give another --kubeconfig, a --bootstrap-kubeconfig to make it with, or neither \
         to run without an API server",
        kubeconfig.display()
    )]
    Missing { kubeconfig: PathBuf },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Obtain(#[from] ObtainError),
}

/// Looks after the client certificate.
pub struct ClientCertificate {
    options: ClientOptions,
    files: RenewedLeaf,
    ways: Replaceable,
    /// The client that others have as well.
    client: Client,
    in_use: Option<InUse>,
    /// There is no way to the API server yet.
    bootstrapping: bool,
    sources: Sources,
}

impl ClientCertificate {
    /// A client, which may have to wait for its identity, and what looks after it.
    pub async fn start(options: ClientOptions) -> Result<(Client, Self), CertificateError> {
        let (ways, client) = Replaceable::new();
        let mut certificate = Self {
            files: RenewedLeaf::new(&options.directory, "kubelet-client"),
            options,
            ways,
            client: client.clone(),
            in_use: None,
            bootstrapping: false,
            sources: Sources::default(),
        };
        certificate.begin().await?;
        Ok((client, certificate))
    }

    /// Bootstraps and renews, for as long as it is polled.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            self.tell();
            let step = match self.bootstrapping {
                true => Step::Bootstrap,
                false => plan::next(
                    self.in_use,
                    self.options.bootstrap_kubeconfig.is_some(),
                    Timestamp::now(),
                ),
            };
            let outcome = match step {
                Step::Wait(pause) => {
                    self.pause(pause).await;
                    self.look_again().await;
                    continue;
                }
                Step::Renew => self.renew().await,
                Step::Bootstrap => {
                    let sources = self.sources.clone();
                    tokio::select! {
                        outcome = self.bootstrap() => outcome,
                        // Somebody has put a kubeconfig there: it is taken up at once.
                        () = sources.replaced() => {
                            failures = 0;
                            self.look_again().await;
                            continue;
                        }
                    }
                }
            };
            match outcome {
                // By the node's clock it is over already: another one at once would be, too.
                Ok(())
                    if self
                        .in_use
                        .is_some_and(|used| used.validity.has_ended(Timestamp::now())) =>
                {
                    failures += 1;
                    self.pause(plan::retry_after(failures, false)).await;
                }
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    self.options.counted.client_errors.inc();
                    let refused = matches!(&error, CertificateError::Obtain(error) if error.is_refusal());
                    let pause = plan::retry_after(failures, refused);
                    tracing::warn!(%error, retry_after = ?pause, "the node agent has no new client certificate");
                    self.pause(pause).await;
                }
            }
            self.look_again().await;
        }
    }

    /// Of a certificate that is not renewed here nobody is told: it is somebody else's to look after.
    fn tell(&self) {
        let renewed = self.in_use.filter(|used| used.renew_at.is_some());
        let until = renewed.map(|used| used.validity.until);
        self.options.counted.client_lasts(until);
    }

    /// Takes up what the files say.
    async fn begin(&mut self) -> Result<(), CertificateError> {
        let Self { options, files, .. } = self;
        let kubeconfig = &options.kubeconfig;
        // Looked at before they are read: what changes meanwhile is seen the next time.
        self.sources = Sources::of([kubeconfig.clone()]);
        let given = match kubeconfig.exists() {
            false => Given::Nothing,
            true => match client_certificate(kubeconfig)? {
                None => Given::OtherIdentity,
                Some(mut found) => {
                    if found.file.is_some() {
                        self.sources.add(found.file.take());
                        found = client_certificate(kubeconfig)?.unwrap_or(found);
                    }
                    Given::Certificate(Validity::of_pem(&found.text))
                }
            },
        };
        let stored = if options.rotate { files.read()? } else { None };
        let kept = stored
            .as_ref()
            .and_then(|leaf| Validity::of_pem(&leaf.certificate));
        let can_bootstrap = options.bootstrap_kubeconfig.is_some();
        let now = Timestamp::now();
        let begin = plan::begin(given, kept, can_bootstrap, now);
        self.bootstrapping = false;
        match (begin, stored) {
            (None, _) => {
                let kubeconfig = kubeconfig.clone();
                return Err(CertificateError::Missing { kubeconfig });
            }
            (Some(Begin::Stored(validity)), Some(leaf)) => {
                let way = connect_as(kubeconfig, &leaf.certificate, &leaf.key, options.calls.clone()).await?;
                self.ways.replace(way);
                self.in_use = Some(self.used(validity, None));
            }
            (Some(Begin::Given(validity)), _) => {
                self.ways
                    .replace(connect_measured(kubeconfig, options.calls.clone()).await?);
                let is_good = |validity: Option<Validity>| validity.is_some_and(|one| !one.has_ended(now));
                if options.rotate && is_good(validity) && !is_good(kept) {
                    keep(kubeconfig, files, now);
                }
                self.in_use = validity.map(|validity| self.used(validity, None));
            }
            (Some(Begin::Bootstrap | Begin::Stored(_)), _) => self.bootstrapping = true,
        }
        Ok(())
    }

    /// Waits so long, or until others change the files.
    async fn pause(&self, pause: Duration) {
        // Which of both it was is seen when the files are looked at.
        let _ = tokio::time::timeout(pause, self.sources.replaced()).await;
    }

    /// Begins anew if files were changed by others.
    async fn look_again(&mut self) {
        if !self.sources.have_changed() {
            return;
        }
        match self.begin().await {
            Ok(()) => tracing::info!("the node agent's kubeconfig or certificate was replaced"),
            Err(error) => {
                tracing::warn!(%error, "the node agent's kubeconfig was changed and cannot be used")
            }
        }
    }

    fn used(&self, validity: Validity, received: Option<Timestamp>) -> InUse {
        let renew_at = plan::renew_at(validity, received, rand::random());
        InUse {
            validity,
            renew_at: self.options.rotate.then_some(renew_at),
        }
    }

    async fn renew(&mut self) -> Result<(), CertificateError> {
        let asking = Asking::new(&self.request(), None)?;
        let leaf = obtain(&self.client, asking, Signer::NodeClient, None).await?;
        let way = connect_as(
            &self.options.kubeconfig,
            &leaf.certificate,
            &leaf.key,
            self.options.calls.clone(),
        )
        .await?;
        self.save(&leaf)?;
        self.adopt(&leaf, way);
        Ok(())
    }

    /// The key is kept until there is a certificate for it: an agent that is restarted meanwhile asks no second time.
    async fn bootstrap(&mut self) -> Result<(), CertificateError> {
        let ClientOptions {
            kubeconfig,
            directory,
            bootstrap_kubeconfig,
            ..
        } = self.options.clone();
        let Some(path) = bootstrap_kubeconfig else {
            return Err(CertificateError::Missing { kubeconfig });
        };
        let client = connect(&path).await?;
        let key_file = directory.join("kubelet-client.key.tmp");
        let begun = std::fs::read_to_string(&key_file).ok();
        let begun = begun.and_then(|key| Asking::new(&self.request(), Some(&key)).ok());
        let asking = match begun {
            Some(asking) => asking,
            None => {
                let asking = Asking::new(&self.request(), None)?;
                write_private(&key_file, asking.key().as_bytes())?;
                asking
            }
        };
        let name = format!("node-csr-{}", asking.fingerprint());
        let obtained = obtain(&client, asking, Signer::NodeClient, Some(name)).await;
        if obtained.as_ref().map_or_else(ObtainError::is_refusal, |_| true) {
            // What can't be removed is tried again with the next bootstrap.
            let _ = std::fs::remove_file(&key_file);
        }
        let leaf = obtained?;
        // First of all: who finds the kubeconfig finds what it names.
        self.save(&leaf)?;
        let written = with_certificate_file(&path, &self.files.current())?;
        write_private(&kubeconfig, orlop_api::wire::to_yaml(&written).as_bytes())?;
        let way = connect_as(
            &kubeconfig,
            &leaf.certificate,
            &leaf.key,
            self.options.calls.clone(),
        )
        .await?;
        self.sources = Sources::of([kubeconfig, self.files.current()]);
        self.adopt(&leaf, way);
        self.bootstrapping = false;
        Ok(())
    }

    fn save(&self, leaf: &Leaf) -> Result<(), CertificateError> {
        let file = self.files.save(leaf, Timestamp::now())?;
        let until = Validity::of_pem(&leaf.certificate).map(|validity| validity.until.to_string());
        tracing::info!(file = %file.display(), until, "the node agent has a new client certificate");
        Ok(())
    }

    fn adopt(&mut self, leaf: &Leaf, way: Client) {
        self.ways.replace(way);
        let validity = Validity::of_pem(&leaf.certificate);
        self.in_use = validity.map(|validity| self.used(validity, Some(Timestamp::now())));
        // What was written here is no news.
        self.sources.look();
    }

    fn request(&self) -> orlop_pki::LeafRequest {
        leaf(&self.options.node_name, Usage::Client, Vec::new(), Vec::new())
    }
}

/// Puts the certificate that a kubeconfig holds where the renewed ones will be, as upstream's agent does. kubeadm looks there
/// when a first master is up: if the file is there, the kubeconfig names it from then on and holds none itself.
fn keep(kubeconfig: &Path, files: &RenewedLeaf, now: Timestamp) {
    let kept = match embedded_certificate(kubeconfig) {
        Ok(Some((certificate, key))) => files
            .save(&Leaf { certificate, key }, now)
            .map_err(CertificateError::from),
        Ok(None) => return,
        Err(error) => Err(error.into()),
    };
    // The agent has what it needs all the same.
    if let Err(error) = kept {
        tracing::warn!(%error, "the node agent's client certificate is in its kubeconfig alone");
    }
}

/// The files that the identity is read from, as they were when it was: the kubeconfig, and the file that it has the
/// certificate in, if that is another.
#[derive(Clone, Default)]
struct Sources(Vec<(PathBuf, Option<FileVersion>)>);

impl Sources {
    fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut sources = Self::default();
        sources.add(paths);
        sources
    }

    fn add(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let of = |path: PathBuf| {
            let seen = FileVersion::of(&path);
            (path, seen)
        };
        self.0.extend(paths.into_iter().map(of));
    }

    fn look(&mut self) {
        for (path, seen) in &mut self.0 {
            *seen = FileVersion::of(path);
        }
    }

    fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, seen)| FileVersion::of(path) != *seen)
    }

    /// Waits until one of them is another than it was.
    async fn replaced(&self) {
        // Listened to before they are looked at: what comes in between is told.
        let mut followed = Followed::new(self.0.iter().map(|(path, _)| path.clone()).collect());
        while !self.have_changed() {
            // Of a directory that isn't there yet nothing is told.
            let _ = tokio::time::timeout(LOOK_EVERY, followed.changed()).await;
        }
    }
}

#[cfg(test)]
mod tests;
