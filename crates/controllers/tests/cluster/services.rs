//! Where Services lead.

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

struct Net {
    services: Api<Service>,
    endpoints: Api<Endpoints>,
    slices: Api<EndpointSlice>,
}

impl Net {
    fn of(cluster: &Cluster) -> Self {
        Self {
            services: Api::namespaced(cluster.client.clone(), "default"),
            endpoints: Api::namespaced(cluster.client.clone(), "default"),
            slices: Api::namespaced(cluster.client.clone(), "default"),
        }
    }

    async fn create(&self, name: &str, spec: Value) {
        let service = json!({"metadata": {"name": name, "labels": {"team": "a"}}, "spec": spec});
        self.services
            .create(&PostParams::default(), &serde_json::from_value(service).unwrap())
            .await
            .unwrap();
    }

    async fn slices_of(&self, service: &str) -> Vec<EndpointSlice> {
        let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        self.slices.list(&params).await.unwrap().items
    }

    /// `ready serving terminating` of all endpoints.
    async fn conditions(&self, service: &str) -> Vec<String> {
        let slices = self.slices_of(service).await;
        let mut found: Vec<String> = slices
            .iter()
            .flat_map(|slice| slice.endpoints.iter().flatten())
            .map(|endpoint| {
                let conditions = endpoint.conditions.clone().unwrap();
                let [ready, serving, terminating] =
                    [conditions.ready, conditions.serving, conditions.terminating].map(|c| c == Some(true));
                format!("{ready} {serving} {terminating}")
            })
            .collect();
        found.sort();
        found
    }
}

async fn pod(cluster: &Cluster, name: &str, image: &str) {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {
        "terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": image,
        "ports": [{"name": "http", "containerPort": 8080}]}]}});
    cluster
        .pods()
        .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn slices_and_endpoints_follow_the_pods_of_a_service() {
    let cluster = Cluster::start().await;
    let zone = json!({"topology.kubernetes.io/zone": "z1"});
    cluster.add_node("n1", zone).await;
    let net = Net::of(&cluster);
    net.create(
        "web",
        json!({"selector": {"app": "web"}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}),
    )
    .await;
    let empty = eventually("a slice without endpoints", || async {
        net.slices_of("web").await.pop()
    })
    .await;
    assert!(empty.endpoints.unwrap_or_default().is_empty());

    pod(&cluster, "good", "img:1").await;
    pod(&cluster, "bad", "broken").await;
    let both = ["false false false", "true true false"];
    eventually("both pods", || async {
        (net.conditions("web").await == both).then_some(())
    })
    .await;
    let slice = net.slices_of("web").await.remove(0);
    assert_eq!(
        slice.metadata.name, empty.metadata.name,
        "the empty slice was filled"
    );
    let labels = slice.metadata.labels.unwrap();
    assert_eq!(
        labels["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    assert_eq!(labels["team"], "a");
    assert!(slice.metadata.name.unwrap().starts_with("web-"));
    let owner = &slice.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Service", "web"));
    let annotations = slice.metadata.annotations.unwrap();
    assert!(annotations.contains_key("endpoints.kubernetes.io/last-change-trigger-time"));
    assert_eq!(slice.address_type, "IPv4");
    assert_eq!(
        json!(slice.ports),
        json!([{"name": "web", "port": 8080, "protocol": "TCP"}])
    );
    let endpoints = slice.endpoints.unwrap();
    let good = endpoints
        .iter()
        .find(|endpoint| endpoint.target_ref.as_ref().unwrap().name.as_deref() == Some("good"))
        .unwrap();
    assert_eq!(
        (good.node_name.as_deref(), good.zone.as_deref()),
        (Some("n1"), Some("z1"))
    );

    let legacy = eventually("the same in Endpoints", || async {
        let endpoints = net.endpoints.get_opt("web").await.unwrap()?;
        let subset = endpoints.subsets.clone().unwrap_or_default().pop()?;
        (subset.addresses.as_ref().map(Vec::len) == Some(1)
            && subset.not_ready_addresses.as_ref().map(Vec::len) == Some(1))
        .then_some(subset)
    })
    .await;
    assert_eq!(legacy.ports.unwrap()[0].port, 8080);

    cluster.stop_agents();
    cluster
        .pods()
        .delete("good", &DeleteParams::default())
        .await
        .unwrap();
    eventually("a terminating endpoint that still serves", || async {
        let conditions = net.conditions("web").await;
        (conditions == ["false false false", "false true true"]).then_some(())
    })
    .await;
    net.services
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    eventually("nothing", || async {
        let endpoints = net.endpoints.get_opt("web").await.unwrap();
        (endpoints.is_none() && net.slices_of("web").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn endpoints_written_by_hand_are_mirrored_and_left_alone() {
    let cluster = Cluster::start().await;
    let net = Net::of(&cluster);
    let endpoints = |ip: &str, name: &str| {
        serde_json::from_value::<Endpoints>(json!({"metadata": {"name": name}, "subsets": [
            {"addresses": [{"ip": ip}], "ports": [{"port": 9376}]}]}))
        .unwrap()
    };
    let params = PostParams::default();
    net.endpoints
        .create(&params, &endpoints("10.1.2.3", "lonely"))
        .await
        .unwrap();
    net.create("custom", json!({"ports": [{"port": 80, "targetPort": 9376}]}))
        .await;
    net.endpoints
        .create(&params, &endpoints("10.1.2.3", "custom"))
        .await
        .unwrap();
    let mirrored = |ip: &'static str| {
        let net = &net;
        async move {
            let slices = net.slices_of("custom").await;
            let found = slices.first()?.endpoints.as_ref()?.first()?;
            (slices.len() == 1 && found.addresses == [ip]).then(|| slices[0].clone())
        }
    };
    let slice = eventually("the mirror", || mirrored("10.1.2.3")).await;
    assert_eq!(
        slice.metadata.labels.unwrap()["endpointslice.kubernetes.io/managed-by"],
        "endpointslicemirroring-controller.k8s.io"
    );
    let patch = json!({"subsets": [{"addresses": [{"ip": "10.2.3.4"}], "ports": [{"port": 9376}]}]});
    net.endpoints
        .patch("custom", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    eventually("the change", || mirrored("10.2.3.4")).await;
    net.endpoints
        .delete("custom", &DeleteParams::default())
        .await
        .unwrap();
    eventually("no mirror", || async {
        net.slices_of("custom").await.is_empty().then_some(())
    })
    .await;
    assert!(net.endpoints.get_opt("lonely").await.unwrap().is_some());
    assert!(net.slices_of("lonely").await.is_empty());
}
