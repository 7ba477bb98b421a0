//! Log lines as JSON, with the members that upstream's parts give theirs.
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::{self, Debug, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One object a line.
pub(super) enum Json {
    /// `ts` (milliseconds since 1970), `caller`, `msg`, `v` (not of errors), then what the line is about.
    Kubernetes,
    /// etcd's: `level`, `ts` (microseconds, as RFC 3339), `caller`, `msg`, then what the line is about.
    Etcd,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = match self {
            Self::Kubernetes => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                line(event, since.as_micros() as f64 / 1e3)
            }
            Self::Etcd => etcd_line(event, Timestamp::now()),
        };
        writeln!(writer, "{line}")
    }
}

/// The object of an event at `ts`.
fn line(event: &Event<'_>, ts: f64) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    let mut members = vec![
        ("ts", json!(ts)),
        ("caller", json!(caller(metadata.file(), metadata.line()))),
        ("msg", json!(fields.message)),
    ];
    members.extend(verbosity(*metadata.level()).map(|v| ("v", json!(v))));
    let named = |name| if name == "error" { "err" } else { name };
    members.extend(fields.rest.into_iter().map(|(name, value)| (named(name), value)));
    object(&members)
}

fn etcd_line(event: &Event<'_>, at: Timestamp) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    let level = match *metadata.level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    };
    let mut members = vec![
        ("level", json!(level)),
        ("ts", json!(at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())),
        ("caller", json!(caller(metadata.file(), metadata.line()))),
        ("msg", json!(fields.message)),
    ];
    members.extend(fields.rest);
    object(&members)
}

/// Members in their order.
fn object(members: &[(&str, Value)]) -> String {
    let mut text = String::from("{");
    for (number, (name, value)) in members.iter().enumerate() {
        let separator = if number == 0 { "" } else { "," };
        let _ = write!(text, "{separator}{}:{value}", json!(name));
    }
    text.push('}');
    text
}

/// The least `-v` that shows such a line; none for errors, which are always shown.
fn verbosity(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => None,
        Level::WARN => Some(0),
        Level::INFO => Some(1),
        Level::DEBUG => Some(4),
        Level::TRACE => Some(6),
    }
}

/// `directory/file.rs:line`.
fn caller(file: Option<&str>, line: Option<u32>) -> String {
    let file = file.unwrap_or_default();
    let start = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{}", &file[start..], line.unwrap_or(0))
}

/// What a line says, and of what.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.rest.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    /// Keeps the lines.
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let at = Timestamp::from_microsecond(1_670_000_000_123_500).unwrap();
            let mut lines = self.0.lock().unwrap();
            lines.extend([line(event, 1_670_000_000_123.5), etcd_line(event, at)]);
        }
    }

    #[test]
    fn a_line_is_an_object_of_upstreams_members() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Lines(lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(pod = "a/\"b\"", count = 3, ready = false, "pod {}", "started");
            tracing::error!(error = %"gone", "it failed");
        });
        let lines = lines.lock().unwrap();
        let without_line = |text: &str| {
            let (before, rest) = text.split_once("json.rs:").unwrap();
            format!(
                "{before}json.rs:N{}",
                rest.trim_start_matches(|c: char| c.is_ascii_digit())
            )
        };
        assert_eq!(
            without_line(&lines[0]),
            r#"{"ts":1670000000123.5,"caller":"logging/json.rs:N","msg":"pod started","v":1,"pod":"a/\"b\"","count":3,"ready":false}"#
        );
        assert_eq!(
            without_line(&lines[1]),
            r#"{"level":"info","ts":"2022-12-02T16:53:20.123500Z","caller":"logging/json.rs:N","msg":"pod started","pod":"a/\"b\"","count":3,"ready":false}"#
        );
        assert_eq!(
            without_line(&lines[3]),
            r#"{"level":"error","ts":"2022-12-02T16:53:20.123500Z","caller":"logging/json.rs:N","msg":"it failed","error":"gone"}"#
        );
        assert_eq!(
            without_line(&lines[2]),
            r#"{"ts":1670000000123.5,"caller":"logging/json.rs:N","msg":"it failed","err":"gone"}"#
        );
    }
}
