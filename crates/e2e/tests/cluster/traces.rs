//! What a member leaves on its machine: files, processes, mounts, cgroups, interfaces, routes, packet filters.
use crate::printed;
use orlop_e2e::Cluster;
use std::collections::BTreeSet;
use std::process::Stdio;

/// Prints a line for each. What the runtime keeps, images above all, is in nobody's way and is left out; so are the chains
/// that the plugin for host ports shares with all who use it, and leaves empty.
const SCRIPT: &str = r#"
find /etc/kubernetes /etc/cni /var /root -not -path '*containerd*' | sed 's/^/file /'
for process in /proc/[0-9]*; do
  # Who has ended, and waits for its parent, has no command line any more.
  if [ -n "$(tr -d '\0' 2>/dev/null <"$process/cmdline")" ]; then echo "process $(cat "$process/comm")"; fi
done
cut -d ' ' -f 2 /proc/mounts | sed 's/^/mount /'
root=$(sed -n 's/^cgroupRoot: //p' /var/lib/kubelet/instance-config.yaml)
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
  if [ -d "$hierarchy$root" ]; then find "$hierarchy$root" -mindepth 1 -type d | sed 's/^/cgroup /'; fi
done
ip -o link | cut -d ' ' -f 2 | cut -d @ -f 1 | sed 's/^/interface /'
ip route | sed 's/^/route /'
iptables-save 2>/dev/null | grep -e '^-A' -e '^:CNI' -e '^:KUBE' -e '^:ORLOP' | grep -v CNI-HOSTPORT | sed 's/ \[.*//; s/^/filter /'
"#;

/// All there is.
pub fn of(cluster: &Cluster, machine: &str) -> BTreeSet<String> {
    let mut command = cluster.lab.command(machine, "sh").unwrap();
    let output = command
        .args(["-c", SCRIPT])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let all = printed(&output);
    assert!(all.contains("interface eth0"), "{all}");
    all.lines().map(str::to_owned).collect()
}

/// The machine is as it was.
pub fn assert_none(cluster: &Cluster, machine: &str, before: &BTreeSet<String>, what: &str) {
    let now = of(cluster, machine);
    let came: Vec<&String> = now.difference(before).collect();
    let went: Vec<&String> = before.difference(&now).collect();
    assert!(
        came.is_empty() && went.is_empty(),
        "{what} on {machine} left {came:#?} and took {went:#?}"
    );
}
