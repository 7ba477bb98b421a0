//! What a pod that runs sees of objects, brought up to date.
use super::{VolumeError, VolumeMap, Volumes, check_uid, claim, failed, used};
use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};
use orlop_api::pod::{name, namespace, uid};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Before what failed for a pod that runs is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Whether a volume shows something that may change.
pub fn is_shown(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

impl Volumes {
    /// Brings up to date what a pod that runs sees of objects, each volume by itself; others are left as they are `ready`.
    /// With `is_prepared`, all of them are known, and one that isn't there yet has come with an ephemeral container. The
    /// first error is told, and after one it is tried again.
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
        let is_new = |volume: &Volume| is_prepared && !ready.0.contains_key(&volume.name);
        let mut volumes: Vec<&Volume> = used(spec)
            .filter(|volume| is_shown(volume) || is_new(volume))
            .collect();
        // What may hang comes last.
        volumes.sort_by_key(|volume| !is_shown(volume));
        let (mut now, mut first) = (BTreeMap::clone(&ready.0), None);
        for volume in volumes {
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
