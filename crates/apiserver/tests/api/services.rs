//! Services and the other kinds of contract §18.
use crate::support::*;
use orlop_apiserver::{Config, EndpointReconciler};
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_service_gets_its_defaults_and_an_address_of_its_own() {
    let admin = Cluster::start().await.admin();
    let made = admin
        .post(SERVICES, service("a", json!({"ports": [{"port": 80}]})))
        .await
        .ok();
    let spec = &made["spec"];
    assert_eq!(spec["type"], "ClusterIP");
    assert_eq!(
        spec["ports"],
        json!([{"port": 80, "protocol": "TCP", "targetPort": 80}])
    );
    assert_eq!(
        (&spec["internalTrafficPolicy"], &spec["sessionAffinity"]),
        (&json!("Cluster"), &json!("None"))
    );
    assert!(spec["clusterIP"].as_str().unwrap().starts_with("10."), "{spec}");
    assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
    assert_eq!(made["status"], json!({"loadBalancer": {}}));

    let taken = service(
        "b",
        json!({"clusterIP": spec["clusterIP"], "ports": [{"port": 80}]}),
    );
    let message = admin.post(SERVICES, taken).await.refused(422);
    assert!(message.contains("provided IP is already allocated"), "{message}");
    let message = admin.post(SERVICES, service("b", json!({}))).await.refused(422);
    assert!(message.contains("spec.ports: Required value"), "{message}");

    // An update that does not name the address keeps it; naming another is refused.
    let path = format!("{SERVICES}/a");
    let put = admin
        .put(&path, service("a", json!({"ports": [{"port": 81}]})))
        .await
        .ok();
    assert_eq!(put["spec"]["clusterIP"], spec["clusterIP"]);
    let other = json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}});
    assert!(
        admin
            .patch(&path, "merge", other)
            .await
            .refused(422)
            .contains("may not change once set")
    );
    let headless = admin
        .post(SERVICES, service("h", json!({"clusterIP": "None"})))
        .await
        .ok();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[tokio::test]
async fn addresses_and_ports_are_given_once_to_many_at_the_same_time() {
    let admin = Cluster::start().await.admin();
    let creates = (0..24).map(|n| {
        let body = service(
            &format!("s{n}"),
            json!({"type": "NodePort", "ports": [{"port": 80}]}),
        );
        admin.post(SERVICES, body)
    });
    let mut addresses = Vec::new();
    let mut ports = Vec::new();
    for reply in futures::future::join_all(creates).await {
        let made = reply.ok();
        addresses.push(made["spec"]["clusterIP"].as_str().unwrap().to_owned());
        ports.push(made["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    }
    addresses.sort();
    addresses.dedup();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((addresses.len(), ports.len()), (24, 24));
    assert!(ports.iter().all(|p| (30000..=32767).contains(p)));
}

#[tokio::test]
async fn the_api_server_has_a_service() {
    let admin = Cluster::start().await.admin();
    let own = admin.get(&format!("{SERVICES}/kubernetes")).await.ok();
    assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(own["spec"]["ports"][0]["targetPort"], 6443);
}

/// Defaults that clients and upstream's controllers rely on.
#[tokio::test]
async fn workloads_get_their_defaults_and_are_checked() {
    let admin = Cluster::start().await.admin();
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let selector = json!({"matchLabels": {"a": "b"}});
    let body = |kind: &str, version: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "spec": spec});
    let apps = "/apis/apps/v1/namespaces/default";
    let spec = json!({"selector": selector, "template": template});
    let made = admin
        .post(
            &format!("{apps}/deployments"),
            body("Deployment", "apps/v1", spec.clone()),
        )
        .await
        .ok();
    assert_eq!(made["spec"]["replicas"], 1);
    assert_eq!(
        made["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(made["spec"]["progressDeadlineSeconds"], 600);
    assert_eq!(made["spec"]["template"]["spec"]["restartPolicy"], "Always");
    let other = json!({"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": {"metadata": {"labels": {"a": "c"}}}}});
    let message = admin
        .patch(&format!("{apps}/deployments/w"), "merge", other)
        .await
        .refused(422);
    assert!(
        message.contains("spec.selector: Invalid value") && message.contains("field is immutable"),
        "{message}"
    );
    let message = admin
        .post(
            &format!("{apps}/deployments"),
            body("Deployment", "apps/v1", json!({"template": template})),
        )
        .await
        .refused(422);
    assert!(message.contains("spec.selector: Required value"), "{message}");
    let made = admin
        .post(
            &format!("{apps}/statefulsets"),
            body("StatefulSet", "apps/v1", spec),
        )
        .await
        .ok();
    assert_eq!(made["spec"]["podManagementPolicy"], "OrderedReady");

    let batch = "/apis/batch/v1/namespaces/default";
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let made = admin
        .post(
            &format!("{batch}/jobs"),
            body("Job", "batch/v1", json!({"template": once})),
        )
        .await
        .ok();
    let uid = &made["metadata"]["uid"];
    assert_eq!(
        made["spec"]["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
    );
    assert_eq!(made["spec"]["template"]["metadata"]["labels"]["job-name"], "w");
    assert_eq!(
        (&made["spec"]["completions"], &made["spec"]["backoffLimit"]),
        (&json!(1), &json!(6))
    );
    let message = admin
        .post(
            &format!("{batch}/jobs"),
            body("Job", "batch/v1", json!({"template": template})),
        )
        .await
        .refused(422);
    assert!(
        message.contains(
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
        ),
        "{message}"
    );
    let cron = json!({"schedule": "* * * *", "jobTemplate": {"spec": {"template": once}}});
    let message = admin
        .post(&format!("{batch}/cronjobs"), body("CronJob", "batch/v1", cron))
        .await
        .refused(422);
    assert!(
        message.contains("expected exactly 5 fields, found 4"),
        "{message}"
    );
}

/// Who has which address is seen in objects of its own, which follow the Services.
#[tokio::test]
async fn addresses_of_services_have_their_objects_and_the_range_is_ready() {
    let admin = Cluster::start().await.admin();
    const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
    let mut watch = admin.watch(&format!("{ADDRESSES}?watch=1")).await;
    assert_eq!(watch.event().await, ("ADDED".to_owned(), "10.96.0.1".to_owned()));
    let own = admin.get(&format!("{ADDRESSES}/10.96.0.1")).await.ok();
    assert_eq!(
        own["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "kubernetes"})
    );
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}});
    let path = "/api/v1/namespaces/default/services";
    admin.post(path, service).await.ok();
    assert_eq!(watch.event().await, ("ADDED".to_owned(), "10.96.0.77".to_owned()));
    admin.delete(&format!("{path}/s"), Value::Null).await.ok();
    assert_eq!(
        watch.event().await,
        ("DELETED".to_owned(), "10.96.0.77".to_owned())
    );
    let range = admin
        .get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
        .await
        .ok();
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/12"]));
    let ready = &range["status"]["conditions"][0];
    assert_eq!(
        (&ready["type"], &ready["status"]),
        (&json!("Ready"), &json!("True"))
    );
}

/// Servers on one store name each other's addresses, leave one that ends out, and then write nothing more.
#[tokio::test]
async fn the_service_kubernetes_leads_to_every_server_of_the_store() {
    const PATH: &str = "/api/v1/namespaces/default/endpoints?fieldSelector=metadata.name%3Dkubernetes";
    let store = TestStore::new().await;
    let start = |address: &str| {
        let mut config = Config::new(address.parse().unwrap());
        config.endpoint_reconciler = EndpointReconciler::Lease;
        let shutdown = config.shutdown.clone();
        let store = store.clone();
        async move { (Cluster::configured(config, store).await, shutdown) }
    };
    let (first, _keep) = start("10.0.0.1:6443").await;
    let (_second, end_second) = start("10.0.0.2:6443").await;
    let admin = first.admin();
    let mut changes = admin.watch(&format!("{PATH}&watch=true")).await;
    let mut addresses_become = async |wanted: Value| {
        loop {
            let change = changes.next().await.expect("the watch goes on");
            let found = &change["object"]["subsets"][0]["addresses"];
            if *found == wanted {
                return change["object"]["metadata"]["resourceVersion"].clone();
            }
        }
    };
    addresses_become(json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])).await;
    let slices = admin
        .get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
        .await
        .ok();
    assert_eq!(slices["addressType"], "IPv4");
    end_second.cancel();
    let version = addresses_become(json!([{"ip": "10.0.0.1"}])).await;
    // Who is alone has nothing to put right.
    admin
        .post("/api/v1/namespaces/default/configmaps", configmap("c", "1"))
        .await
        .ok();
    assert_eq!(
        admin.get(PATH).await.ok()["items"][0]["metadata"]["resourceVersion"],
        version
    );
}
