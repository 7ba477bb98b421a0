//! How long setting volumes up and taking them down took.
use super::Durations;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper ends of the classes, in seconds: what is mounted may hang.
const CLASSES: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    operation_name: &'static str,
    volume_plugin: String,
    status: &'static str,
    migrated: &'static str,
}

/// The series; a clone is another handle.
#[derive(Clone)]
pub struct Storage(Durations<Of>);

impl Default for Storage {
    fn default() -> Self {
        let classes: fn() -> Histogram = || Histogram::new(CLASSES.iter().copied());
        Self(Family::new_with_constructor(classes))
    }
}

impl Storage {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "storage_operation_duration_seconds",
            "Time of setting volumes up and taking them down",
            self.0.clone(),
        );
    }

    /// A volume was set up, or could not be.
    pub fn mounted(&self, plugin: &str, is_well: bool, lasted: Duration) {
        self.observe("volume_mount", plugin, is_well, lasted);
    }

    /// A volume was taken down, or could not be. A pod's volumes go together: each took as long as all.
    pub fn unmounted(&self, plugin: &str, is_well: bool, lasted: Duration) {
        self.observe("volume_unmount", plugin, is_well, lasted);
    }

    fn observe(&self, operation_name: &'static str, plugin: &str, is_well: bool, lasted: Duration) {
        let of = Of {
            operation_name,
            volume_plugin: plugin.to_owned(),
            status: if is_well { "success" } else { "fail-unknown" },
            migrated: "false",
        };
        self.0.get_or_create(&of).observe(lasted.as_secs_f64());
    }
}
