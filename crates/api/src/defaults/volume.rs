//! Defaults of volumes.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, EmptyDirVolumeSource, Volume};

use super::pod::{field_ref, fill, pull_policy, resource_field_ref};

/// Permission bits of files made from API objects, 0644.
const MODE: i32 = 0o644;

/// Does the volume name any source?
fn has_source(volume: &Volume) -> bool {
    *volume
        != Volume {
            name: volume.name.clone(),
            ..Volume::default()
        }
}

fn downward_files(items: Option<&mut Vec<DownwardAPIVolumeFile>>) {
    for item in items.into_iter().flatten() {
        if let Some(field) = &mut item.field_ref {
            field_ref(field);
        }
        if let Some(resource) = &mut item.resource_field_ref {
            resource_field_ref(resource);
        }
    }
}

pub(super) fn volume(v: &mut Volume) {
    if !has_source(v) {
        v.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(s) = &mut v.host_path {
        s.type_.get_or_insert_with(String::new);
    }
    if let Some(s) = &mut v.secret {
        s.default_mode.get_or_insert(MODE);
    }
    if let Some(s) = &mut v.config_map {
        s.default_mode.get_or_insert(MODE);
    }
    if let Some(s) = &mut v.downward_api {
        s.default_mode.get_or_insert(MODE);
        downward_files(s.items.as_mut());
    }
    if let Some(s) = &mut v.projected {
        s.default_mode.get_or_insert(MODE);
        for source in s.sources.iter_mut().flatten() {
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(3600);
            }
            if let Some(api) = &mut source.downward_api {
                downward_files(api.items.as_mut());
            }
        }
    }
    if let Some(s) = &mut v.image {
        let policy = pull_policy(s.reference.as_deref().unwrap_or(""));
        fill(&mut s.pull_policy, policy);
    }
    if let Some(s) = &mut v.iscsi {
        fill(&mut s.iscsi_interface, "default");
    }
    if let Some(s) = &mut v.rbd {
        fill(&mut s.pool, "rbd");
        fill(&mut s.user, "admin");
        fill(&mut s.keyring, "/etc/ceph/keyring");
    }
    if let Some(s) = &mut v.scale_io {
        fill(&mut s.storage_mode, "ThinProvisioned");
        fill(&mut s.fs_type, "xfs");
    }
    if let Some(s) = &mut v.azure_disk {
        fill(&mut s.caching_mode, "ReadWrite");
        fill(&mut s.kind, "Shared");
        fill(&mut s.fs_type, "ext4");
        s.read_only.get_or_insert(false);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources() {
        for (given, want) in [
            (json!({"name": "v"}), json!({"name": "v", "emptyDir": {}})),
            (
                json!({"name": "v", "hostPath": {"path": "/"}}),
                json!({"name": "v", "hostPath": {"path": "/", "type": ""}}),
            ),
            (
                json!({"name": "v", "secret": {"secretName": "s"}}),
                json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 420}}),
            ),
            (
                json!({"name": "v", "configMap": {"name": "s", "defaultMode": 256}}),
                json!({"name": "v", "configMap": {"name": "s", "defaultMode": 256}}),
            ),
            (
                json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
                json!({"name": "v", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}, {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}}]}}),
            ),
            (
                json!({"name": "v", "image": {"reference": "a:1"}}),
                json!({"name": "v", "image": {"reference": "a:1", "pullPolicy": "IfNotPresent"}}),
            ),
        ] {
            let mut v: Volume = serde_json::from_value(given).unwrap();
            volume(&mut v);
            assert_eq!(serde_json::to_value(&v).unwrap(), want);
        }
    }
}
