//! What every part tells about itself beside its process: its version, and how many tasks it runs.
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::fmt;

/// Adds `kubernetes_build_info`, by which dashboards compare versions. `git_version`: such as `v1.36.0`.
pub fn register_build(registry: &mut Registry, git_version: &str) {
    let release = git_version.trim_start_matches('v');
    let mut numbers = release.split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let labels = [
        ("major", major),
        ("minor", minor),
        ("git_version", git_version),
        ("git_commit", ""),
        ("git_tree_state", "clean"),
        ("build_date", ""),
        ("go_version", ""),
        ("compiler", "rustc"),
        ("platform", platform()),
    ];
    let family = Family::<Vec<(String, String)>, Gauge>::default();
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    family.get_or_create(&labels.to_vec()).set(1);
    registry.register("kubernetes_build_info", "The version of this program", family);
}

fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        _ => "linux/unknown",
    }
}

/// Adds the number of tasks, under the name that dashboards know: what Go's programs call goroutines.
pub fn register_tasks(registry: &mut Registry) {
    registry.register_collector(Box::new(Tasks));
}

#[derive(Debug)]
struct Tasks;

impl Collector for Tasks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Ok(());
        };
        let gauge = ConstGauge::new(runtime.metrics().num_alive_tasks() as i64);
        let metric =
            encoder.encode_descriptor("go_goroutines", "Tasks that run", None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
