//! `/containerLogs/{namespace}/{pod}/{container}`.
//!
//! | file | decides |
//! |---|---|
//! | [`options`] | what the query asks for |
//! | [`which`] | which run's file, or why there is none |
//! | [`tail`] | where the last lines begin |
//! | [`line`], [`select`] | what of the file the reader sees |
//! | [`read`] | reading and following (the only I/O besides `tail`) |
mod line;
mod options;
mod read;
mod select;
mod tail;
mod which;

pub use which::has_container;

use super::body::{Body, stream, text};
use crate::pods::{PodRecord, PodsHandle};
use futures::FutureExt;
use http::{Response, StatusCode};
use options::Options;
use orlop_cri::RuntimeService;
use orlop_cri::v1::ContainerState;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use which::Refusal;

/// Chunks that may wait for a slow reader: at 64 KiB each, a megabyte a reader at most.
const CHUNKS_WAITING_MAX: usize = 16;

/// Whose log is asked for, as the path says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: &'a str,
}

/// The log, or why there is none.
pub fn answer(
    pods: &PodsHandle,
    runtime: &Arc<dyn RuntimeService>,
    pod_logs: &Path,
    target: Target<'_>,
    query: &str,
) -> Response<Body> {
    let Found {
        options,
        record,
        restarts,
        path,
        file,
    } = match find(pods, pod_logs, target, query) {
        Ok(found) => found,
        Err((status, message)) => return text(status, message),
    };
    let container = target.container;
    let id = which::status_of(&record.pod, container).and_then(|status| status.container_id.clone());
    let running = running(
        pods.clone(),
        runtime.clone(),
        record.uid.clone(),
        container.to_owned(),
        restarts,
        id,
    );
    let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    tokio::spawn(read::copy(file, path, options, running, chunks));
    stream(receiver)
}

/// A log that is there.
#[derive(Debug)]
struct Found {
    options: Options,
    record: Arc<PodRecord>,
    restarts: i32,
    path: PathBuf,
    file: File,
}

fn find(pods: &PodsHandle, pod_logs: &Path, target: Target<'_>, query: &str) -> Result<Found, Refusal> {
    let options = Options::parse(query)?;
    let missing = || {
        (
            StatusCode::NOT_FOUND,
            format!("pod \"{}\" does not exist", target.pod),
        )
    };
    let record = pods.by_name(target.namespace, target.pod).ok_or_else(missing)?;
    let restarts = which::run(&record.pod, target.container, options.previous)?;
    let path = which::file(pod_logs, &record.pod, target.container, restarts);
    let file = File::open(&path).map_err(|error| {
        tracing::debug!(path = %path.display(), %error, "a container's log cannot be opened");
        which::refused(&record.pod, target.container, "is not available")
    })?;
    Ok(Found {
        options,
        record,
        restarts,
        path,
        file,
    })
}

/// Whether this run still goes on: by its pod's status, and by the runtime for a pod that is being
/// stopped and no longer listed.
fn running(
    pods: PodsHandle,
    runtime: Arc<dyn RuntimeService>,
    uid: String,
    container: String,
    restarts: i32,
    id: Option<String>,
) -> read::Running {
    Box::new(move || {
        if let Some(record) = pods.by_uid(&uid) {
            let runs = which::runs(&record.pod, &container, restarts);
            return async move { runs }.boxed();
        }
        let (runtime, id) = (runtime.clone(), id.clone());
        async move {
            let id = id
                .as_deref()
                .map(|id| id.split_once("://").map_or(id, |(_, id)| id));
            let Some(id) = id else { return false };
            let answer = runtime.container_status(id, false).await;
            answer.is_ok_and(|answer| {
                answer
                    .status
                    .is_some_and(|status| status.state == ContainerState::ContainerRunning as i32)
            })
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Source;
    use serde_json::json;

    #[test]
    fn n09_log_is_found_or_the_reason_told() {
        let dir = tempfile::tempdir().unwrap();
        let pods = PodsHandle::default();
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{"name": "c", "restartCount": 1, "state": {"running": {}},
                "image": "", "imageID": "", "ready": true}]},
        });
        pods.put(Arc::new(serde_json::from_value(pod).unwrap()), Source::Api);
        let ask = |pod, container, query| {
            let found = find(
                &pods,
                dir.path(),
                Target {
                    namespace: "shop",
                    pod,
                    container,
                },
                query,
            );
            found
                .map(|found| (found.restarts, found.path))
                .map_err(|(status, text)| (status.as_u16(), text))
        };
        let refused = |status, text: &str| Err((status, text.to_owned()));
        assert_eq!(ask("x", "c", ""), refused(404, "pod \"x\" does not exist"));
        assert_eq!(
            ask("web", "x", ""),
            refused(404, "container \"x\" not found in pod \"web\"")
        );
        assert_eq!(
            ask("web", "c", ""),
            refused(400, "container \"c\" in pod \"web\" is not available")
        );
        assert_eq!(ask("web", "c", "tailLines=-1").unwrap_err().0, 422);
        assert_eq!(ask("web", "c", "follow=perhaps").unwrap_err().0, 400);
        let path = dir.path().join("shop_web_u1/c/1.log");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(ask("web", "c", "follow=true"), Ok((1, path)));
    }
}
