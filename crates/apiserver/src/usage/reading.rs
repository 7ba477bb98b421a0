//! What an agent's `/metrics/resource` says at a moment, and what two of them say about the time between.
use std::collections::BTreeMap;

/// Consumption at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counter {
    /// Processor time since the beginning.
    pub seconds: f64,
    /// Memory in use that cannot be had back without effort.
    pub bytes: f64,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// Namespace, pod and container.
pub type ContainerKey = (String, String, String);

/// All that an agent said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub node: Counter,
    pub containers: BTreeMap<ContainerKey, Counter>,
}

/// Consumption over a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    pub nanocores: u64,
    pub bytes: u64,
    /// Milliseconds since 1970, and how many before that it began.
    pub at: i64,
    pub window: i64,
}

impl Reading {
    /// Reads Prometheus' text. Samples without a time were true at `now` (milliseconds since 1970).
    pub fn parse(text: &str, now: i64) -> Self {
        let mut reading = Self::default();
        for sample in text.lines().filter_map(|line| Sample::parse(line, now)) {
            let counter = match sample.name.strip_prefix("container_") {
                Some(_) => reading.containers.entry(sample.container()).or_default(),
                None => &mut reading.node,
            };
            match sample.name {
                "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => {
                    counter.seconds = sample.value;
                    counter.at = sample.at;
                }
                "node_memory_working_set_bytes" | "container_memory_working_set_bytes" => {
                    counter.bytes = sample.value;
                }
                _ => {}
            }
        }
        reading.containers.retain(|_, counter| counter.at > 0);
        reading
    }
}

impl Counter {
    /// What was used since an earlier moment; `None` if it isn't one, or if counting began anew.
    pub fn since(&self, earlier: &Self) -> Option<Used> {
        // Agents may say what they like.
        let window = self.at.checked_sub(earlier.at)?;
        let seconds = self.seconds - earlier.seconds;
        if window <= 0 || earlier.at <= 0 || seconds < 0.0 {
            return None;
        }
        Some(Used {
            nanocores: (seconds / (window as f64 / 1e3) * 1e9).round() as u64,
            bytes: self.bytes.max(0.0) as u64,
            at: self.at,
            window,
        })
    }
}

struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, String)>,
    value: f64,
    at: i64,
}

impl<'t> Sample<'t> {
    fn parse(line: &'t str, now: i64) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = read_labels(inside, &mut labels)?;
        }
        let mut numbers = rest.split_whitespace();
        Some(Self {
            name,
            labels,
            value: numbers.next()?.parse().ok()?,
            at: numbers.next().and_then(|at| at.parse().ok()).unwrap_or(now),
        })
    }

    fn container(&self) -> ContainerKey {
        let label = |name: &str| {
            let found = self.labels.iter().find(|(label, _)| *label == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        (label("namespace"), label("pod"), label("container"))
    }
}

/// Reads `name="value",…}` and answers what follows.
fn read_labels<'t>(mut text: &'t str, labels: &mut Vec<(&'t str, String)>) -> Option<&'t str> {
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some(rest);
        }
        let (name, after) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name, value));
        text = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP node_cpu_usage_seconds_total x\n# TYPE node_cpu_usage_seconds_total counter\n\
        node_cpu_usage_seconds_total 100.5 1000000\nnode_memory_working_set_bytes 1.048576e+06 1000000\n\
        container_cpu_usage_seconds_total{container=\"c\",namespace=\"d\",pod=\"p\"} 2 1000500\n\
        container_memory_working_set_bytes{container=\"c\",namespace=\"d\",pod=\"p\"} 4096 1000500\n\
        container_start_time_seconds{container=\"x\",namespace=\"d\",pod=\"p\"} 1\n\
        pod_cpu_usage_seconds_total{namespace=\"d\",pod=\"p\"} 2 1000500\nscrape_error 0\n";

    #[test]
    fn two_readings_tell_what_was_used_between_them() {
        let earlier = Reading::parse(TEXT, 5);
        let later = TEXT
            .replace("100.5 1000000", "101.5 1002000")
            .replace("} 2 1000500", "} 3 1010500");
        let later = Reading::parse(&later, 5);
        let node = later.node.since(&earlier.node).unwrap();
        assert_eq!(
            (node.nanocores, node.bytes, node.window),
            (500_000_000, 1 << 20, 2000)
        );
        assert_eq!(later.containers.len(), 1);
        let key = ("d".to_owned(), "p".to_owned(), "c".to_owned());
        let used = later.containers[&key].since(&earlier.containers[&key]).unwrap();
        assert_eq!(
            (used.nanocores, used.bytes, used.window),
            (100_000_000, 4096, 10_000)
        );
        // A container that began anew, and the same moment twice, say nothing.
        assert_eq!(earlier.containers[&key].since(&later.containers[&key]), None);
        assert_eq!(earlier.node.since(&earlier.node), None);
    }

    #[test]
    fn hostile_labels_and_lines_are_no_harm() {
        let reading = Reading::parse(
            "container_cpu_usage_seconds_total{pod=\"a\\\"}\",container=\"c\"} 1\nx{\n{}\n y\n",
            7,
        );
        let key = (String::new(), "a\"}".to_owned(), "c".to_owned());
        assert_eq!(reading.containers[&key].at, 7);
        let at = |at: i64| Counter {
            at,
            ..Counter::default()
        };
        assert_eq!(at(i64::MAX).since(&at(i64::MIN)), None);
        assert_eq!(at(i64::MIN).since(&at(i64::MAX)), None);
    }
}
