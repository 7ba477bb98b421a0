//! Whom a container runs as, and what is kept from it (contract, node agent §11.4). Pure, but for what the machine has.
use super::ImageUser;
use crate::runtime::apparmor::{self, Profile};
use crate::runtime::sandbox::namespaces;
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec, SELinuxOptions, SeccompProfile};
use orlop_cri::v1;
use std::collections::BTreeMap;
use std::path::Path;

/// What is hidden from containers unless they are privileged.
const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Node-wide settings of security contexts.
pub struct Security<'a> {
    /// `<root>/seccomp`, where localhost profiles lie.
    pub seccomp_directory: &'a Path,
    /// `seccompDefault`: RuntimeDefault where nothing is said.
    pub seccomp_default: bool,
    /// Paths of this machine that tell of its processors' heat, to be hidden with the others.
    pub thermal_throttles: &'a [String],
}

/// What of `/sys/devices/system/cpu` tells of heat.
pub fn thermal_throttles(processors: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(processors).into_iter().flatten().flatten();
    let paths = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("cpu"))
        .map(|entry| entry.path().join("thermal_throttle"));
    let mut paths: Vec<String> = paths
        .filter(|path| path.is_dir())
        .map(|path| path.display().to_string())
        .collect();
    paths.sort();
    paths
}

/// fsGroup first, then the listed ones.
pub fn supplemental_groups(pod: &PodSecurityContext) -> Vec<i64> {
    pod.fs_group
        .into_iter()
        .chain(pod.supplemental_groups.iter().flatten().copied())
        .collect()
}

/// The security context of a container: what it says itself, its pod, its image and the node, in that order.
pub(super) fn security_context(
    annotations: Option<&BTreeMap<String, String>>,
    spec: &PodSpec,
    container: &Container,
    image_user: &ImageUser,
    security: &Security<'_>,
) -> v1::LinuxContainerSecurityContext {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    let to_strings = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let apparmor = apparmor::profile(annotations, spec, container);
    v1::LinuxContainerSecurityContext {
        privileged: own.privileged.unwrap_or(false),
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..v1::Capability::default()
        }),
        namespace_options: Some(namespaces(spec)),
        run_as_user: user.or(image_user.uid).map(|value| v1::Int64Value { value }),
        run_as_username: match (user, image_user.uid) {
            (None, None) => image_user.name.clone(),
            _ => String::new(),
        },
        run_as_group: own
            .run_as_group
            .or(pod.run_as_group)
            .map(|value| v1::Int64Value { value }),
        supplemental_groups: supplemental_groups(&pod),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: Some(seccomp(
            own.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref()),
            security,
        )),
        supplemental_groups_policy: groups_policy(&pod) as i32,
        selinux_options: own
            .se_linux_options
            .as_ref()
            .or(pod.se_linux_options.as_ref())
            .map(selinux),
        masked_paths: if unmasked {
            Vec::new()
        } else {
            let thermal = security.thermal_throttles.iter().cloned();
            to_strings(MASKED_PATHS).into_iter().chain(thermal).collect()
        },
        readonly_paths: if unmasked {
            Vec::new()
        } else {
            to_strings(READONLY_PATHS)
        },
        ..apparmor_context(apparmor)
    }
}

/// Whether the groups that the image gives the user count too.
pub fn groups_policy(pod: &PodSecurityContext) -> v1::SupplementalGroupsPolicy {
    match pod.supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict,
        _ => v1::SupplementalGroupsPolicy::Merge,
    }
}

/// The labels of SELinux.
pub fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    v1::SeLinuxOption {
        user: text(&options.user),
        role: text(&options.role),
        r#type: text(&options.type_),
        level: text(&options.level),
    }
}

/// Runtimes read the field, older ones the text.
fn apparmor_context(profile: Option<Profile>) -> v1::LinuxContainerSecurityContext {
    use v1::security_profile::ProfileType;
    let Some(profile) = profile else {
        return v1::LinuxContainerSecurityContext::default();
    };
    let (kind, name, text) = match profile {
        Profile::RuntimeDefault => (
            ProfileType::RuntimeDefault,
            String::new(),
            "runtime/default".to_owned(),
        ),
        Profile::Unconfined => (ProfileType::Unconfined, String::new(), "unconfined".to_owned()),
        Profile::Localhost(name) => (ProfileType::Localhost, name.clone(), format!("localhost/{name}")),
    };
    #[allow(deprecated, reason = "runtimes before the field exists read this one")]
    v1::LinuxContainerSecurityContext {
        apparmor: Some(v1::SecurityProfile {
            profile_type: kind as i32,
            localhost_ref: name,
        }),
        apparmor_profile: text,
        ..v1::LinuxContainerSecurityContext::default()
    }
}

pub(super) fn seccomp(profile: Option<&SeccompProfile>, security: &Security<'_>) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (kind, localhost_ref) = match profile.map(|profile| (profile.type_.as_str(), profile)) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", profile)) => {
            let file = profile.localhost_profile.clone().unwrap_or_default();
            (
                ProfileType::Localhost,
                security.seccomp_directory.join(file).display().to_string(),
            )
        }
        None if security.seccomp_default => (ProfileType::RuntimeDefault, String::new()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref,
    }
}

/// Why a container may not run as the user it would run as (`runAsNonRoot`).
pub fn non_root_violation(spec: &PodSpec, container: &Container, image_user: &ImageUser) -> Option<String> {
    let pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    let required = own
        .and_then(|c| c.run_as_non_root)
        .or_else(|| pod.and_then(|p| p.run_as_non_root))
        == Some(true);
    if !required {
        return None;
    }
    let named = |user: &str| {
        format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
        )
    };
    match own
        .and_then(|c| c.run_as_user)
        .or_else(|| pod.and_then(|p| p.run_as_user))
    {
        Some(0) => Some("container's runAsUser breaks non-root policy".to_owned()),
        Some(_) => None,
        None => match (image_user.uid, image_user.name.as_str()) {
            (Some(0), _) | (None, "") => {
                Some("container has runAsNonRoot and image will run as root".to_owned())
            }
            (Some(_), _) => None,
            (None, user) => Some(named(user)),
        },
    }
}
