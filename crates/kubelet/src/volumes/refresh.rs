//! What a pod that runs sees of objects, brought up to date.
use super::{VolumeError, VolumeMap, Volumes, check_uid, claim, failed, used};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use orlop_api::pod::{name, namespace, uid, volumes};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Before what failed for a pod that runs is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Whether something has to be done about a volume of a pod that runs: it shows what may change, or it is a claim's.
pub fn is_followed(pod: &Pod, volume: &Volume) -> bool {
    is_shown(volume) || claim::Claim::of(pod, volume).is_some()
}

/// Whether a volume shows something that may change.
fn is_shown(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

impl Volumes {
    /// Brings up to date what a pod that runs sees of objects, each volume by itself; others are left as they are `ready`.
    /// Without `is_prepared`, the pod was found running, and where its claims lead to is remembered. The first error is
    /// told, and after one it is tried again.
    pub async fn refresh(
        &self,
        pod: &Pod,
        ready: &mut VolumeMap,
        is_prepared: bool,
    ) -> Result<(), VolumeError> {
        let Some(spec) = pod.spec.as_ref() else {
            return Ok(());
        };
        check_uid(uid(pod))?;
        let (mut now, mut first) = (BTreeMap::clone(&ready.0), None);
        for volume in used(spec).filter(|volume| is_shown(volume)) {
            match self.setup_one(pod, volume).await.map_err(failed(volume)) {
                Ok(mounted) => {
                    now.insert(volume.name.clone(), mounted);
                }
                Err(error) => {
                    tracing::warn!(
                        pod = name(pod), namespace = namespace(pod), uid = uid(pod), %error, "volume not brought up to date"
                    );
                    first.get_or_insert(error);
                }
            }
        }
        ready.0 = Arc::new(now);
        if !is_prepared {
            self.remember_claims(pod, spec).await;
        }
        match first {
            None => Ok(()),
            Some(error) => {
                self.due.remind(uid(pod), RETRY_AFTER);
                Err(error)
            }
        }
    }

    /// Sets up what a container mounts that is not ready: it came with an ephemeral container, after the pod had started.
    pub async fn complete(
        &self,
        pod: &Pod,
        container: &Container,
        ready: &mut VolumeMap,
    ) -> Result<(), VolumeError> {
        let mounts: Vec<&str> = container
            .volume_mounts
            .iter()
            .flatten()
            .map(|mount| mount.name.as_str())
            .collect();
        let volumes = volumes(pod);
        for volume in volumes.filter(|volume| mounts.contains(&&*volume.name)) {
            if !ready.0.contains_key(&volume.name) {
                check_uid(uid(pod))?;
                let mounted = self.setup_one(pod, volume).await.map_err(failed(volume))?;
                Arc::make_mut(&mut ready.0).insert(volume.name.clone(), mounted);
            }
        }
        Ok(())
    }

    /// Of a pod that was found running: they may be on their way out when its containers start again.
    async fn remember_claims(&self, pod: &Pod, spec: &PodSpec) {
        for volume in used(spec) {
            let Some(claim) = claim::Claim::of(pod, volume) else {
                continue;
            };
            if let Err(fault) = self.bound(pod, volume, &claim).await {
                tracing::warn!(
                    pod = name(pod), namespace = namespace(pod), uid = uid(pod), volume = volume.name, %fault,
                    "nobody knows where a claim leads to"
                );
            }
        }
    }
}
