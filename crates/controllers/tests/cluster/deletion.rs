//! Deletion of owners and namespaces.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::harness::{Cluster, eventually};

#[tokio::test]
async fn s11_a_deleted_daemon_set_takes_pods_and_revisions_with_it() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster
        .sets()
        .delete("d", &DeleteParams::background())
        .await
        .unwrap();
    let revisions: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), "default");
    eventually("pods and revisions are gone", || async {
        let pods = cluster
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len();
        let revisions = revisions.list(&ListParams::default()).await.unwrap().items.len();
        (pods + revisions == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn u22_a_foreground_deleted_daemon_set_goes_last() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster
        .sets()
        .delete("d", &DeleteParams::foreground())
        .await
        .unwrap();
    eventually("the set's end", || async {
        cluster.sets().get_opt("d").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(
        cluster
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn s08_s10_a_namespace_has_its_defaults_and_goes_with_its_contents() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "n");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "n");
    for _ in 0..2 {
        eventually("the default account", || async {
            accounts.get_opt("default").await.unwrap()
        })
        .await;
        let map = eventually("the root CA", || async {
            maps.get_opt("kube-root-ca.crt").await.unwrap()
        })
        .await;
        assert_eq!(map.data.unwrap()["ca.crt"], "the CA");
        accounts
            .delete("default", &DeleteParams::default())
            .await
            .unwrap();
        maps.delete("kube-root-ca.crt", &DeleteParams::default())
            .await
            .unwrap();
    }
    eventually("the default account", || async {
        accounts.get_opt("default").await.unwrap()
    })
    .await;

    cluster.add_node("n1", json!({})).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "n");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    eventually("a node for the pod", || async {
        pods.get("p").await.unwrap().spec.unwrap().node_name
    })
    .await;
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    eventually("the namespace's end", || async {
        namespaces.get_opt("n").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}
