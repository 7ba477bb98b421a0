//! When the machine last went down and its pods had ended: told in metrics, and kept in the file that upstream's agent
//! keeps it in, for the agent that comes after.
use crate::metrics::Metrics;
use crate::whole;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const FILE: &str = "graceful_node_shutdown_state";

/// What a moment is that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Clone, Copy)]
struct Times {
    begun: Timestamp,
    ended: Timestamp,
}

/// The record of shutdowns.
pub struct Record {
    path: PathBuf,
    metrics: Metrics,
    times: Mutex<Times>,
}

impl Record {
    /// In `directory`, with what an earlier agent wrote there.
    pub fn open(directory: &Path, metrics: Metrics) -> Self {
        let path = directory.join(FILE);
        let text = std::fs::read(&path).unwrap_or_default();
        let kept: Value = serde_json::from_slice(&text).unwrap_or_default();
        let time = |key: &str| kept[key].as_str().and_then(|text| text.parse().ok());
        let times = Times {
            begun: time("startTime").unwrap_or_else(never),
            ended: time("endTime").unwrap_or_else(never),
        };
        let record = Self {
            path,
            metrics,
            times: Mutex::new(times),
        };
        record.tell(&times);
        record
    }

    /// Pods are being stopped.
    pub fn begun(&self) {
        self.write(Times {
            begun: Timestamp::now(),
            ended: never(),
        });
    }

    /// They have ended, or may go on.
    pub fn ended(&self) {
        let begun = self.times.lock().begun;
        let ended = Timestamp::now();
        self.write(Times { begun, ended });
    }

    fn write(&self, times: Times) {
        *self.times.lock() = times;
        self.tell(&times);
        let kept = json!({"startTime": times.begun.to_string(), "endTime": times.ended.to_string()});
        if let Err(error) = whole::put(&self.path, kept.to_string()) {
            tracing::warn!(%error, path = %self.path.display(), "cannot note the machine's shutdown");
        }
    }

    fn tell(&self, times: &Times) {
        let seconds = |time: Timestamp| if time == never() { 0 } else { time.as_second() };
        self.metrics.shutdown_began.set(seconds(times.begun));
        self.metrics.shutdown_ended.set(seconds(times.ended));
    }
}

fn never() -> Timestamp {
    NEVER.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_outlives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let shown = |metrics: &Metrics| (metrics.shutdown_began.get(), metrics.shutdown_ended.get());
        let metrics = Metrics::default();
        let record = Record::open(dir.path(), metrics.clone());
        assert_eq!(shown(&metrics), (0, 0));
        record.begun();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(text.contains(r#""endTime":"0001-01-01T00:00:00Z""#), "{text}");
        assert!(shown(&metrics).0 > 0 && shown(&metrics).1 == 0);
        record.ended();
        let next = Metrics::default();
        Record::open(dir.path(), next.clone());
        assert_eq!(shown(&next), shown(&metrics));
        assert!(shown(&next).1 >= shown(&next).0);
    }
}
