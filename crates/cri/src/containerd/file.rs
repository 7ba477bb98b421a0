//! The configuration file, made of what the caller decides and what the machine allows.

use super::{CgroupDriver, ContainerdConfig, Facts};
use std::path::Path;

/// Plugins of containerd that nothing here uses: snapshotters for other file systems, its own restarting, and tracing.
/// (Its CRI half does not start without the v1 runtime, of all things.) Without them it starts sooner and is smaller, and doesn't warn about kernels that lack them. Names it doesn't
/// know are passed over by every version.
const DISABLED_PLUGINS: [&str; 10] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.nri.v1.nri",
];
/// containerd goes last when memory is short, as its own service file has it; only the node agent is as dear.
const OOM_SCORE: i32 = -999;

/// The file's text (containerd's configuration version 2, read by 1.6, 1.7 and 2.x).
///
/// A shim of ours is named by its path: containerd 1.6 reads `runtime_path` but doesn't follow it. It sees from a
/// container's cgroup path who makes cgroups; options in this place would be of another type.
pub(super) fn render(
    config: &ContainerdConfig,
    cni_bin_dir: &Path,
    shim: Option<&Path>,
    facts: Facts,
) -> String {
    let disabled: Vec<String> = DISABLED_PLUGINS.iter().map(|name| quote(name)).collect();
    let runtime = match shim {
        Some(path) => format!("      runtime_type = {}", quote_path(path)),
        None => format!(
            r#"      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = {}"#,
            config.cgroup_driver == CgroupDriver::Systemd
        ),
    };
    let oom_score = if facts.has_sys_resource { OOM_SCORE } else { 0 };
    format!(
        r#"# Written by orlop at each start; changes are lost.
version = 2
root = {root}
state = {state}
oom_score = {oom_score}
disabled_plugins = [{disabled}]

[grpc]
  address = {socket}

[debug]
  level = "info"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {sandbox_image}
  # Without CAP_SYS_RESOURCE no oom_score_adj below the current one can be set: containers then get the lowest possible.
  restrict_oom_score_adj = {restrict_oom_score_adj}
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  max_container_log_line_size = 16384
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  # Network namespaces of several roots on one machine stay apart.
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {cni_bin_dir}
    conf_dir = {cni_conf_dir}
    max_conf_num = 1

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
{runtime}

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {registry_dir}
"#,
        root = quote_path(&config.root),
        state = quote_path(&config.state),
        socket = quote_path(&config.socket),
        disabled = disabled.join(", "),
        sandbox_image = quote(&config.sandbox_image),
        restrict_oom_score_adj = !facts.has_sys_resource,
        cni_bin_dir = quote_path(cni_bin_dir),
        cni_conf_dir = quote_path(&config.cni_conf_dir),
        registry_dir = quote_path(&config.registry_dir),
    )
}

fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn rendered(change: impl FnOnce(&mut ContainerdConfig), has_sys_resource: bool) -> String {
        let mut config = ContainerdConfig::of_root(Path::new("/tmp/r"));
        change(&mut config);
        render(
            &config,
            Path::new("/usr/lib/cni"),
            None,
            Facts { has_sys_resource },
        )
    }

    #[test]
    fn shim_of_ours_takes_the_place_of_runcs() {
        let config = ContainerdConfig::of_root(Path::new("/tmp/r"));
        let rendered = |shim| {
            let facts = Facts {
                has_sys_resource: true,
            };
            render(&config, Path::new("/usr/lib/cni"), shim, facts)
        };
        let ours = rendered(Some(Path::new("/opt/shim")));
        assert!(
            ours.contains("runtimes.runc]\n      runtime_type = \"/opt/shim\"\n"),
            "{ours}"
        );
        assert!(!ours.contains("SystemdCgroup"));
        assert!(rendered(None).contains("runtime_type = \"io.containerd.runc.v2\""));
    }

    #[test]
    fn missing_cap_sys_resource_restricts_oom_scores() {
        let without = rendered(|_| {}, false);
        assert!(without.contains("restrict_oom_score_adj = true"));
        assert!(without.contains("\noom_score = 0\n"));
        let with = rendered(|_| {}, true);
        assert!(with.contains("restrict_oom_score_adj = false"));
        assert!(with.contains("\noom_score = -999\n"));
    }

    #[test]
    fn cgroup_driver_reaches_runc() {
        assert!(rendered(|_| {}, true).contains("SystemdCgroup = false"));
        let systemd = rendered(|config| config.cgroup_driver = CgroupDriver::Systemd, true);
        assert!(systemd.contains("SystemdCgroup = true"));
    }

    #[test]
    fn paths_are_quoted() {
        let odd = rendered(|config| config.root = PathBuf::from("/tmp/a \"b\"\\c"), true);
        assert!(odd.contains(r#"root = "/tmp/a \"b\"\\c""#), "{odd}");
        assert_eq!(quote("a\nb"), "\"a\\u000Ab\"");
    }

    #[test]
    fn sandbox_image_is_ours_and_paths_are_the_roots() {
        let text = rendered(|_| {}, true);
        assert!(text.contains(&format!("sandbox_image = \"{}\"", crate::pause::IMAGE)));
        assert!(text.contains(r#"address = "/tmp/r/run/orlop/containerd.sock""#));
        assert!(text.contains(r#"conf_dir = "/tmp/r/etc/cni/net.d""#));
    }
}
