//! Where pods' cgroups lie (contract, node agent §17.1). Pure.
use orlop_api::pod::QosClass;

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The agent and the runtime, as directories.
    Cgroupfs,
    /// systemd, as slices, when the runtime asks it to.
    Systemd,
}

/// Every class a pod can be in.
pub const CLASSES: [QosClass; 3] = [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort];

/// The cgroup of all pods of a class; guaranteed pods lie directly in that of all pods.
pub fn class_path(root: &str, driver: Driver, class: QosClass) -> String {
    let name = match class {
        QosClass::Guaranteed => None,
        QosClass::Burstable => Some("burstable"),
        QosClass::BestEffort => Some("besteffort"),
    };
    match (driver, name) {
        (Driver::Cgroupfs, None) => format!("{root}/kubepods"),
        (Driver::Cgroupfs, Some(name)) => format!("{root}/kubepods/{name}"),
        (Driver::Systemd, None) => format!("{root}/kubepods.slice"),
        (Driver::Systemd, Some(name)) => format!("{root}/kubepods.slice/kubepods-{name}.slice"),
    }
}

/// The cgroup of a pod as the runtime wants it named: a path, or a path of systemd slices.
pub fn pod_path(root: &str, driver: Driver, class: QosClass, uid: &str) -> String {
    let above = class_path(root, driver, class);
    match driver {
        Driver::Cgroupfs => format!("{above}/pod{uid}"),
        Driver::Systemd => {
            // A slice's name holds those above it, so a dash would be one more level.
            let slice = above
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .trim_end_matches(".slice");
            format!("{above}/{slice}-pod{}.slice", uid.replace('-', "_"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s07_paths_follow_class_and_driver() {
        use Driver::{Cgroupfs, Systemd};
        use QosClass::{BestEffort, Burstable, Guaranteed};
        for (root, driver, class, path) in [
            ("", Cgroupfs, Guaranteed, "/kubepods/poda-b"),
            ("", Cgroupfs, Burstable, "/kubepods/burstable/poda-b"),
            ("", Cgroupfs, BestEffort, "/kubepods/besteffort/poda-b"),
            ("/n1", Cgroupfs, Guaranteed, "/n1/kubepods/poda-b"),
            ("", Systemd, Guaranteed, "/kubepods.slice/kubepods-poda_b.slice"),
            (
                "",
                Systemd,
                Burstable,
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice",
            ),
            (
                "",
                Systemd,
                BestEffort,
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice",
            ),
        ] {
            assert_eq!(pod_path(root, driver, class, "a-b"), path);
        }
    }
}
