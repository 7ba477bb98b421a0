//! What pods may demand of each other and of their places, as the whole cluster carries it out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn pod(name: &str, labels: Value, spec: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 1}});
    orlop_api::patch::merge(&mut pod["spec"], &spec);
    serde_json::from_value(pod).unwrap()
}

async fn create(cluster: &Cluster, name: &str, labels: Value, spec: Value) {
    let pod = pod(name, labels, spec);
    cluster.pods().create(&PostParams::default(), &pod).await.unwrap();
}

async fn node_of(cluster: &Cluster, pod: &str) -> String {
    eventually(&format!("a node for {pod}"), || async {
        cluster.pods().get(pod).await.unwrap().spec.unwrap().node_name
    })
    .await
}

/// Why the pod waits, once it says what `about` is in.
async fn told(cluster: &Cluster, pod: &str, about: &str) -> String {
    eventually(&format!("{pod} says {about:?}"), || async {
        let pod: Pod = cluster.pods().get(pod).await.unwrap();
        orlop_api::pod::condition(&pod, "PodScheduled")
            .filter(|condition| {
                condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable")
            })
            .and_then(|condition| condition.message.clone())
            .filter(|message| message.contains(about))
    })
    .await
}

fn cpu(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]})
}

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

async fn zones(cluster: &Cluster) {
    for (node, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        let labels = json!({"zone": zone, "kubernetes.io/hostname": node});
        cluster.add_node(node, labels).await;
    }
}

#[tokio::test]
async fn a_pod_waits_for_its_company_and_follows_it() {
    let cluster = Cluster::start().await;
    zones(&cluster).await;
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("zone", "db")]}}});
    create(&cluster, "web", json!({"app": "web"}), near).await;
    assert_eq!(
        told(&cluster, "web", "3 node(s) didn't match pod affinity").await,
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules. preemption: 0/3 nodes are available: \
         3 Preemption is not helpful for scheduling."
    );
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let event = eventually("the event", || async {
        let list = events
            .list(&ListParams::default().fields("reason=FailedScheduling"))
            .await
            .unwrap();
        list.items.into_iter().next()
    })
    .await;
    assert!(
        event
            .message
            .unwrap()
            .starts_with("0/3 nodes are available: 3 node(s) didn't match pod affinity rules.")
    );
    create(
        &cluster,
        "db",
        json!({"app": "db"}),
        json!({"nodeSelector": {"zone": "b"}}),
    )
    .await;
    assert_eq!(
        node_of(&cluster, "web").await,
        "b1",
        "an added pod wakes those who wait for it"
    );
}

#[tokio::test]
async fn pods_that_avoid_each_other_fill_the_nodes_one_each_and_the_next_waits() {
    let cluster = Cluster::start().await;
    zones(&cluster).await;
    let far = |key: &str| json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(key, "web")]}}});
    let mut nodes = Vec::new();
    for name in ["1", "2", "3"] {
        create(
            &cluster,
            name,
            json!({"app": "web"}),
            far("kubernetes.io/hostname"),
        )
        .await;
        nodes.push(node_of(&cluster, name).await);
    }
    nodes.sort();
    assert_eq!(nodes, ["a1", "a2", "b1"]);
    create(
        &cluster,
        "4",
        json!({"app": "web"}),
        far("kubernetes.io/hostname"),
    )
    .await;
    assert_eq!(
        told(&cluster, "4", "anti-affinity").await,
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are available: \
         3 No preemption victims found for incoming pod."
    );
    // One that has no rule itself is kept away by the rules of those that are there.
    create(&cluster, "5", json!({"app": "web"}), json!({})).await;
    assert_eq!(
        told(&cluster, "5", "anti-affinity").await,
        "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules. \
         preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
    );
    cluster.pods().delete("2", &Default::default()).await.unwrap();
    eventually("a place", || async {
        let mut found = 0;
        for name in ["4", "5"] {
            found += usize::from(
                cluster
                    .pods()
                    .get(name)
                    .await
                    .unwrap()
                    .spec
                    .unwrap()
                    .node_name
                    .is_some(),
            );
        }
        (found == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn terms_may_select_namespaces_by_their_labels() {
    let cluster = Cluster::start().await;
    zones(&cluster).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = json!({"metadata": {"name": "prod", "labels": {"team": "red"}}});
    let namespace = serde_json::from_value(namespace).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(cluster.client.clone(), "prod");
    eventually("the account", || async {
        accounts.get_opt("default").await.unwrap()
    })
    .await;
    let prod: Api<Pod> = Api::namespaced(cluster.client.clone(), "prod");
    let db = pod("db", json!({"app": "db"}), json!({"nodeSelector": {"zone": "b"}}));
    prod.create(&PostParams::default(), &db).await.unwrap();
    let mut term = term("zone", "db");
    term["namespaceSelector"] = json!({"matchLabels": {"team": "red"}});
    let near =
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    create(&cluster, "web", json!({}), near).await;
    assert_eq!(node_of(&cluster, "web").await, "b1");
}

#[tokio::test]
async fn pods_spread_evenly_and_wait_rather_than_crowd() {
    let cluster = Cluster::start().await;
    zones(&cluster).await;
    cluster.add_node("bare", json!({})).await;
    let spread = json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    for name in ["1", "2", "3", "4"] {
        create(&cluster, name, json!({"app": "web"}), spread.clone()).await;
        node_of(&cluster, name).await;
    }
    let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
    let in_b = pods
        .iter()
        .filter(|pod| orlop_api::pod::node_name(pod) == "b1")
        .count();
    assert_eq!(in_b, 2);
    cluster
        .patch_node("b1", json!({"spec": {"unschedulable": true}}))
        .await;
    // This one shows that the scheduler has seen it.
    create(
        &cluster,
        "probe",
        json!({}),
        json!({"nodeSelector": {"kubernetes.io/hostname": "b1"}}),
    )
    .await;
    told(&cluster, "probe", "unschedulable").await;
    create(&cluster, "5", json!({"app": "web"}), spread.clone()).await;
    node_of(&cluster, "5").await;
    create(&cluster, "6", json!({"app": "web"}), spread).await;
    let message = told(&cluster, "6", "spread").await;
    assert!(
        message.starts_with(
            "0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), \
             1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints. preemption: "
        ),
        "{message}"
    );
    cluster
        .patch_node("b1", json!({"spec": {"unschedulable": null}}))
        .await;
    assert_eq!(node_of(&cluster, "6").await, "b1");
}

#[tokio::test]
async fn a_node_that_is_gone_is_no_emptier_place() {
    let cluster = Cluster::start().await;
    cluster.add_node("a1", json!({"zone": "a"})).await;
    cluster.add_node("b1", json!({"zone": "b"})).await;
    cluster
        .patch_node("b1", json!({"spec": {"unschedulable": true}}))
        .await;
    let there = json!({"nodeSelector": {"zone": "b"}});
    create(&cluster, "probe", json!({}), there).await;
    told(&cluster, "probe", "unschedulable").await;
    let spread = json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    create(&cluster, "1", json!({"app": "web"}), spread.clone()).await;
    assert_eq!(node_of(&cluster, "1").await, "a1");
    create(&cluster, "2", json!({"app": "web"}), spread).await;
    told(&cluster, "2", "spread").await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.delete("b1", &DeleteParams::default()).await.unwrap();
    assert_eq!(node_of(&cluster, "2").await, "a1");
}

#[tokio::test]
async fn gates_hold_a_pod_back_until_all_are_gone() {
    let cluster = Cluster::start().await;
    zones(&cluster).await;
    let gated = json!({"schedulingGates": [{"name": "test/a"}, {"name": "test/b"}]});
    create(&cluster, "p", json!({}), gated).await;
    let gated = cluster.pods().get("p").await.unwrap();
    let condition = orlop_api::pod::condition(&gated, "PodScheduled").unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_deref()),
        ("False", Some("SchedulingGated"))
    );
    let gates = |gates: Value| Patch::Merge(json!({"spec": {"schedulingGates": gates}}));
    let one = gates(json!([{"name": "test/b"}]));
    cluster
        .pods()
        .patch("p", &PatchParams::default(), &one)
        .await
        .unwrap();
    // One without gates shows that the scheduler went on.
    create(&cluster, "q", json!({}), json!({})).await;
    node_of(&cluster, "q").await;
    assert!(
        cluster
            .pods()
            .get("p")
            .await
            .unwrap()
            .spec
            .unwrap()
            .node_name
            .is_none()
    );
    cluster
        .pods()
        .patch("p", &PatchParams::default(), &gates(json!([])))
        .await
        .unwrap();
    node_of(&cluster, "p").await;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let scheduled = eventually("the event", || async {
        let fields = "reason=Scheduled,involvedObject.name=p";
        let list = events.list(&ListParams::default().fields(fields)).await.unwrap();
        list.items.into_iter().next()
    })
    .await;
    assert!(
        scheduled
            .message
            .unwrap()
            .starts_with("Successfully assigned default/p to ")
    );
}

#[tokio::test]
async fn preemption_spares_what_budgets_protect_and_names_the_node_it_makes_room_on() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2"] {
        cluster.add_node(node, json!({"name": node})).await;
    }
    let on = |node: &str, cpus: &str| {
        let mut spec = cpu(cpus);
        spec["nodeSelector"] = json!({"name": node});
        spec
    };
    create(&cluster, "protected", json!({"app": "protected"}), on("n1", "4")).await;
    create(&cluster, "free", json!({"app": "free"}), on("n2", "4")).await;
    for name in ["protected", "free"] {
        node_of(&cluster, name).await;
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client.clone(), "default");
    let budget = json!({"metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "protected"}}}});
    let budget = serde_json::from_value(budget).unwrap();
    budgets.create(&PostParams::default(), &budget).await.unwrap();
    eventually("the budget's status", || async {
        let status = budgets.get("b").await.unwrap().status?;
        (status.current_healthy == Some(1)).then_some(())
    })
    .await;
    // The victim doesn't go at once: until then the preemptor is nominated.
    let hold = Patch::Merge(json!({"metadata": {"finalizers": ["test/hold"]}}));
    cluster
        .pods()
        .patch("free", &PatchParams::default(), &hold)
        .await
        .unwrap();
    let mut important = cpu("3");
    important["priorityClassName"] = json!("system-cluster-critical");
    create(&cluster, "important", json!({}), important).await;
    let victim = eventually("the victim", || async {
        let pod = cluster.pods().get("free").await.unwrap();
        pod.metadata.deletion_timestamp.is_some().then_some(pod)
    })
    .await;
    let condition = orlop_api::pod::condition(&victim, "DisruptionTarget").unwrap();
    assert_eq!(
        (condition.reason.as_deref(), condition.message.as_deref()),
        (
            Some("PreemptionByScheduler"),
            Some("default-scheduler: preempting to accommodate a higher priority pod")
        )
    );
    let waiting = eventually("the nomination", || async {
        let pod = cluster.pods().get("important").await.unwrap();
        let nominated = pod.status.as_ref()?.nominated_node_name.clone()?;
        (nominated == "n2").then_some(pod)
    })
    .await;
    assert!(waiting.spec.unwrap().node_name.is_none());
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let preempted = eventually("the event", || async {
        let list = events
            .list(&ListParams::default().fields("reason=Preempted"))
            .await
            .unwrap();
        list.items.into_iter().next()
    })
    .await;
    let by = waiting.metadata.uid.unwrap();
    let related = preempted.related.unwrap();
    assert_eq!(
        (related.name.as_deref(), &related.uid),
        (Some("important"), &Some(by.clone()))
    );
    assert_eq!(
        preempted.message,
        Some(format!("Preempted by pod {by} on node n2"))
    );
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster
        .pods()
        .patch("free", &PatchParams::default(), &release)
        .await
        .unwrap();
    assert_eq!(node_of(&cluster, "important").await, "n2");
    let bound = cluster.pods().get("important").await.unwrap();
    assert_eq!(
        bound.status.unwrap().nominated_node_name,
        None,
        "cleared by the binding"
    );
    let spared = cluster.pods().get("protected").await.unwrap();
    assert!(spared.metadata.deletion_timestamp.is_none());
}

/// What couldn't be evicted stays as it was, and no event of it ever brings the pod back that needs its place.
#[tokio::test]
async fn a_victim_that_could_not_be_evicted_is_evicted_after_the_back_off() {
    let cluster = Cluster::bare().await;
    cluster.run_controllers();
    cluster.run_agents();
    let refused = Arc::new(AtomicBool::new(false));
    let (client, was_refused) = (cluster.scheduler_client(), refused.clone());
    let unreliable = orlop_client::in_process(tower::service_fn(move |request: Request<Body>| {
        let evicts = request.method() == Method::PATCH && request.uri().path().ends_with("/pods/low/status");
        let refuse = evicts && !was_refused.swap(true, Ordering::Relaxed);
        let client = client.clone();
        async move {
            if !refuse {
                return client.send(request).await;
            }
            let status = json!({"kind": "Status", "status": "Failure", "code": 500, "message": "not now"});
            let mut answer = Response::new(Body::from(status.to_string().into_bytes()));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(answer)
        }
    }));
    cluster.run_scheduler_through(unreliable, orlop_scheduler::Options::default());
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "default");
    eventually("the default account", || async {
        accounts.get_opt("default").await.unwrap()
    })
    .await;
    cluster.add_node("n1", json!({})).await;
    create(&cluster, "low", json!({}), cpu("4")).await;
    node_of(&cluster, "low").await;
    let mut important = cpu("3");
    important["priorityClassName"] = json!("system-cluster-critical");
    create(&cluster, "important", json!({}), important).await;
    assert_eq!(node_of(&cluster, "important").await, "n1");
    assert!(refused.load(Ordering::Relaxed));
    assert!(cluster.pods().get_opt("low").await.unwrap().is_none());
}

#[tokio::test]
async fn a_pod_that_never_preempts_says_so_and_waits() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    create(&cluster, "low", json!({}), cpu("4")).await;
    node_of(&cluster, "low").await;
    let classes: Api<k8s_openapi::api::scheduling::v1::PriorityClass> = Api::all(cluster.client.clone());
    let class = json!({"metadata": {"name": "polite"}, "value": 1000, "preemptionPolicy": "Never"});
    let class = serde_json::from_value(class).unwrap();
    classes.create(&PostParams::default(), &class).await.unwrap();
    let mut polite = cpu("1");
    polite["priorityClassName"] = json!("polite");
    create(&cluster, "polite", json!({}), polite).await;
    assert_eq!(
        told(&cluster, "polite", "cpu").await,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    );
    assert!(
        cluster
            .pods()
            .get("low")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );
}
