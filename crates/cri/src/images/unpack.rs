//! Layers into snapshots, so that the first container of an image doesn't pay for it.

use super::ImportError;
use super::registry::in_cri_namespace;
use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::types::Descriptor;
use std::collections::HashMap;
use tonic::Code;
use tonic::transport::Channel;

/// The name of the snapshot that holds a stack of layers: a digest over the layers' digests (OCI image specification).
pub(super) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => orlop_oci::sha256(format!("{parent} {diff_id}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}

/// Whether the snapshot is there and complete.
pub(super) async fn is_unpacked(
    channel: Channel,
    snapshotter: &str,
    chain_id: &str,
) -> Result<bool, tonic::Status> {
    let answer = SnapshotsClient::new(channel)
        .stat(in_cri_namespace(
            StatSnapshotRequest {
                snapshotter: snapshotter.to_owned(),
                key: chain_id.to_owned(),
            },
            None,
        ))
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(status),
    }
}

/// Unpacks the layers that aren't yet, lowest first.
pub(super) async fn unpack(
    channel: &Channel,
    lease: &str,
    snapshotter: &str,
    layers: &[Descriptor],
    diff_ids: &[String],
) -> Result<(), ImportError> {
    let chain = chain_ids(diff_ids);
    let mut parent = String::new();
    for ((layer, diff_id), chain_id) in layers.iter().zip(diff_ids).zip(chain) {
        let there = is_unpacked(channel.clone(), snapshotter, &chain_id)
            .await
            .map_err(ImportError::containerd("looking for a snapshot", &chain_id))?;
        if !there {
            let step = Step {
                channel,
                lease,
                snapshotter,
            };
            step.apply(layer, diff_id, &parent, &chain_id).await?;
        }
        parent = chain_id;
    }
    Ok(())
}

struct Step<'a> {
    channel: &'a Channel,
    lease: &'a str,
    snapshotter: &'a str,
}

impl Step<'_> {
    async fn apply(
        &self,
        layer: &Descriptor,
        diff_id: &str,
        parent: &str,
        chain_id: &str,
    ) -> Result<(), ImportError> {
        let key = format!("{}-extract {chain_id}", self.lease);
        let outcome = self.fill(&key, layer, diff_id, parent).await;
        let committed = match outcome {
            Ok(()) => self.commit(&key, chain_id).await,
            Err(error) => Err(error),
        };
        if committed.is_err() {
            self.discard(&key).await;
        }
        committed
    }

    async fn fill(
        &self,
        key: &str,
        layer: &Descriptor,
        diff_id: &str,
        parent: &str,
    ) -> Result<(), ImportError> {
        let mounts = SnapshotsClient::new(self.channel.clone())
            .prepare(in_cri_namespace(
                PrepareSnapshotRequest {
                    snapshotter: self.snapshotter.to_owned(),
                    key: key.to_owned(),
                    parent: parent.to_owned(),
                    labels: HashMap::new(),
                },
                Some(self.lease),
            ))
            .await
            .map_err(ImportError::containerd("preparing a snapshot", &layer.digest))?
            .into_inner()
            .mounts;
        let applied = DiffClient::new(self.channel.clone())
            .apply(in_cri_namespace(
                ApplyRequest {
                    diff: Some(layer.clone()),
                    mounts,
                    ..ApplyRequest::default()
                },
                Some(self.lease),
            ))
            .await
            .map_err(ImportError::containerd("unpacking a layer", &layer.digest))?
            .into_inner()
            .applied;
        let unpacked = applied.map(|descriptor| descriptor.digest);
        if unpacked.as_deref() == Some(diff_id) {
            Ok(())
        } else {
            Err(ImportError::Containerd {
                step: "unpacking a layer",
                image: layer.digest.clone(),
                message: format!(
                    "its content is {}, not {diff_id} as the image's configuration says",
                    unpacked.unwrap_or_default()
                ),
                code: Code::DataLoss,
            })
        }
    }

    async fn commit(&self, key: &str, chain_id: &str) -> Result<(), ImportError> {
        let outcome = SnapshotsClient::new(self.channel.clone())
            .commit(in_cri_namespace(
                CommitSnapshotRequest {
                    snapshotter: self.snapshotter.to_owned(),
                    name: chain_id.to_owned(),
                    key: key.to_owned(),
                    ..CommitSnapshotRequest::default()
                },
                Some(self.lease),
            ))
            .await;
        match outcome {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                // Somebody else unpacked the same layer meanwhile.
                self.discard(key).await;
                Ok(())
            }
            Err(status) => Err(ImportError::containerd("committing a snapshot", chain_id)(status)),
        }
    }

    /// Best effort: what stays is collected when the lease ends.
    async fn discard(&self, key: &str) {
        let _ = SnapshotsClient::new(self.channel.clone())
            .remove(in_cri_namespace(
                RemoveSnapshotRequest {
                    snapshotter: self.snapshotter.to_owned(),
                    key: key.to_owned(),
                },
                Some(self.lease),
            ))
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_starts_with_the_first_layer_and_covers_all_below() {
        let layers = ["sha256:a".to_owned(), "sha256:b".to_owned()];
        let chain = chain_ids(&layers);
        assert_eq!(chain[0], "sha256:a");
        assert_eq!(chain[1], orlop_oci::sha256(b"sha256:a sha256:b"));
        assert!(chain_ids(&[]).is_empty());
    }
}
