//! The container or sandbox that a stream is for.
use super::Refusal;
use super::ask::Place;
use super::failed;
use crate::pods::{PodRecord, PodsHandle};
use crate::runtime::seen::labels::{CONTAINER_NAME, POD_UID};
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::name;
use orlop_cri::{RuntimeService, v1};
use std::collections::HashMap;
use std::sync::Arc;

pub fn pod(pods: &PodsHandle, place: Place<'_>) -> Result<Arc<PodRecord>, Refusal> {
    let record = pods.by_name(place.namespace, place.pod);
    let meant = |record: &Arc<PodRecord>| match place.uid {
        Some(uid) => pods.by_uid(uid).is_some_and(|meant| meant.uid == record.uid),
        None => true,
    };
    record.filter(meant).ok_or_else(|| {
        let text = format!("pod \"{}\" does not exist", place.pod);
        (StatusCode::NOT_FOUND, text)
    })
}

/// The newest running container of this name: the runtime knows sooner than the pod's status.
pub async fn container(
    runtime: &dyn RuntimeService,
    record: &PodRecord,
    container: &str,
) -> Result<String, Refusal> {
    let labels = [(POD_UID, record.uid.as_str()), (CONTAINER_NAME, container)];
    let filter = v1::ContainerFilter {
        label_selector: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..v1::ContainerFilter::default()
    };
    let containers = runtime.list_containers(Some(filter)).await.map_err(failed)?;
    let running = containers
        .into_iter()
        .filter(|found| found.state == v1::ContainerState::ContainerRunning as i32);
    let newest = running.max_by_key(|found| found.created_at);
    newest.map(|found| found.id).ok_or_else(|| {
        let pod = name(&record.pod);
        // Tools look for the first words.
        failed(format!(
            "container not found (\"{container}\"): it is not running in pod \"{pod}\""
        ))
    })
}

/// The pod's sandbox that is up.
pub async fn sandbox(runtime: &dyn RuntimeService, record: &PodRecord) -> Result<String, Refusal> {
    let filter = v1::PodSandboxFilter {
        label_selector: HashMap::from([(POD_UID.to_owned(), record.uid.clone())]),
        ..v1::PodSandboxFilter::default()
    };
    let sandboxes = runtime.list_pod_sandboxes(Some(filter)).await.map_err(failed)?;
    let ready = sandboxes
        .into_iter()
        .filter(|found| found.state == v1::PodSandboxState::SandboxReady as i32);
    let newest = ready.max_by_key(|found| found.created_at);
    newest
        .map(|found| found.id)
        .ok_or_else(|| failed(format!("pod \"{}\" is not running", name(&record.pod))))
}

/// Whether the container was made with a terminal.
pub fn has_terminal(pod: &Pod, container: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let init = spec.init_containers.iter().flatten();
    init.chain(&spec.containers)
        .map(|own| (&own.name, own.tty))
        .chain(ephemeral.map(|own| (&own.name, own.tty)))
        .any(|(name, tty)| name == container && tty == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Source;
    use crate::testing::FakeRuntime;
    use serde_json::json;

    fn record(pods: &PodsHandle) -> Arc<PodRecord> {
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
            "spec": {"containers": [{"name": "c", "tty": true}, {"name": "d"}]},
        });
        pods.put(Arc::new(serde_json::from_value(pod).unwrap()), Source::Api);
        pods.by_uid("u1").unwrap()
    }

    #[test]
    fn pods_are_found_by_name_and_uid() {
        let pods = PodsHandle::default();
        let record = record(&pods);
        let find = |uid, name| {
            pod(
                &pods,
                Place {
                    namespace: "shop",
                    pod: name,
                    uid,
                },
            )
            .map(|found| found.uid.clone())
        };
        let missing = |name| Err((StatusCode::NOT_FOUND, format!("pod \"{name}\" does not exist")));
        assert_eq!(find(None, "web"), Ok("u1".to_owned()));
        assert_eq!(find(Some("u1"), "web"), Ok("u1".to_owned()));
        assert_eq!(find(Some("u2"), "web"), missing("web"));
        assert_eq!(find(None, "db"), missing("db"));
        assert!(has_terminal(&record.pod, "c") && !has_terminal(&record.pod, "d"));
    }

    #[tokio::test]
    async fn only_what_runs_has_streams() {
        let record = record(&PodsHandle::default());
        let runtime = FakeRuntime::default();
        let (status, text) = container(&runtime, &record, "c").await.unwrap_err();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            text,
            "container not found (\"c\"): it is not running in pod \"web\""
        );
        let (_, text) = sandbox(&runtime, &record).await.unwrap_err();
        assert_eq!(text, "pod \"web\" is not running");
    }
}
