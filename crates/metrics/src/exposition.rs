//! Prometheus' text format 0.0.4 of a registry, which every reader of metrics understands.
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::fmt;

/// All series of a registry, with [`super::text::CONTENT_TYPE`].
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut open = String::new();
    encode(&mut open, registry)?;
    Ok(from_open_metrics(&open))
}

/// OpenMetrics names a counter without its `_total`, which 0.0.4 has in the name; it writes `1.0` where upstream's
/// readers look for `1`, and has lines that 0.0.4 doesn't know.
fn from_open_metrics(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let total = if kind == "counter" { "_total" } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            if let Some(help) = help.strip_prefix(name) {
                text.push_str(&format!(
                    "# HELP {name}{total}{}\n",
                    help.strip_suffix('.').unwrap_or(help)
                ));
            }
            text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            push_sample(&mut text, line);
        }
    }
    text
}

/// Whole limits of histograms without `.0`.
fn push_sample(text: &mut String, line: &str) {
    match line.split_once("le=\"") {
        Some((before, after)) if before.contains("_bucket{") => {
            let (limit, rest) = after.split_once('"').unwrap_or((after, ""));
            let limit = limit.strip_suffix(".0").unwrap_or(limit);
            text.push_str(&format!("{before}le=\"{limit}\"{rest}\n"));
        }
        _ => {
            text.push_str(line);
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::histogram::Histogram;

    #[test]
    fn counters_and_histograms_are_written_as_readers_of_0_0_4_expect() {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        counter.inc();
        let histogram = Histogram::new([0.5, 1.0]);
        histogram.observe(0.7);
        registry.register("requests", "Requests", counter);
        registry.register("seconds", "Time", histogram);
        assert_eq!(
            render(&registry).unwrap(),
            "# HELP requests_total Requests\n# TYPE requests_total counter\nrequests_total 1\n\
             # HELP seconds Time\n# TYPE seconds histogram\nseconds_sum 0.7\nseconds_count 1\n\
             seconds_bucket{le=\"0.5\"} 0\nseconds_bucket{le=\"1\"} 1\nseconds_bucket{le=\"+Inf\"} 1\n"
        );
    }
}
