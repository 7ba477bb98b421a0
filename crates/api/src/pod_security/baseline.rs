//! What the baseline level forbids. In the order of upstream's names, which is that of its messages.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{HTTPGetAction, SELinuxOptions, TCPSocketAction};

use super::subject::{Part, Subject};
use super::words::{containers, plural, quoted, setters};
use super::{Check, Violation};

pub(super) const CHECKS: &[Check] = &[
    Check::new("appArmorProfile", &[(0, app_armor)]),
    Check::new("capabilities_baseline", &[(0, capabilities)]),
    Check::new("hostNamespaces", &[(0, host_namespaces)]),
    Check::new("hostPathVolumes", &[(0, host_paths)]),
    Check::new("hostPorts", &[(0, host_ports)]),
    Check::new("hostProbesAndHostLifecycle", &[(34, probed_hosts)]),
    Check::new("privileged", &[(0, privileged)]),
    Check::new(
        "procMount",
        &[
            (0, proc_mount),
            (35, |subject| match subject.has_own_users() {
                true => None,
                false => proc_mount(subject),
            }),
        ],
    ),
    Check::new(
        "seLinuxOptions",
        &[
            (0, |subject| se_linux(subject, &SE_LINUX_TYPES[..3])),
            (31, |subject| se_linux(subject, &SE_LINUX_TYPES)),
        ],
    ),
    Check::new(
        "seccompProfile_baseline",
        &[(0, seccomp_annotations), (19, seccomp)],
    ),
    Check::new(
        "sysctls",
        &[
            (0, |subject| sysctls(subject, &SAFE_SYSCTLS[..5])),
            (27, |subject| sysctls(subject, &SAFE_SYSCTLS[..6])),
            (29, |subject| sysctls(subject, &SAFE_SYSCTLS[..10])),
            (32, |subject| sysctls(subject, &SAFE_SYSCTLS)),
        ],
    ),
    Check::new("windowsHostProcess", &[(0, host_process)]),
];

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

fn app_armor(subject: &Subject<'_>) -> Option<Violation> {
    let bad = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let mut values: BTreeSet<&str> = BTreeSet::new();
    let pod = subject.security().and_then(|s| s.app_armor_profile.as_ref());
    let pod = pod.map(|profile| profile.type_.as_str()).filter(|kind| bad(kind));
    values.extend(pod);
    let of = |part: &Part<'_>| Some(part.security?.app_armor_profile.as_ref()?.type_.clone());
    let own: Vec<(&str, String)> = subject
        .parts
        .iter()
        .filter_map(|part| of(part).filter(|kind| bad(kind)).map(|kind| (part.name, kind)))
        .collect();
    values.extend(own.iter().map(|(_, kind)| kind.as_str()));
    let names: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
    let annotations: Vec<String> = subject
        .annotations()
        .filter(|(key, value)| {
            key.starts_with(APP_ARMOR_ANNOTATION)
                && !value.is_empty()
                && *value != "runtime/default"
                && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let mut who: Vec<String> = setters(pod.is_some(), &names).into_iter().collect();
    let mut values: Vec<String> = values.into_iter().map(|kind| format!("{kind:?}")).collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    Some(Violation::new(
        reason,
        format!(
            "{} must not set AppArmor profile type to {}",
            who.join(" and "),
            values.join(", ")
        ),
    ))
}

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The capabilities a container adds that are not among `allowed`.
pub(super) fn added<'a>(part: &Part<'a>, allowed: &[&str]) -> Vec<&'a str> {
    let capabilities = part.security.and_then(|s| s.capabilities.as_ref());
    let add = capabilities.and_then(|c| c.add.as_deref()).unwrap_or_default();
    add.iter()
        .map(String::as_str)
        .filter(|name| !allowed.contains(name))
        .collect()
}

/// Names of the containers that add others than `allowed`, and what these are.
pub(super) fn adding<'a>(subject: &Subject<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let names = subject.named(|part| !added(part, allowed).is_empty());
    let what = subject
        .parts
        .iter()
        .flat_map(|part| added(part, allowed))
        .collect();
    (names, what)
}

/// `containers "a" must not include "X" in securityContext.capabilities.add`.
pub(super) fn must_not_add(names: &[&str], what: &BTreeSet<&str>) -> String {
    format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(names),
        quoted(what)
    )
}

fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    let (names, what) = adding(subject, CAPABILITIES);
    (!names.is_empty()).then(|| Violation::new("non-default capabilities", must_not_add(&names, &what)))
}

fn host_namespaces(subject: &Subject<'_>) -> Option<Violation> {
    let spec = subject.spec;
    let shared: Vec<&str> = [
        (spec.host_network, "hostNetwork=true"),
        (spec.host_pid, "hostPID=true"),
        (spec.host_ipc, "hostIPC=true"),
    ]
    .into_iter()
    .filter(|(is, _)| *is == Some(true))
    .map(|(_, text)| text)
    .collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

fn host_paths(subject: &Subject<'_>) -> Option<Violation> {
    let volumes = subject.spec.volumes.iter().flatten();
    let names: Vec<&str> = volumes
        .filter(|volume| volume.host_path.is_some())
        .map(|volume| volume.name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        let word = plural("volume", "volumes", names.len());
        Violation::new("hostPath volumes", format!("{word} {}", quoted(&names)))
    })
}

fn host_ports(subject: &Subject<'_>) -> Option<Violation> {
    let taken = |part: &Part<'_>| -> Vec<String> {
        let ports = part.ports.iter().filter_map(|port| port.host_port);
        ports
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
            .collect()
    };
    let names = subject.named(|part| !taken(part).is_empty());
    // As texts, so 100 comes before 20.
    let ports: BTreeSet<String> = subject.parts.iter().flat_map(taken).collect();
    (!names.is_empty()).then(|| {
        Violation::new(
            "hostPort",
            format!(
                "{} {} {} {}",
                containers(&names),
                plural("uses", "use", names.len()),
                plural("hostPort", "hostPorts", ports.len()),
                ports.into_iter().collect::<Vec<_>>().join(", ")
            ),
        )
    })
}

fn probed_hosts(subject: &Subject<'_>) -> Option<Violation> {
    fn hosts<'a>(part: &Part<'a>) -> Vec<&'a str> {
        let http = |action: Option<&'a HTTPGetAction>| action.and_then(|a| a.host.as_deref());
        let tcp = |action: Option<&'a TCPSocketAction>| action.and_then(|a| a.host.as_deref());
        let probes = part.probes.iter().flatten();
        let mut hosts: Vec<Option<&str>> = probes
            .flat_map(|probe| [http(probe.http_get.as_ref()), tcp(probe.tcp_socket.as_ref())])
            .collect();
        if let Some(lifecycle) = part.lifecycle {
            for handler in [&lifecycle.post_start, &lifecycle.pre_stop].into_iter().flatten() {
                hosts.extend([http(handler.http_get.as_ref()), tcp(handler.tcp_socket.as_ref())]);
            }
        }
        hosts
            .into_iter()
            .flatten()
            .filter(|host| !host.is_empty())
            .collect()
    }
    let names: BTreeSet<&str> = subject
        .named(|part| !hosts(part).is_empty())
        .into_iter()
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let found: BTreeSet<&str> = subject.parts.iter().flat_map(hosts).collect();
    (!names.is_empty()).then(|| {
        Violation::new(
            "probe or lifecycle host",
            format!(
                "{} {} {} {}",
                containers(&names),
                plural("uses", "use", names.len()),
                plural("probe or lifecycle host", "probe or lifecycle hosts", found.len()),
                quoted(found)
            ),
        )
    })
}

fn privileged(subject: &Subject<'_>) -> Option<Violation> {
    let names = subject.named(|part| part.security.is_some_and(|s| s.privileged == Some(true)));
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.privileged=true",
            containers(&names)
        );
        Violation::new("privileged", detail)
    })
}

fn proc_mount(subject: &Subject<'_>) -> Option<Violation> {
    fn other<'a>(part: &Part<'a>) -> Option<&'a str> {
        let mount = part.security?.proc_mount.as_deref()?;
        (mount != "Default").then_some(mount)
    }
    let names = subject.named(|part| other(part).is_some());
    let found: BTreeSet<&str> = subject.parts.iter().filter_map(other).collect();
    (!names.is_empty()).then(|| {
        let (who, what) = (containers(&names), quoted(found));
        Violation::new(
            "procMount",
            format!("{who} must not set securityContext.procMount to {what}"),
        )
    })
}

/// The last one came with 1.31.
const SE_LINUX_TYPES: [&str; 4] = [
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

fn se_linux(subject: &Subject<'_>, allowed: &[&str]) -> Option<Violation> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let bad_type = |options: &SELinuxOptions| {
        let kind = text(&options.type_);
        (!kind.is_empty() && !allowed.contains(&kind.as_str())).then_some(kind)
    };
    let bad = |options: &SELinuxOptions| {
        bad_type(options).is_some() || !text(&options.user).is_empty() || !text(&options.role).is_empty()
    };
    let of_pod = subject.security().and_then(|s| s.se_linux_options.as_ref());
    let of_part = |part: &Part<'_>| part.security.and_then(|s| s.se_linux_options.clone());
    let names = subject.named(|part| of_part(part).is_some_and(|options| bad(&options)));
    let who = setters(of_pod.is_some_and(bad), &names)?;
    let all: Vec<SELinuxOptions> = of_pod
        .cloned()
        .into_iter()
        .chain(subject.parts.iter().filter_map(of_part))
        .collect();
    let types: BTreeSet<String> = all.iter().filter_map(bad_type).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!(
            "{} {}",
            plural("type", "types", types.len()),
            quoted(&types)
        ));
    }
    if all.iter().any(|options| !text(&options.user).is_empty()) {
        what.push("user may not be set".to_owned());
    }
    if all.iter().any(|options| !text(&options.role).is_empty()) {
        what.push("role may not be set".to_owned());
    }
    let detail = format!(
        "{who} set forbidden securityContext.seLinuxOptions: {}",
        what.join("; ")
    );
    Some(Violation::new("seLinuxOptions", detail))
}

/// Annotation for a whole pod, and the beginning of those for single containers.
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Before 1.19 profiles were annotations.
fn seccomp_annotations(subject: &Subject<'_>) -> Option<Violation> {
    let bad = |value: &str| {
        !matches!(value, "" | "runtime/default" | "docker/default") && !value.starts_with("localhost/")
    };
    let counts = |key: &str| {
        key == SECCOMP_POD
            || key
                .strip_prefix(SECCOMP_CONTAINER)
                .is_some_and(|name| subject.parts.iter().any(|part| part.name == name))
    };
    let found: Vec<String> = subject
        .annotations()
        .filter(|(key, value)| counts(key) && bad(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    (!found.is_empty()).then(|| {
        let word = plural("annotation", "annotations", found.len());
        Violation::new("seccompProfile", format!("forbidden {word} {}", found.join(", ")))
    })
}

/// The kind of profile a container names.
pub(super) fn seccomp_of<'a>(part: &Part<'a>) -> Option<&'a str> {
    part.security?.seccomp_profile.as_ref().map(|p| p.type_.as_str())
}

pub(super) fn seccomp_is_safe(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

pub(super) fn seccomp(subject: &Subject<'_>) -> Option<Violation> {
    let bad = |kind: Option<&'_ str>| kind.is_some_and(|kind| !seccomp_is_safe(kind));
    let pod = subject.security().and_then(|s| s.seccomp_profile.as_ref());
    let pod = pod.map(|profile| profile.type_.as_str());
    let names = subject.named(|part| bad(seccomp_of(part)));
    let who = setters(bad(pod), &names)?;
    let kinds = pod.into_iter().chain(subject.parts.iter().filter_map(seccomp_of));
    let kinds: BTreeSet<&str> = kinds.filter(|kind| !seccomp_is_safe(kind)).collect();
    let what = quoted(kinds);
    Some(Violation::new(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {what}"),
    ))
}

/// Kernel settings that concern nobody but the pod, in the order in which releases came to allow them.
pub const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(subject: &Subject<'_>, allowed: &[&str]) -> Option<Violation> {
    let set = subject
        .security()
        .and_then(|s| s.sysctls.as_deref())
        .unwrap_or_default();
    let found: Vec<&str> = set
        .iter()
        .map(|sysctl| sysctl.name.as_str())
        .filter(|name| !allowed.contains(name))
        .collect();
    (!found.is_empty()).then(|| Violation::new("forbidden sysctls", found.join(", ")))
}

fn host_process(subject: &Subject<'_>) -> Option<Violation> {
    let pod = subject.security().and_then(|s| s.windows_options.as_ref());
    let pod = pod.is_some_and(|options| options.host_process == Some(true));
    let names = subject.named(|part| {
        let options = part.security.and_then(|s| s.windows_options.as_ref());
        options.is_some_and(|options| options.host_process == Some(true))
    });
    let who = setters(pod, &names)?;
    Some(Violation::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    ))
}
