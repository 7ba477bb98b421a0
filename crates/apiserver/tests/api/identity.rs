//! The Leases by which API servers know of each other.
use crate::support::*;
use orlop_apiserver::Config;
use serde_json::{Value, json};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

#[tokio::test]
async fn a_server_holds_a_lease_and_deletes_those_of_servers_that_are_gone() {
    let store = TestStore::new().await;
    let config = || Config::new("127.0.0.1:6443".parse().unwrap());
    let first = Cluster::configured(config(), store.clone()).await;
    let lease = |name: &str, label: &str, renewed: &str| {
        json!({"metadata": {"name": name, "labels": {"apiserver.kubernetes.io/identity": label}},
            "spec": {"holderIdentity": "x", "leaseDurationSeconds": 3600, "renewTime": renewed}})
    };
    let (long_ago, not_yet) = ("2020-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z");
    for lease in [
        lease("apiserver-gone", "kube-apiserver", long_ago),
        lease("apiserver-there", "kube-apiserver", not_yet),
        lease("somebody-else", "another", long_ago),
    ] {
        first.admin().post(LEASES, lease).await.ok();
    }

    let gone = format!("{LEASES}?watch=1&fieldSelector=metadata.name%3Dapiserver-gone");
    let mut watch = first.admin().watch(&gone).await;
    let with_name = Config {
        hostname: Some("machine".to_owned()),
        ..config()
    };
    let second = Cluster::configured(with_name, store.clone()).await;
    let admin = second.admin();
    while watch.event().await.0 != "DELETED" {}
    let leases = admin.get(LEASES).await.ok();
    let leases = leases["items"].as_array().unwrap();
    let of_machine = |lease: &&Value| lease["metadata"]["labels"]["kubernetes.io/hostname"] == "machine";
    let own = leases.iter().find(of_machine).unwrap();
    let name = own["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        own["metadata"]["labels"]["apiserver.kubernetes.io/identity"],
        "kube-apiserver"
    );
    assert_eq!(own["spec"]["leaseDurationSeconds"], 3600);
    let holder = own["spec"]["holderIdentity"].as_str().unwrap();
    assert!(
        holder
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('_')),
        "{holder}"
    );
    let mut names: Vec<&str> = leases
        .iter()
        .filter_map(|lease| lease["metadata"]["name"].as_str())
        .collect();
    names.retain(|found| *found != name);
    assert_eq!(names, ["apiserver-there", "somebody-else"]);
}
