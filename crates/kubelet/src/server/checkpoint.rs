//! `/checkpoint/{namespace}/{pod}/{container}`: a runtime that can writes what a running container is at to a file, for
//! somebody on the node to look at or to move. Files stay until somebody removes them, as with upstream.
use super::body::{Body, json, text};
use super::logs::{Target, has_container};
use super::query::pairs;
use super::streams::find;
use crate::config::KubeletConfiguration;
use crate::pods::PodsHandle;
use http::{Response, StatusCode};
use jiff::Timestamp;
use orlop_api::pod::full_name;
use orlop_cri::RuntimeService;
use std::path::Path;
use std::time::Duration;
use tokio::fs::DirBuilder;

/// The feature gate.
const GATE: &str = "ContainerCheckpoint";
/// Below the agent's root.
const DIRECTORY: &str = "checkpoints";

/// Whether the configuration leaves the feature gate on.
pub fn are_enabled(configuration: &KubeletConfiguration) -> bool {
    let gates = configuration.other.get("featureGates");
    gates.is_none_or(|gates| gates[GATE] != false)
}

/// Status and text of an answer without a file.
type Refusal = (StatusCode, String);

/// Names the file, or says why there is none.
pub async fn answer(
    pods: &PodsHandle,
    runtime: &dyn RuntimeService,
    root: &Path,
    target: Target<'_>,
    query: &str,
) -> Response<Body> {
    match checkpoint(pods, runtime, root, target, query).await {
        Ok(location) => json(&serde_json::json!({"items": [location]})),
        Err((status, message)) => text(status, message),
    }
}

async fn checkpoint(
    pods: &PodsHandle,
    runtime: &dyn RuntimeService,
    root: &Path,
    target: Target<'_>,
    query: &str,
) -> Result<String, Refusal> {
    let Target {
        namespace,
        pod,
        container,
    } = target;
    let missing = |what: String| (StatusCode::NOT_FOUND, what);
    let record = pods
        .by_name(namespace, pod)
        .ok_or_else(|| missing("pod does not exist".to_owned()))?;
    if !has_container(&record.pod, container) {
        return Err(missing(format!("container {container} does not exist")));
    }
    let patience =
        patience(query).ok_or_else(|| missing("cannot parse value of timeout parameter".to_owned()))?;
    let failed = |why: String| {
        let text = format!("checkpointing of {namespace}/{pod}/{container} failed ({why})");
        (StatusCode::INTERNAL_SERVER_ERROR, text)
    };
    let id = find::container(runtime, &record, container)
        .await
        .map_err(|(_, why)| failed(why))?;
    let directory = root.join(DIRECTORY);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .await
        .map_err(|error| failed(format!("{}: {error}", directory.display())))?;
    let at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let file = format!("checkpoint-{}-{container}-{at}.tar", full_name(&record.pod));
    let location = directory.join(file).to_string_lossy().into_owned();
    runtime
        .checkpoint_container(&id, &location, patience)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(location)
}

/// The last `timeout` of a query, in seconds; the runtime's usual time is given in any case.
fn patience(query: &str) -> Option<Duration> {
    let last = pairs(query).filter(|(key, _)| key == "timeout").last();
    match last {
        Some((_, seconds)) => Some(Duration::from_secs(seconds.parse::<u32>().ok()?.into())),
        None => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seen::labels::{CONTAINER_NAME, POD_UID};
    use crate::sources::Source;
    use crate::testing::FakeRuntime;
    use orlop_cri::v1;
    use std::collections::HashMap;
    use std::sync::Arc;

    #[test]
    fn checkpoints_are_made_unless_that_is_switched_off() {
        let mut configuration = KubeletConfiguration::default();
        assert!(are_enabled(&configuration));
        for (on, gate) in [(true, GATE), (true, "Another"), (false, GATE)] {
            let gates = serde_json::json!({gate: on});
            configuration.other.insert("featureGates".into(), gates);
            assert_eq!(are_enabled(&configuration), on, "{gate}");
        }
    }

    #[test]
    fn the_last_timeout_counts() {
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(patience(""), seconds(0));
        assert_eq!(patience("timeout=5&timeout=7"), seconds(7));
        for bad in ["timeout=", "timeout=1s", "timeout=-1"] {
            assert_eq!(patience(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_running_container_is_written_to_a_file_by_the_runtime() {
        let pods = PodsHandle::default();
        let pod = serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
            "spec": {"containers": [{"name": "c"}]},
        });
        pods.put(Arc::new(serde_json::from_value(pod).unwrap()), Source::Api);
        let (runtime, root) = (FakeRuntime::default(), tempfile::tempdir().unwrap());
        let ask = async |pod, container, query| {
            let target = Target {
                namespace: "shop",
                pod,
                container,
            };
            checkpoint(&pods, &runtime, root.path(), target, query).await
        };
        let missing = |text: &str| Err((StatusCode::NOT_FOUND, text.to_owned()));
        assert_eq!(ask("db", "c", "").await, missing("pod does not exist"));
        assert_eq!(ask("web", "d", "").await, missing("container d does not exist"));
        let unreadable = missing("cannot parse value of timeout parameter");
        assert_eq!(ask("web", "c", "timeout=x").await, unreadable);
        let (status, text) = ask("web", "c", "").await.unwrap_err();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            text.starts_with("checkpointing of shop/web/c failed (container not found"),
            "{text}"
        );

        let config = v1::ContainerConfig {
            labels: HashMap::from([
                (POD_UID.to_owned(), "u1".to_owned()),
                (CONTAINER_NAME.to_owned(), "c".to_owned()),
            ]),
            ..v1::ContainerConfig::default()
        };
        let id = runtime
            .create_container("s", config, v1::PodSandboxConfig::default())
            .await
            .unwrap();
        runtime.start_container(&id).await.unwrap();
        let location = ask("web", "c", "timeout=9").await.unwrap();
        let begin = format!("{}/checkpoints/checkpoint-web_shop-c-", root.path().display());
        assert!(
            location.starts_with(&begin) && location.ends_with("Z.tar"),
            "{location}"
        );
        let call = format!("CheckpointContainer {id} {location} 9");
        assert!(runtime.calls().contains(&call), "{:?}", runtime.calls());

        // What older runtimes say to that is passed on in gRPC's form, in which tools look for it.
        runtime.failing.lock().push("CheckpointContainer".into());
        let (status, text) = ask("web", "c", "").await.unwrap_err();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            text,
            "checkpointing of shop/web/c failed (rpc error: code = Unknown desc = made to fail)"
        );
    }
}
