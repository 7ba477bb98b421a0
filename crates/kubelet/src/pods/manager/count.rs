//! Counts what the node works on, as `/metrics` shows it.
use super::{Manager, Stage, Wanted};
use crate::metrics::Working;
use crate::sources::Source;
use std::collections::HashMap;

impl Manager {
    /// Counts what the node works on, as `/metrics` shows it.
    pub(super) fn show_work(&self) {
        let count = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        let metrics = &self.agent.metrics;
        for is_static in [true, false] {
            let active = self.wanted.values().filter(|wanted| {
                (wanted.source != Source::Api) == is_static
                    && !matches!(wanted.stage, Stage::Over | Stage::Rejected)
            });
            metrics
                .active_pods
                .get_or_create(&is_static.into())
                .set(count(active.count()));
        }
        for (labels, number) in self.work() {
            metrics.working_pods.get_or_create(&labels).set(count(number));
        }
    }

    /// How many pods are in which state; every series is there, so that none goes stale.
    pub(super) fn work(&self) -> HashMap<Working, usize> {
        let mut counts = HashMap::new();
        for lifecycle in ["sync", "terminating", "terminated"] {
            for (config, statics) in [
                ("desired", &["true", ""][..]),
                ("orphan", &["true", ""]),
                ("runtime_only", &["unknown"]),
            ] {
                for is_static in statics {
                    let labels = Working {
                        lifecycle,
                        config,
                        r#static: is_static,
                    };
                    counts.insert(labels, 0);
                }
            }
        }
        let mut count = |lifecycle, config, r#static| {
            let labels = Working {
                lifecycle,
                config,
                r#static,
            };
            *counts.entry(labels).or_default() += 1;
        };
        for (id, working) in &self.workers {
            let lifecycle = if working.mailbox.stopping().is_cancelled() {
                "terminating"
            } else {
                "sync"
            };
            let config = if self.wanted.contains_key(id) {
                "desired"
            } else {
                "orphan"
            };
            count(lifecycle, config, if working.is_static { "true" } else { "" });
        }
        let over = |wanted: &&Wanted| matches!(wanted.stage, Stage::Over | Stage::Rejected);
        for wanted in self.wanted.values().filter(over) {
            let is_static = if wanted.source == Source::Api { "" } else { "true" };
            count("terminated", "desired", is_static);
        }
        for _ in &self.orphans {
            count("terminating", "runtime_only", "unknown");
        }
        counts
    }
}
