//! The hosts file of a pod (contract, node agent §13.2).
use super::{EnvError, Settings};
use crate::runtime::sandbox::{fqdn, hostname};
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{is_host_network, uid};
use orlop_cri::v1;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const MOUNT_PATH: &str = "/etc/hosts";

/// Writes the pod's hosts file anew and mounts it, unless the container mounts its own.
pub fn mount(
    settings: &Settings,
    pod: &Pod,
    container: &Container,
    ips: &[String],
) -> Result<Option<v1::Mount>, EnvError> {
    let own = container.volume_mounts.iter().flatten();
    if own
        .map(|mount| mount.mount_path.trim_end_matches('/'))
        .any(|path| path == MOUNT_PATH)
    {
        return Ok(None);
    }
    let directory = settings.root.join("pods").join(uid(pod));
    let path = directory.join("etc-hosts");
    let host_network = pod.spec.as_ref().is_some_and(is_host_network);
    let content = if host_network {
        let node = std::fs::read_to_string(MOUNT_PATH).unwrap_or_default();
        node_content(pod, &node)
    } else {
        pod_content(pod, ips, &settings.cluster_domain)
    };
    write(&directory, &path, &content).map_err(|source| EnvError::HostsFile {
        path: path.clone(),
        source,
    })?;
    Ok(Some(v1::Mount {
        container_path: MOUNT_PATH.to_owned(),
        host_path: path.display().to_string(),
        ..v1::Mount::default()
    }))
}

/// In place: containers that run have the very same file mounted.
fn write(directory: &Path, path: &Path, content: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    if std::fs::read_to_string(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    std::fs::write(path, content)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

fn node_content(pod: &Pod, node: &str) -> String {
    format!(
        "# Kubernetes-managed hosts file (host network).\n{node}{}",
        aliases(pod)
    )
}

fn pod_content(pod: &Pod, ips: &[String], cluster_domain: &str) -> String {
    let mut out = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let host = hostname(pod);
    // A name that was given as a whole has no domain around it.
    let spec = pod.spec.as_ref().filter(|spec| spec.hostname_override.is_none());
    let subdomain = spec
        .and_then(|spec| spec.subdomain.as_deref())
        .unwrap_or_default();
    for ip in ips {
        // Writing to a String cannot fail.
        let _ = match subdomain {
            "" => writeln!(out, "{ip}\t{host}"),
            _ => writeln!(
                out,
                "{ip}\t{}\t{host}",
                fqdn(pod, &host, subdomain, cluster_domain)
            ),
        };
    }
    out + &aliases(pod)
}

fn aliases(pod: &Pod) -> String {
    let aliases = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.host_aliases.as_deref())
        .unwrap_or_default();
    if aliases.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let _ = writeln!(
            out,
            "{}\t{}",
            alias.ip,
            alias.hostnames.clone().unwrap_or_default().join("\t")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": spec}),
        )
        .unwrap()
    }

    const HEAD: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

    #[test]
    fn e08_hosts_file_with_aliases() {
        let pod = pod(json!({"containers": [], "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        let want = format!("{HEAD}10.0.0.7\tweb\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n");
        assert_eq!(pod_content(&pod, &["10.0.0.7".into()], "cluster.local"), want);
        let host = node_content(&pod, "127.0.0.1 node\n");
        assert_eq!(
            host,
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
        );
    }

    #[test]
    fn subdomain_gives_the_full_name() {
        let pod = pod(json!({"containers": [], "hostname": "h", "subdomain": "s"}));
        let want = format!("{HEAD}10.0.0.7\th.s.ns.svc.cluster.local\th\n");
        assert_eq!(pod_content(&pod, &["10.0.0.7".into()], "cluster.local"), want);
    }

    #[test]
    fn a_name_given_as_a_whole_has_no_domain() {
        let pod = pod(json!({"containers": [], "hostnameOverride": "any.host", "subdomain": "s"}));
        let want = format!("{HEAD}10.0.0.7\tany.host\n");
        assert_eq!(pod_content(&pod, &["10.0.0.7".into()], "cluster.local"), want);
    }

    #[test]
    fn e08_a_container_with_its_own_hosts_file_keeps_it() {
        let root = tempfile::tempdir().unwrap();
        let settings = super::super::dns::tests::settings(root.path());
        let pod = pod(json!({"containers": [{"name": "c"},
            {"name": "own", "volumeMounts": [{"name": "v", "mountPath": "/etc/hosts"}]}]}));
        let containers = &pod.spec.as_ref().unwrap().containers;
        assert!(mount(&settings, &pod, &containers[1], &[]).unwrap().is_none());
        let mount = mount(&settings, &pod, &containers[0], &["10.0.0.7".into()])
            .unwrap()
            .unwrap();
        assert_eq!(mount.container_path, "/etc/hosts");
        let file = root.path().join("pods/u/etc-hosts");
        assert_eq!(mount.host_path, file.display().to_string());
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert!(std::fs::read_to_string(&file).unwrap().contains("10.0.0.7\tweb"));
    }
}
