//! Measurements in Prometheus' form: what the metrics API needs ([`resource`]), and what dashboards do ([`cadvisor`]).
pub mod cadvisor;
pub mod resource;

use crate::stats::Measured;
use orlop_metrics::text::{Kind, Sample, Text};

/// A family of numbers, and where a measurement has them.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&Measured) -> Option<f64>,
}

/// Something measured, and how its samples are labelled.
type Labelled<'a> = (Vec<(&'a str, &'a str)>, &'a Measured);

impl Family {
    /// Writes the family for everything that has it.
    fn write(&self, text: &mut Text, all: &[Labelled<'_>]) {
        let samples = all.iter().filter_map(|(labels, measured)| {
            Some(Sample {
                labels: labels.clone(),
                value: (self.value)(measured)?,
                at: Some(measured.at.as_millisecond()),
            })
        });
        text.family(self.name, self.help, self.kind, samples);
    }
}
