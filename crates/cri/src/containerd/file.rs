//! The configuration file, made of what the caller decides, what the machine allows and which containerd is installed.

use super::version::Version;
use super::{CgroupDriver, ContainerdConfig, Facts};
use std::path::Path;

/// Plugins of containerd that nothing here uses: snapshotters for other file systems, its own restarting, and tracing.
/// (Its CRI half does not start without the v1 runtime, of all things.) Without them it starts sooner and is smaller, and doesn't warn about kernels that lack them. Names it doesn't
/// know are passed over by every version.
const DISABLED_PLUGINS: [&str; 13] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.differ.v1.erofs",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.nri.v1.nri",
];
/// containerd goes last when memory is short, as its own service file has it; only the node agent is as dear.
const OOM_SCORE: i32 = -999;
/// The type of runtimes that are called as runc is.
const RUNC: &str = "io.containerd.runc.v2";

/// What a file is made of.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) config: &'a ContainerdConfig,
    pub(super) cni_bin_dir: &'a Path,
    /// Ours, if it is to stand before pods.
    pub(super) shim: Option<&'a Path>,
    pub(super) facts: Facts,
    pub(super) version: Version,
}

/// The file's text, in the newest form that this containerd reads.
pub(super) fn render(sources: Sources<'_>) -> String {
    let Sources { config, facts, .. } = sources;
    let has_halves = sources.version >= Version::WITH_HALVES;
    let disabled: Vec<String> = DISABLED_PLUGINS.iter().map(|name| quote(name)).collect();
    format!(
        r#"# Written by orlop at each start; changes are lost.
version = {form}
root = {root}
state = {state}
oom_score = {oom_score}
disabled_plugins = [{disabled}]

[grpc]
  address = {socket}

[debug]
  level = "info"
{cri}"#,
        form = if has_halves { 3 } else { 2 },
        root = quote_path(&config.root),
        state = quote_path(&config.state),
        oom_score = if facts.has_sys_resource { OOM_SCORE } else { 0 },
        disabled = disabled.join(", "),
        socket = quote_path(&config.socket),
        cri = if has_halves {
            halves(sources)
        } else {
            whole(sources)
        },
    )
}

/// The least version that a text of [`render`] may have been made for.
pub(super) fn made_for(text: &str) -> Version {
    match (
        text.contains("\nversion = 3\n"),
        text.contains("\n    bin_dirs = ["),
    ) {
        (false, _) => Version::default(),
        (true, false) => Version::WITH_HALVES,
        (true, true) => Version::WITH_BIN_DIRS,
    }
}

/// Servers of streams listen on the loopback device alone.
const STREAMS: &str = r#"  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0""#;

/// What both forms say of containers, below different names.
fn containers(facts: Facts) -> String {
    format!(
        r#"  # Without CAP_SYS_RESOURCE no oom_score_adj below the current one can be set: containers then get the lowest possible.
  restrict_oom_score_adj = {restrict_oom_score_adj}
  max_container_log_line_size = 16384
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  # Network namespaces of several roots on one machine stay apart.
  netns_mounts_under_state_dir = true"#,
        restrict_oom_score_adj = !facts.has_sys_resource,
    )
}

/// CRI in configurations of version 2, for 1.x.
///
/// A shim of ours is named by its path: containerd 1.6 reads `runtime_path` but doesn't follow it. It sees from a
/// container's cgroup path who makes cgroups; options in this place would be of another type.
fn whole(sources: Sources<'_>) -> String {
    let Sources { config, shim, .. } = sources;
    let runtime = match shim {
        Some(path) => format!("      runtime_type = {}", quote_path(path)),
        None => format!(
            r#"      runtime_type = "{RUNC}"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = {}"#,
            config.cgroup_driver == CgroupDriver::Systemd
        ),
    };
    format!(
        r#"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {sandbox_image}
{STREAMS}
{containers}

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
        sandbox_image = quote(&config.sandbox_image),
        containers = containers(sources.facts),
        cni_bin_dir = quote_path(sources.cni_bin_dir),
        cni_conf_dir = quote_path(&config.cni_conf_dir),
        registry_dir = quote_path(&config.registry_dir),
    )
}

/// CRI in configurations of version 3, for 2.x.
///
/// A shim of ours is named by its path beside the type that it has in common with runc's: containerd asks runtimes of this
/// type alone what they can do, and without an answer there are no user namespaces and no recursive read-only mounts.
fn halves(sources: Sources<'_>) -> String {
    let Sources { config, shim, .. } = sources;
    let path = shim.map_or_else(String::new, |path| {
        format!(
            "
      runtime_path = {}",
            quote_path(path)
        )
    });
    let bin_dir = quote_path(sources.cni_bin_dir);
    let bin_dirs = if sources.version >= Version::WITH_BIN_DIRS {
        format!("bin_dirs = [{bin_dir}]")
    } else {
        format!("bin_dir = {bin_dir}")
    };
    format!(
        r#"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"

  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = {sandbox_image}

  [plugins."io.containerd.cri.v1.images".registry]
    config_path = {registry_dir}

[plugins."io.containerd.cri.v1.runtime"]
{containers}

  [plugins."io.containerd.cri.v1.runtime".cni]
    {bin_dirs}
    conf_dir = {cni_conf_dir}
    max_conf_num = 1

  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"

    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "{RUNC}"{path}

      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = {has_systemd_cgroups}

[plugins."io.containerd.grpc.v1.cri"]
{STREAMS}
"#,
        sandbox_image = quote(&config.sandbox_image),
        registry_dir = quote_path(&config.registry_dir),
        containers = containers(sources.facts),
        cni_conf_dir = quote_path(&config.cni_conf_dir),
        has_systemd_cgroups = config.cgroup_driver == CgroupDriver::Systemd,
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

    const OLD: Version = Version { major: 1, minor: 6 };
    const NEW: Version = Version::WITH_BIN_DIRS;

    fn rendered_for(
        version: Version,
        change: impl FnOnce(&mut ContainerdConfig),
        has_sys_resource: bool,
    ) -> String {
        let mut config = ContainerdConfig::of_root(Path::new("/tmp/r"));
        change(&mut config);
        render(Sources {
            config: &config,
            cni_bin_dir: Path::new("/usr/lib/cni"),
            shim: None,
            facts: Facts { has_sys_resource },
            version,
        })
    }

    fn rendered(change: impl FnOnce(&mut ContainerdConfig), has_sys_resource: bool) -> String {
        rendered_for(OLD, change, has_sys_resource)
    }

    fn with_shim(version: Version, shim: Option<&Path>) -> String {
        render(Sources {
            config: &ContainerdConfig::of_root(Path::new("/tmp/r")),
            cni_bin_dir: Path::new("/usr/lib/cni"),
            shim,
            facts: Facts {
                has_sys_resource: true,
            },
            version,
        })
    }

    #[test]
    fn shim_of_ours_takes_the_place_of_runcs() {
        let ours = with_shim(OLD, Some(Path::new("/opt/shim")));
        assert!(
            ours.contains("runtimes.runc]\n      runtime_type = \"/opt/shim\"\n"),
            "{ours}"
        );
        assert!(!ours.contains("SystemdCgroup"));
        assert!(with_shim(OLD, None).contains("runtime_type = \"io.containerd.runc.v2\""));
    }

    #[test]
    fn newer_containerds_ask_a_shim_of_ours_as_they_ask_runcs() {
        let kind = "runtimes.runc]\n      runtime_type = \"io.containerd.runc.v2\"\n";
        let ours = with_shim(NEW, Some(Path::new("/opt/shim")));
        assert!(
            ours.contains(&format!("{kind}      runtime_path = \"/opt/shim\"\n")),
            "{ours}"
        );
        let theirs = with_shim(NEW, None);
        assert!(
            theirs.contains(kind) && !theirs.contains("runtime_path"),
            "{theirs}"
        );
    }

    #[test]
    fn each_version_gets_the_newest_form_that_it_reads() {
        for (version, form, bin_dir) in [
            (Version::default(), 2, "bin_dir = \"/usr/lib/cni\""),
            (OLD, 2, "bin_dir = \"/usr/lib/cni\""),
            (Version::WITH_HALVES, 3, "bin_dir = \"/usr/lib/cni\""),
            (NEW, 3, "bin_dirs = [\"/usr/lib/cni\"]"),
        ] {
            let text = rendered_for(version, |_| {}, true);
            assert!(text.contains(&format!("\nversion = {form}\n")), "{text}");
            assert!(text.contains(&format!("    {bin_dir}\n")), "{text}");
            assert_eq!(
                text.contains("io.containerd.grpc.v1.cri\".cni"),
                form == 2,
                "{text}"
            );
        }
    }

    #[test]
    fn version_that_a_text_was_made_for_makes_the_same_text() {
        for version in [OLD, Version::WITH_HALVES, NEW, Version { major: 3, minor: 0 }] {
            let text = rendered_for(version, |_| {}, true);
            assert_eq!(rendered_for(made_for(&text), |_| {}, true), text, "{version:?}");
        }
        assert_eq!(made_for(""), Version::default());
    }

    #[test]
    fn missing_cap_sys_resource_restricts_oom_scores() {
        for version in [OLD, NEW] {
            let without = rendered_for(version, |_| {}, false);
            assert!(without.contains("restrict_oom_score_adj = true"));
            assert!(without.contains("\noom_score = 0\n"));
            let with = rendered_for(version, |_| {}, true);
            assert!(with.contains("restrict_oom_score_adj = false"));
            assert!(with.contains("\noom_score = -999\n"));
        }
    }

    #[test]
    fn cgroup_driver_reaches_runc() {
        for version in [OLD, NEW] {
            assert!(rendered_for(version, |_| {}, true).contains("SystemdCgroup = false"));
            let change = |config: &mut ContainerdConfig| config.cgroup_driver = CgroupDriver::Systemd;
            assert!(rendered_for(version, change, true).contains("SystemdCgroup = true"));
        }
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
        let newer = rendered_for(NEW, |_| {}, true);
        assert!(newer.contains(&format!("sandbox = \"{}\"", crate::pause::IMAGE)));
        assert!(text.contains(r#"address = "/tmp/r/run/orlop/containerd.sock""#));
        assert!(text.contains(r#"conf_dir = "/tmp/r/etc/cni/net.d""#));
    }
}
