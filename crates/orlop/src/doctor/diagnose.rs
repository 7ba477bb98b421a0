//! What is in the way of a node on a machine, and how to mend it. Pure.
use super::Facts;
use serde::Serialize;

/// Room below which evictions begin with the usual thresholds, in percent.
const ROOM_MIN: u64 = 15;
const INODES_MIN: u64 = 5;
/// The oldest kernel that the runtime's features are tried on.
const KERNEL_MIN: (u32, u32) = (4, 19);

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Good,
    /// A node runs, and something of it does not.
    Poor,
    /// No node runs like this.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub what: &'static str,
    pub health: Health,
    pub text: String,
    /// What to do; empty where nothing is.
    pub mend: String,
}

fn good(what: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        what,
        health: Health::Good,
        text: text.into(),
        mend: String::new(),
    }
}

fn finding(what: &'static str, health: Health, text: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding {
        what,
        health,
        text: text.into(),
        mend: mend.into(),
    }
}

/// A line for each thing, the same ones each time.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut all = vec![
        user(facts),
        kernel(facts),
        cgroups(facts),
        swap(facts),
        oom(facts),
        runtime(facts),
        network(facts),
        ports(facts),
        clock(facts),
    ];
    all.extend(disks(facts));
    all
}

fn user(facts: &Facts) -> Finding {
    match facts.is_root {
        true => good("user", "root"),
        false => finding(
            "user",
            Health::Bad,
            "not root",
            "run it as root: sudo orlop doctor",
        ),
    }
}

fn kernel(facts: &Facts) -> Finding {
    let mut numbers = facts
        .kernel
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN {
        let (major, minor) = KERNEL_MIN;
        let mend = format!("upgrade to Linux {major}.{minor} or later");
        return finding("kernel", Health::Poor, format!("Linux {}", facts.kernel), mend);
    }
    if !facts.has_overlay {
        return finding(
            "kernel",
            Health::Bad,
            format!("Linux {} without overlay file systems", facts.kernel),
            "load the module: modprobe overlay; echo overlay > /etc/modules-load.d/overlay.conf",
        );
    }
    good("kernel", format!("Linux {}", facts.kernel))
}

fn cgroups(facts: &Facts) -> Finding {
    let Some(unified) = facts.unified else {
        return finding(
            "cgroups",
            Health::Bad,
            "none at /sys/fs/cgroup",
            "mount them: mount -t cgroup2 none /sys/fs/cgroup",
        );
    };
    let version = if unified { "v2" } else { "v1" };
    let needed = ["cpu", "memory", "pids"];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|name| !facts.controllers.contains(*name))
        .collect();
    if missing.is_empty() {
        return good("cgroups", version);
    }
    finding(
        "cgroups",
        Health::Poor,
        format!(
            "{version} without {}: limits are not enforced",
            missing.join(", ")
        ),
        "turn the controllers on, on the kernel's command line: cgroup_enable=memory",
    )
}

fn swap(facts: &Facts) -> Finding {
    match facts.swap_is_on {
        false => good("swap", "off"),
        true => finding(
            "swap",
            Health::Poor,
            "on",
            "turn it off (swapoff -a, and out of /etc/fstab), or set failSwapOn: false in the kubelet configuration",
        ),
    }
}

fn oom(facts: &Facts) -> Finding {
    match facts.may_lower_oom_score {
        true => good("oom", "important processes can be protected"),
        false => finding(
            "oom",
            Health::Poor,
            "important processes cannot be protected from the out-of-memory killer",
            "give the service CAP_SYS_RESOURCE",
        ),
    }
}

fn runtime(facts: &Facts) -> Finding {
    match &facts.runtime {
        Some((endpoint, Ok(version))) => good("runtime", format!("{version} at {endpoint}")),
        Some((endpoint, Err(error))) if !facts.missing_programs.is_empty() => finding(
            "runtime",
            Health::Bad,
            format!("{endpoint}: {error}"),
            format!("start it, or install {}", facts.missing_programs.join(" and ")),
        ),
        // One that orlop manages is started with the node.
        Some(_) | None if facts.missing_programs.is_empty() => {
            good("runtime", "containerd and runc are there")
        }
        _ => finding(
            "runtime",
            Health::Bad,
            format!("{} not found", facts.missing_programs.join(", ")),
            "install them: apt-get install containerd runc",
        ),
    }
}

fn network(facts: &Facts) -> Finding {
    if !facts.missing_plugins.is_empty() {
        return finding(
            "network",
            Health::Poor,
            format!(
                "network plugins missing: {}; only pods on the host's network run",
                facts.missing_plugins.join(", ")
            ),
            "install them: apt-get install containernetworking-plugins",
        );
    }
    match facts.forwards {
        true => good("network", "plugins are there, packets are forwarded"),
        false => finding(
            "network",
            Health::Poor,
            "packets are not forwarded: pods reach only this node",
            "sysctl -w net.ipv4.ip_forward=1, and the same in /etc/sysctl.d",
        ),
    }
}

fn ports(facts: &Facts) -> Finding {
    if facts.node_runs {
        return good("ports", "this node's own");
    }
    if facts.taken.is_empty() {
        return good("ports", "free");
    }
    let taken: Vec<String> = facts
        .taken
        .iter()
        .map(|(port, what)| format!("{port} ({what})"))
        .collect();
    finding(
        "ports",
        Health::Bad,
        format!("taken: {}", taken.join(", ")),
        "stop what has them (ss -tlnp), or choose others: --secure-port, port and healthzPort of the kubelet configuration",
    )
}

fn clock(facts: &Facts) -> Finding {
    match facts.clock_behind {
        0 => good("clock", "plausible"),
        seconds => finding(
            "clock",
            Health::Bad,
            format!("{seconds} s behind this program's own file: certificates will not be valid"),
            "set it: timedatectl set-ntp true",
        ),
    }
}

fn disks(facts: &Facts) -> impl Iterator<Item = Finding> {
    facts.room.iter().map(|(place, (bytes, inodes))| {
        let text = format!("{}: {bytes} % free, {inodes} % of inodes", place.display());
        if *bytes < ROOM_MIN || *inodes < INODES_MIN {
            let mend = "free some room: below the eviction thresholds pods are stopped";
            finding("disk", Health::Poor, text, mend)
        } else {
            good("disk", text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn healthy() -> Facts {
        Facts {
            is_root: true,
            kernel: "6.1.0-18-amd64".into(),
            has_overlay: true,
            unified: Some(true),
            controllers: ["cpu", "memory", "pids"].map(str::to_owned).into(),
            may_lower_oom_score: true,
            forwards: true,
            room: [(PathBuf::from("/var/lib"), (50, 90))].into(),
            ..Facts::default()
        }
    }

    fn ill(facts: &Facts) -> Vec<(&'static str, Health)> {
        let all = diagnose(facts).into_iter();
        all.filter(|finding| finding.health != Health::Good)
            .inspect(|finding| assert!(!finding.mend.is_empty(), "{finding:?}"))
            .map(|finding| (finding.what, finding.health))
            .collect()
    }

    #[test]
    fn healthy_machine_has_nothing_to_mend() {
        assert_eq!(ill(&healthy()), []);
        assert_eq!(diagnose(&healthy()).len(), 10);
    }

    type Harm = fn(&mut Facts);

    #[test]
    fn every_trouble_is_told_with_how_to_mend_it() {
        let cases: [(Harm, &str, Health); 12] = [
            (|f| f.is_root = false, "user", Health::Bad),
            (|f| f.kernel = "3.10.0-1160.el7".into(), "kernel", Health::Poor),
            (|f| f.has_overlay = false, "kernel", Health::Bad),
            (|f| f.unified = None, "cgroups", Health::Bad),
            (
                |f| f.controllers = ["cpu", "pids"].map(str::to_owned).into(),
                "cgroups",
                Health::Poor,
            ),
            (|f| f.swap_is_on = true, "swap", Health::Poor),
            (|f| f.may_lower_oom_score = false, "oom", Health::Poor),
            (|f| f.missing_programs = vec!["runc"], "runtime", Health::Bad),
            (|f| f.missing_plugins = vec!["bridge"], "network", Health::Poor),
            (|f| f.taken = vec![(6443, "the API server")], "ports", Health::Bad),
            (|f| f.clock_behind = 9, "clock", Health::Bad),
            (
                |f| f.room = [(PathBuf::from("/var/log"), (3, 90))].into(),
                "disk",
                Health::Poor,
            ),
        ];
        for (change, what, health) in cases {
            let mut facts = healthy();
            change(&mut facts);
            assert_eq!(ill(&facts), [(what, health)], "{what}");
        }
    }

    #[test]
    fn runtime_that_answers_needs_no_programs_here() {
        let mut facts = healthy();
        facts.missing_programs = vec!["containerd", "runc"];
        facts.runtime = Some(("unix:///x".into(), Ok("containerd 2.0".into())));
        assert_eq!(ill(&facts), []);
    }
}
