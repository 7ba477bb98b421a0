//! What the restricted level forbids beyond the baseline.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Volume;

use super::baseline::{adding, must_not_add, seccomp, seccomp_of};
use super::subject::Subject;
use super::words::{containers, plural, quoted, setters};
use super::{Check, Violation};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "allowPrivilegeEscalation",
        &[
            (8, escalation),
            (25, |subject| unless_windows(subject, escalation)),
        ],
    ),
    Check::new(
        "capabilities_restricted",
        &[
            (22, capabilities),
            (25, |subject| unless_windows(subject, capabilities)),
        ],
    )
    .instead_of("capabilities_baseline"),
    Check::new("restrictedVolumes", &[(0, volumes)]).instead_of("hostPathVolumes"),
    Check::new(
        "runAsNonRoot",
        &[(0, non_root), (35, |subject| unless_own_users(subject, non_root))],
    ),
    Check::new(
        "runAsUser",
        &[(23, user), (35, |subject| unless_own_users(subject, user))],
    ),
    Check::new(
        "seccompProfile_restricted",
        &[
            (19, safe_seccomp),
            (25, |subject| unless_windows(subject, safe_seccomp)),
        ],
    )
    .instead_of("seccompProfile_baseline"),
];

/// Since 1.25 pods for Windows need not set what means nothing there.
fn unless_windows(subject: &Subject<'_>, check: super::Run) -> Option<Violation> {
    if subject.is_windows() {
        None
    } else {
        check(subject)
    }
}

/// Since 1.35 root inside a user namespace of the pod's own is no root.
fn unless_own_users(subject: &Subject<'_>, check: super::Run) -> Option<Violation> {
    if subject.has_own_users() {
        None
    } else {
        check(subject)
    }
}

fn escalation(subject: &Subject<'_>) -> Option<Violation> {
    let names = subject.named(|part| {
        part.security
            .is_none_or(|s| s.allow_privilege_escalation != Some(false))
    });
    (!names.is_empty()).then(|| {
        let who = containers(&names);
        Violation::new(
            "allowPrivilegeEscalation != false",
            format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
        )
    })
}

fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    let keeping = subject.named(|part| {
        let capabilities = part.security.and_then(|s| s.capabilities.as_ref());
        let drop = capabilities.and_then(|c| c.drop.as_deref()).unwrap_or_default();
        !drop.iter().any(|name| name == "ALL")
    });
    let (names, what) = adding(subject, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!(
            "{who} must set securityContext.capabilities.drop=[\"ALL\"]"
        ));
    }
    if !names.is_empty() {
        details.push(must_not_add(&names, &what));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

/// The type of a volume that the level doesn't allow.
fn restricted_type(volume: &Volume) -> Option<&'static str> {
    let allowed = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if allowed {
        return None;
    }
    let known = [
        (volume.host_path.is_some(), "hostPath"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cinder.is_some(), "cinder"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.flocker.is_some(), "flocker"),
        (volume.fc.is_some(), "fc"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
    ];
    let found = known.iter().find(|(is, _)| *is);
    Some(found.map_or("unknown", |(_, name)| *name))
}

fn volumes(subject: &Subject<'_>) -> Option<Violation> {
    let all = subject.spec.volumes.as_deref().unwrap_or_default();
    let bad: Vec<&Volume> = all.iter().filter(|v| restricted_type(v).is_some()).collect();
    let types: BTreeSet<&str> = bad.iter().filter_map(|v| restricted_type(v)).collect();
    (!bad.is_empty()).then(|| {
        Violation::new(
            "restricted volume types",
            format!(
                "{} {} {} restricted volume {} {}",
                plural("volume", "volumes", bad.len()),
                quoted(bad.iter().map(|v| &v.name)),
                plural("uses", "use", bad.len()),
                plural("type", "types", types.len()),
                quoted(types)
            ),
        )
    })
}

fn non_root(subject: &Subject<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let pod = subject.security().and_then(|s| s.run_as_non_root);
    let refusing = subject.named(|part| part.security.and_then(|s| s.run_as_non_root) == Some(false));
    if let Some(who) = setters(pod == Some(false), &refusing) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Violation::new(REASON, detail));
    }
    let silent = subject.named(|part| part.security.and_then(|s| s.run_as_non_root).is_none());
    (pod.is_none() && !silent.is_empty()).then(|| {
        let who = containers(&silent);
        Violation::new(
            REASON,
            format!("pod or {who} must set securityContext.runAsNonRoot=true"),
        )
    })
}

fn user(subject: &Subject<'_>) -> Option<Violation> {
    let pod = subject.security().and_then(|s| s.run_as_user);
    let names = subject.named(|part| part.security.and_then(|s| s.run_as_user) == Some(0));
    let who = setters(pod == Some(0), &names)?;
    Some(Violation::new(
        "runAsUser=0",
        format!("{who} must not set runAsUser=0"),
    ))
}

fn safe_seccomp(subject: &Subject<'_>) -> Option<Violation> {
    if let Some(unsafe_profile) = seccomp(subject) {
        return Some(unsafe_profile);
    }
    let pod = subject.security().is_some_and(|s| s.seccomp_profile.is_some());
    let silent = subject.named(|part| seccomp_of(part).is_none());
    (!pod && !silent.is_empty()).then(|| {
        let who = containers(&silent);
        Violation::new(
            "seccompProfile",
            format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""),
        )
    })
}
