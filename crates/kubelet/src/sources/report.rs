//! What became of each manifest: kept for whoever asks (`orlop status`, the Node's condition, a metric).
use super::fault::Fault;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// What became of one manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Identifies the content that was looked at, as 32 hex digits.
    pub digest: String,
    /// The pods that are run from it, `<name>_<namespace>`, of which a URL alone gives several; of an earlier version, if
    /// this one can't be used.
    #[serde(
        rename = "pod",
        serialize_with = "joined",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pods: Vec<String>,
    /// The pod's UID on the node, of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it is left alone, which is no error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
}

fn joined<S: Serializer>(pods: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&pods.join(", "))
}

/// All manifests, by file or URL.
pub type Reports = BTreeMap<String, Report>;

/// The reports as they are; clones are the same board.
#[derive(Clone, Debug)]
pub struct ReportBoard(watch::Sender<Reports>);

impl Default for ReportBoard {
    fn default() -> Self {
        Self(watch::Sender::new(Reports::new()))
    }
}

impl ReportBoard {
    /// Replaces what is known of manifests whose names `is_own` knows.
    pub fn replace(&self, is_own: impl Fn(&str) -> bool, reports: Reports) {
        self.0.send_if_modified(|all| {
            let before = all.clone();
            all.retain(|manifest, _| !is_own(manifest));
            all.extend(reports);
            *all != before
        });
    }

    /// As they are now.
    pub fn now(&self) -> Reports {
        self.0.borrow().clone()
    }

    /// Tells of changes.
    pub fn subscribe(&self) -> watch::Receiver<Reports> {
        self.0.subscribe()
    }
}

/// What the Node's condition says of faulty manifests; `None` if there are none.
pub fn summary(reports: &Reports) -> Option<String> {
    let faulty: Vec<String> = reports
        .iter()
        .filter_map(|(manifest, report)| {
            let reason = report.error.clone()?;
            let fault = Fault {
                manifest: manifest.clone(),
                reason,
                keeps_running: !report.pods.is_empty(),
            };
            Some(fault.to_string())
        })
        .collect();
    (!faulty.is_empty()).then(|| faulty.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(error: Option<&str>) -> Report {
        Report {
            digest: "0".into(),
            pods: Vec::new(),
            uid: None,
            error: error.map(str::to_owned),
            ignored: None,
        }
    }

    #[test]
    fn condition_names_the_faulty_manifests_only() {
        let good = Reports::from([("/m/a.yaml".to_owned(), report(None))]);
        assert_eq!(summary(&good), None);
        let mut bad = good;
        bad.insert("/m/b.yaml".into(), report(Some("line 1: no")));
        assert_eq!(summary(&bad).unwrap(), "manifest /m/b.yaml: line 1: no");
    }

    #[test]
    fn each_source_replaces_its_own_and_listeners_hear_of_changes_alone() {
        let board = ReportBoard::default();
        board.replace(
            |name| name.starts_with("http"),
            [("http://x".to_owned(), report(None))].into(),
        );
        let files = || Reports::from([("/m/a".to_owned(), report(Some("no")))]);
        board.replace(|name| name.starts_with('/'), files());
        assert_eq!(board.now().len(), 2);
        let listener = board.subscribe();
        board.replace(|name| name.starts_with('/'), files());
        assert!(!listener.has_changed().unwrap());
    }
}
