//! What containers of this node have to themselves, for monitoring agents on it: `v1.PodResourcesLister` on
//! `<root>/pod-resources/kubelet.sock`, and the list also in its older form `v1alpha1`.
mod messages;

use crate::devices::{Devices, Held};
use crate::grpc::{self, Messages, Refusal, decode, one};
use crate::pods::{PodRecord, PodsHandle};
use k8s_openapi::api::core::v1::Pod;
use messages::{
    AllocatableResponse, ContainerDevices, ContainerResources, GetRequest, GetResponse, ListResponse,
    NumaNode, PodResources, Topology,
};
use orlop_api::pod::{init_containers, is_sidecar, is_terminal, name, namespace};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The socket below the agent's directory.
pub fn socket(root: &Path) -> PathBuf {
    root.join("pod-resources").join("kubelet.sock")
}

/// The service.
pub fn service(pods: PodsHandle, devices: Arc<Devices>) -> grpc::Service {
    Arc::new(move |path: &str, message: &[u8]| call(&pods, &devices, path, message))
}

fn call(pods: &PodsHandle, devices: &Devices, path: &str, message: &[u8]) -> Result<Messages, Refusal> {
    match path {
        // The older form lacks only fields.
        "/v1.PodResourcesLister/List" | "/v1alpha1.PodResourcesLister/List" => {
            let records = pods.list();
            let active = records.iter().filter(|record| !is_terminal(&record.pod));
            Ok(one(ListResponse {
                pod_resources: active.map(|record| of(record, devices)).collect(),
            }))
        }
        "/v1.PodResourcesLister/Get" => {
            let request: GetRequest = decode(message)?;
            let found = pods.by_name(&request.pod_namespace, &request.pod_name);
            let found = found.ok_or_else(|| Refusal {
                // As upstream's agent has it.
                code: grpc::UNKNOWN,
                message: format!(
                    "pod {} in namespace {} not found",
                    request.pod_name, request.pod_namespace
                ),
            })?;
            Ok(one(GetResponse {
                pod_resources: Some(of(&found, devices)),
            }))
        }
        "/v1.PodResourcesLister/GetAllocatableResources" => Ok(one(AllocatableResponse {
            devices: devices.allocatable().into_iter().flat_map(device).collect(),
            ..AllocatableResponse::default()
        })),
        _ => Err(Refusal::unknown(path)),
    }
}

fn of(record: &PodRecord, devices: &Devices) -> PodResources {
    let pod = &record.pod;
    let containers = containers(pod).map(|name| ContainerResources {
        name: name.to_owned(),
        devices: devices
            .held_by(&record.uid, name)
            .into_iter()
            .flat_map(device)
            .collect(),
        ..ContainerResources::default()
    });
    PodResources {
        name: name(pod).to_owned(),
        namespace: namespace(pod).to_owned(),
        containers: containers.collect(),
    }
}

/// Each device for itself, and once for each memory node that it is close to; one that is said to be close to none, which
/// is not the same as nothing being said, is passed over as upstream's agent does.
fn device(held: Held) -> Vec<ContainerDevices> {
    let entry = |topology| ContainerDevices {
        resource_name: held.resource.clone(),
        device_ids: vec![held.id.clone()],
        topology,
    };
    let Some(nodes) = &held.nodes else {
        return vec![entry(None)];
    };
    let of_node = |id: &i64| Topology {
        nodes: vec![NumaNode { id: *id }],
    };
    nodes.iter().map(|id| entry(Some(of_node(id)))).collect()
}

/// Names of the containers that stay: sidecars, then the others.
fn containers(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let sidecars = init_containers(spec).iter().filter(|init| is_sidecar(init));
        sidecars.chain(&spec.containers)
    })
    .map(|container| container.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::testing::Caller;
    use crate::sources::Source;
    use prost::Message;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn device_is_told_of_once_for_each_memory_node_that_it_is_close_to() {
        let told = |nodes: Option<&[i64]>| {
            let held = Held {
                resource: "a.io/x".to_owned(),
                id: "d".to_owned(),
                nodes: nodes.map(<[i64]>::to_vec),
            };
            let nodes = |told: ContainerDevices| told.topology.map(|topology| topology.nodes);
            device(held).into_iter().map(nodes).collect::<Vec<_>>()
        };
        let node = |id| Some(vec![NumaNode { id }]);
        assert_eq!(told(Some(&[0, 1])), [node(0), node(1)]);
        assert_eq!(told(None), [None]);
        assert!(told(Some(&[])).is_empty());
    }

    #[tokio::test]
    async fn monitoring_agents_are_told_of_pods_and_their_containers() {
        let root = tempfile::tempdir().unwrap();
        let (pods, shutdown) = (PodsHandle::default(), CancellationToken::new());
        let _end = shutdown.clone().drop_guard();
        let socket = socket(root.path());
        let listener = grpc::listen(&socket).unwrap();
        tokio::spawn(grpc::serve(
            listener,
            service(pods.clone(), Devices::open(root.path(), shutdown.clone())),
            shutdown,
        ));
        let pod = |name: &str, phase: &str| {
            let object = json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "status": {"phase": phase},
                "spec": {"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
                    "containers": [{"name": "c"}]}});
            Arc::new(serde_json::from_value(object).unwrap())
        };
        pods.put(pod("runs", "Running"), Source::Api);
        pods.put(pod("over", "Succeeded"), Source::Api);
        for service in ["v1.PodResourcesLister", "v1alpha1.PodResourcesLister"] {
            let mut caller = Caller::connect(&socket, service).await;
            let (answer, status) = caller.ask("List", Vec::new()).await;
            assert_eq!(status, "0");
            let listed = ListResponse::decode(answer).unwrap().pod_resources;
            assert_eq!(listed.len(), 1);
            assert_eq!(
                (listed[0].name.as_str(), listed[0].namespace.as_str()),
                ("runs", "d")
            );
            let names: Vec<&str> = listed[0].containers.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names, ["s", "c"]);
        }
        let mut caller = Caller::connect(&socket, "v1.PodResourcesLister").await;
        let get = |name: &str| {
            let request = GetRequest {
                pod_name: name.into(),
                pod_namespace: "d".into(),
            };
            request.encode_to_vec()
        };
        let (answer, _) = caller.ask("Get", get("over")).await;
        assert_eq!(
            GetResponse::decode(answer).unwrap().pod_resources.unwrap().name,
            "over"
        );
        assert_eq!(caller.ask("Get", get("none")).await.1, grpc::UNKNOWN.to_string());
        assert_eq!(caller.ask("GetAllocatableResources", Vec::new()).await.1, "0");
        assert_eq!(
            caller.ask("Watch", Vec::new()).await.1,
            grpc::UNIMPLEMENTED.to_string()
        );
    }
}
