//! What of the machine pods may use, and what the programs beside them.
use super::machine::{Machine, Measures, memory_capacity};
use super::status;
use crate::cgroups::Share;
use crate::config::KubeletConfiguration;
use crate::stats::machine::processes_max;
use orlop_api::quantity::{Amount, parse};
use std::collections::BTreeMap;
use std::path::Path;

/// What pods may use together: the machine less what is reserved. Hard eviction thresholds are not taken off: eviction
/// must come before the kernel's own choice of whom to kill.
pub fn share_of_pods(configuration: &KubeletConfiguration) -> Share {
    let reserved = status::reserved(configuration);
    let taken = |name: &str| reserved.get(name).copied().unwrap_or(Amount::ZERO);
    let cores = Machine::read().cores;
    let processes = processes_max().and_then(|all| i64::try_from(all).ok());
    Share {
        milli_cpu: Some((cores * 1000 - taken("cpu").milli_value()).max(0)),
        memory: Some((memory_capacity() - taken("memory").value()).max(0)),
        processes: processes.map(|all| (all - taken("pid").value()).max(0)),
    }
}

/// Cgroups of the system's and of the cluster's own programs that are to be limited to what is reserved for them, with
/// what they are called.
pub fn shares_of_others(configuration: &KubeletConfiguration) -> Vec<(&'static str, &str, Share)> {
    let enforced = |what: &str| {
        let mut all = configuration.enforce_node_allocatable.iter();
        all.any(|name| name == what)
    };
    let others = [
        (
            "system",
            &configuration.system_reserved_cgroup,
            &configuration.system_reserved,
        ),
        (
            "kube",
            &configuration.kube_reserved_cgroup,
            &configuration.kube_reserved,
        ),
    ];
    let shares = others.into_iter().filter_map(|(whose, cgroup, reserved)| {
        let all = enforced(&format!("{whose}-reserved"));
        if !all && !enforced(&format!("{whose}-reserved-compressible")) {
            return None;
        }
        let given = |name: &str| reserved.get(name).and_then(|text| parse(text).ok());
        let share = Share {
            milli_cpu: given("cpu").map(Amount::milli_value),
            memory: given("memory").filter(|_| all).map(Amount::value),
            processes: given("pid").filter(|_| all).map(Amount::value),
        };
        Some((whose, cgroup.as_str(), share))
    });
    shares.collect()
}

/// What of the machine is not the pods'; the disk's is that of `root`.
pub fn kept_back(configuration: &KubeletConfiguration, root: &Path) -> BTreeMap<String, Amount> {
    status::kept_back(configuration, &Measures::take(root), &Machine::read())
}
