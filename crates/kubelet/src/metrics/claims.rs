//! `kubelet_volume_stats_*`: the file systems that claims lead to. One that several pods use is told of once.
use crate::stats::disk::{ClaimKey, FileSystem};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Claim {
    namespace: String,
    persistentvolumeclaim: String,
}

type Value = fn(&FileSystem) -> u64;

/// What follows `kubelet_volume_stats_`, what it is, and where it comes from.
const SERIES: [(&str, &str, Value); 6] = [
    ("capacity_bytes", "Bytes that the volume has", |fs| fs.capacity),
    ("available_bytes", "Bytes of the volume that are free", |fs| {
        fs.available
    }),
    ("used_bytes", "Bytes of the volume that are in use", |fs| fs.used),
    ("inodes", "Inodes that the volume has", |fs| fs.inodes),
    ("inodes_free", "Inodes of the volume that are free", |fs| {
        fs.inodes_free
    }),
    ("inodes_used", "Inodes of the volume that are in use", |fs| {
        fs.inodes.saturating_sub(fs.inodes_free)
    }),
];

/// A family for each of them.
#[derive(Default)]
pub struct Claims([Family<Claim, Gauge>; SERIES.len()]);

impl Claims {
    pub fn register(registry: &mut Registry) -> Self {
        let claims = Self::default();
        for ((name, help, _), family) in SERIES.iter().zip(&claims.0) {
            registry.register(format!("kubelet_volume_stats_{name}"), *help, family.clone());
        }
        claims
    }

    pub fn set(&self, claims: &BTreeMap<ClaimKey, FileSystem>) {
        for ((_, _, value), family) in SERIES.iter().zip(&self.0) {
            // Those that nobody uses any more go.
            family.clear();
            for (claim, file_system) in claims {
                let labels = Claim {
                    namespace: claim.namespace.clone(),
                    persistentvolumeclaim: claim.name.clone(),
                };
                let number = i64::try_from(value(file_system)).unwrap_or(i64::MAX);
                family.get_or_create(&labels).set(number);
            }
        }
    }
}
