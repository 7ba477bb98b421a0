//! The ContainerConfig of a container (contract, node agent §11.3 and §11.4). Pure.
use super::apparmor::{self, Profile};
use super::hash::container_hash;
use super::sandbox::namespaces;
use super::seen::{annotations, labels};
use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, PodSpec, SELinuxOptions, SeccompProfile,
};
use orlop_api::pod::{name, namespace, uid};
use orlop_cri::v1;
use std::collections::{BTreeMap, HashMap};
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

/// What was prepared for a container before it is created.
pub struct Prepared {
    /// Image reference of the runtime.
    pub image: v1::ImageSpec,
    pub restart_count: u32,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<v1::Mount>,
    pub resources: v1::LinuxContainerResources,
    /// Devices, and what their plugins want the runtime to be told.
    pub devices: Vec<v1::Device>,
    pub cdi_devices: Vec<v1::CdiDevice>,
    pub annotations: BTreeMap<String, String>,
    /// The image's own user, for when the spec names none.
    pub image_user: ImageUser,
}

/// The user an image wants to run as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    pub uid: Option<i64>,
    pub name: String,
}

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

/// The request for one container.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    prepared: Prepared,
    security: &Security<'_>,
) -> v1::ContainerConfig {
    let Some(spec) = pod.spec.as_ref() else {
        return v1::ContainerConfig::default();
    };
    let lookup = |key: &str| {
        prepared
            .env
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    };
    let expand = |words: &Option<Vec<String>>| {
        words
            .iter()
            .flatten()
            .map(|word| orlop_api::expand::expand(word, lookup))
            .collect::<Vec<_>>()
    };
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: prepared.restart_count,
        }),
        image: Some(prepared.image),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        log_path: format!("{}/{}.log", container.name, prepared.restart_count),
        labels: HashMap::from([
            (labels::POD_NAME.to_owned(), name(pod).to_owned()),
            (labels::POD_NAMESPACE.to_owned(), namespace(pod).to_owned()),
            (labels::POD_UID.to_owned(), uid(pod).to_owned()),
            (labels::CONTAINER_NAME.to_owned(), container.name.clone()),
        ]),
        annotations: {
            let mut annotations = notes(pod, container, prepared.restart_count);
            annotations.extend(prepared.annotations);
            annotations
        },
        devices: prepared.devices,
        cdi_devices: prepared.cdi_devices,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(prepared.resources),
            security_context: Some(security_context(
                pod.metadata.annotations.as_ref(),
                spec,
                container,
                &prepared.image_user,
                security,
            )),
        }),
        mounts: prepared.mounts,
        envs: prepared
            .env
            .into_iter()
            .map(|(key, value)| v1::KeyValue { key, value })
            .collect(),
        ..v1::ContainerConfig::default()
    }
}

/// What a restarted agent, or one that never knew the spec, needs to stop the container properly.
fn notes(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let mut notes = HashMap::from([
        (annotations::HASH.to_owned(), container_hash(container)),
        (annotations::RESTART_COUNT.to_owned(), restart_count.to_string()),
        (
            annotations::TERMINATION_MESSAGE_PATH.to_owned(),
            container.termination_message_path.clone().unwrap_or_default(),
        ),
        (
            annotations::TERMINATION_MESSAGE_POLICY.to_owned(),
            container.termination_message_policy.clone().unwrap_or_default(),
        ),
    ]);
    if let Some(pre_stop) = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        && let Ok(text) = serde_json::to_string(pre_stop)
    {
        notes.insert(annotations::PRE_STOP.to_owned(), text);
    }
    if let Some(ports) = container.ports.as_ref().filter(|ports| !ports.is_empty())
        && let Ok(text) = serde_json::to_string(ports)
    {
        notes.insert(annotations::PORTS.to_owned(), text);
    }
    if let Some(grace) = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds)
    {
        notes.insert(annotations::POD_GRACE.to_owned(), grace.to_string());
    }
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        notes.insert(annotations::POD_DELETION_GRACE.to_owned(), grace.to_string());
    }
    notes
}

/// fsGroup first, then the listed ones.
pub fn supplemental_groups(pod: &PodSecurityContext) -> Vec<i64> {
    pod.fs_group
        .into_iter()
        .chain(pod.supplemental_groups.iter().flatten().copied())
        .collect()
}

fn security_context(
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

fn seccomp(profile: Option<&SeccompProfile>, security: &Security<'_>) -> v1::SecurityProfile {
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

#[cfg(test)]
mod tests;
