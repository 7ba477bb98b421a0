//! `serverTLSBootstrap`: the certificate of the agent's server, signed by the cluster. The server takes it up from its
//! file with the next connection.
use super::leaf;
use super::plan::{self, InUse, Step};
use super::request::{ObtainError, Signer, obtain};
use crate::metrics::Certificates;
use jiff::Timestamp;
use kube::Client;
use orlop_pki::{Asking, LeafRequest, PkiError, RenewedLeaf, Usage, Validity, covers_request};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Looks after the serving certificate.
pub struct ServingCertificate {
    client: Client,
    files: RenewedLeaf,
    wanted: LeafRequest,
    counted: Certificates,
}

impl ServingCertificate {
    /// For a node's name and addresses, in `directory` (`--cert-dir`).
    pub fn new(client: Client, node_name: &str, addresses: Vec<IpAddr>, directory: &Path) -> Self {
        Self {
            client,
            files: Self::files(directory),
            wanted: leaf(node_name, Usage::Server, vec![node_name.to_owned()], addresses),
            counted: Certificates::default(),
        }
    }

    /// Tells there how long the certificate lasts.
    pub fn counted(mut self, counted: Certificates) -> Self {
        self.counted = counted;
        self
    }

    /// The file that the certificate and its key are in, once there is one.
    pub fn file(directory: &Path) -> PathBuf {
        Self::files(directory).current()
    }

    fn files(directory: &Path) -> RenewedLeaf {
        RenewedLeaf::new(directory, "kubelet-server")
    }

    /// Asks and renews, for as long as it is polled.
    pub async fn run(self) {
        let (mut in_use, mut failures) = (self.stored(), 0);
        loop {
            let now = Timestamp::now();
            self.counted.server_lasts(in_use.map(|used| used.validity.until));
            let step = match in_use {
                Some(used) if !used.validity.has_ended(now) => plan::next(Some(used), false, now),
                _ => Step::Renew,
            };
            if let Step::Wait(pause) = step {
                tokio::time::sleep(pause).await;
                continue;
            }
            match self.renew().await {
                Ok(renewed) => {
                    in_use = Some(renewed);
                    // By the node's clock it may be over already: another one at once would be, too.
                    if renewed.validity.has_ended(Timestamp::now()) {
                        failures += 1;
                        tokio::time::sleep(plan::retry_after(failures, false)).await;
                    } else {
                        failures = 0;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.counted.server_errors.inc();
                    let pause = plan::retry_after(failures, error.is_refusal());
                    tracing::warn!(%error, retry_after = ?pause, "the node agent has no new serving certificate");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The certificate that is there, if it is for what the node is now.
    fn stored(&self) -> Option<InUse> {
        let stored = self.files.read().ok().flatten()?;
        let validity = Validity::of_pem(&stored.certificate)?;
        covers_request(&stored.certificate, &self.wanted).then(|| used(validity, None))
    }

    async fn renew(&self) -> Result<InUse, ObtainError> {
        let asking = Asking::new(&self.wanted, None)?;
        let leaf = obtain(&self.client, asking, Signer::NodeServing, None).await?;
        let now = Timestamp::now();
        let file = self.files.save(&leaf, now)?;
        let validity = Validity::of_pem(&leaf.certificate).ok_or_else(|| PkiError::Unusable {
            path: file.clone(),
            reason: "its validity can't be read".to_owned(),
        })?;
        tracing::info!(file = %file.display(), until = %validity.until, "the node agent has a new serving certificate");
        Ok(used(validity, Some(now)))
    }
}

fn used(validity: Validity, received: Option<Timestamp>) -> InUse {
    InUse {
        validity,
        renew_at: Some(plan::renew_at(validity, received, rand::random())),
    }
}
