//! Prometheus' text format 0.0.4. Numbers that were measured before they are asked for carry the time they were true.
use std::fmt::Write;

/// The format's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Names and values; empty ones are written too, as cAdvisor does.
    pub labels: Vec<(&'a str, &'a str)>,
    /// The number.
    pub value: f64,
    /// Milliseconds since 1970; `None`: now.
    pub at: Option<i64>,
}

impl<'a> Sample<'a> {
    /// A number that is true now.
    pub fn now(labels: Vec<(&'a str, &'a str)>, value: f64) -> Self {
        Self {
            labels,
            value,
            at: None,
        }
    }
}

/// A text in the making.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Adds a family; one without samples is left out, as nothing is known of it.
    pub fn family<'a>(
        &mut self,
        name: &str,
        help: &str,
        kind: Kind,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            self.head(name, help, kind);
        }
        for sample in samples {
            self.sample(name, &sample);
        }
    }

    /// Adds a family that is one histogram. `buckets`: limits, which grow, and how many are within each; `count` and
    /// `sum` are of all, those beyond the last limit included.
    pub fn histogram(&mut self, name: &str, help: &str, buckets: &[(f64, u64)], count: u64, sum: f64) {
        self.head(name, help, "histogram");
        let infinite = ("+Inf".to_owned(), count);
        let limited = buckets.iter().map(|(limit, count)| (limit.to_string(), *count));
        for (limit, count) in limited.chain([infinite]) {
            let labels = vec![("le", limit.as_str())];
            self.sample(&format!("{name}_bucket"), &Sample::now(labels, count as f64));
        }
        self.sample(&format!("{name}_sum"), &Sample::now(Vec::new(), sum));
        self.sample(&format!("{name}_count"), &Sample::now(Vec::new(), count as f64));
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, sample: &Sample<'_>) {
        self.0.push_str(name);
        self.labels(&sample.labels);
        let _ = write!(self.0, " {}", sample.value);
        if let Some(at) = sample.at {
            let _ = write!(self.0, " {at}");
        }
        self.0.push('\n');
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        let mut opening = '{';
        for (name, value) in labels {
            let _ = write!(self.0, "{opening}{name}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    plain => self.0.push(plain),
                }
            }
            self.0.push('"');
            opening = ',';
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_carry_labels_and_times_and_hostile_values_are_escaped() {
        let mut text = Text::default();
        let sample = |labels, value, at| Sample { labels, value, at };
        text.family(
            "a_total",
            "A.",
            Kind::Counter,
            [
                sample(vec![("x", "say \"hi\"\\\n"), ("y", "")], 1.5, Some(1700)),
                sample(vec![], 3e9, None),
            ],
        );
        text.family("b", "B.", Kind::Gauge, []);
        assert_eq!(
            text.finish(),
            "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"say \\\"hi\\\"\\\\\\n\",y=\"\"} 1.5 1700\n\
             a_total 3000000000\n"
        );
    }

    #[test]
    fn a_histogram_ends_with_all_that_there_are() {
        let mut text = Text::default();
        text.histogram("a_seconds", "A.", &[(0.001, 2), (8.192, 5)], 6, 12.5);
        assert_eq!(
            text.finish(),
            "# HELP a_seconds A.\n# TYPE a_seconds histogram\na_seconds_bucket{le=\"0.001\"} 2\n\
             a_seconds_bucket{le=\"8.192\"} 5\na_seconds_bucket{le=\"+Inf\"} 6\na_seconds_sum 12.5\na_seconds_count 6\n"
        );
    }
}
