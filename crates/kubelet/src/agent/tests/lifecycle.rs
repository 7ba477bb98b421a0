//! What becomes of pods, as their objects tell.
use super::*;
use std::time::Instant;
use tokio::net::TcpListener;

impl Cluster {
    /// The runtime tells that something may have happened.
    async fn look_again(&self) {
        let news = Notice::Subscribed(orlop_cri::events::Source::Containerd);
        self.life.notices.send(news).await.unwrap();
    }
}

fn moments(pod: &Pod, kinds: &[&str]) -> Vec<Timestamp> {
    let conditions = pod.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let of = |kind: &&str| {
        let found = conditions.iter().find(|condition| condition.type_ == **kind);
        found.unwrap().last_transition_time.as_ref().unwrap().0
    };
    kinds.iter().map(of).collect()
}

fn is_ready(pod: Option<&Pod>) -> bool {
    pod.is_some_and(orlop_api::pod::is_ready)
}

/// The order in which conditions became true, as a watcher of the pod sees it.
async fn order_of_truth(pods: Api<Pod>, name: &str) -> Vec<String> {
    let parameters = kube::api::WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut changes = pods.watch(&parameters, "0").await.unwrap().boxed();
    let mut order: Vec<String> = Vec::new();
    while let Some(change) = changes.next().await {
        let (kube::api::WatchEvent::Added(pod) | kube::api::WatchEvent::Modified(pod)) = change.unwrap()
        else {
            continue;
        };
        for condition in pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
        {
            if condition.status == "True" && !order.contains(&condition.type_) {
                order.push(condition.type_.clone());
            }
        }
        if is_ready(Some(&pod)) {
            return order;
        }
    }
    order
}

fn position(order: &[String], kind: &str) -> usize {
    let found = order.iter().position(|one| one == kind);
    found.unwrap_or_else(|| panic!("{kind} never became true: {order:?}"))
}

/// P07: a pod without init containers is initialised at once.
#[tokio::test]
async fn p07_conditions_of_a_pod_without_init_containers_become_true_in_order() {
    let cluster = Cluster::start().await;
    let order = tokio::spawn(order_of_truth(cluster.pods.clone(), "p"));
    cluster.create("p", json!({}), json!({})).await;
    let pod = cluster.until("a ready pod", "p", is_ready).await.unwrap();
    let kinds = [
        "PodScheduled",
        "Initialized",
        "PodReadyToStartContainers",
        "ContainersReady",
        "Ready",
    ];
    let times = moments(&pod, &kinds);
    assert!(times.is_sorted(), "{times:?}");
    let order = order.await.unwrap();
    assert!(
        position(&order, "Initialized") <= position(&order, "ContainersReady"),
        "{order:?}"
    );
}

/// P08: with init containers, the pod is ready for containers before it is initialised.
#[tokio::test]
async fn p08_conditions_of_a_pod_with_an_init_container_become_true_in_order() {
    let cluster = Cluster::start().await;
    let order = tokio::spawn(order_of_truth(cluster.pods.clone(), "p"));
    let spec = json!({"initContainers": [{"name": "i", "image": "i:1"}], "containers": [{"name": "c"}]});
    cluster.create_with("p", spec).await;
    cluster.runtime.until("StartContainer i").await;
    let for_containers = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.clone());
        let of = |kind: &str, status: &str| {
            let mut all = conditions.iter().flatten();
            all.any(|condition| condition.type_ == kind && condition.status == status)
        };
        of("PodReadyToStartContainers", "True") && of("Initialized", "False")
    };
    cluster.until("the first half", "p", for_containers).await;
    cluster.runtime.exit("i", 0);
    cluster.look_again().await;
    let pod = cluster.until("a ready pod", "p", is_ready).await.unwrap();
    let kinds = [
        "PodScheduled",
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
        "Ready",
    ];
    let times = moments(&pod, &kinds);
    assert!(times.is_sorted(), "{times:?}");
    let order = order.await.unwrap();
    assert!(
        position(&order, "PodReadyToStartContainers") < position(&order, "Initialized"),
        "{order:?}"
    );
}

/// P17: what users write on a pod is none of its containers' business.
#[tokio::test]
async fn p17_changed_annotation_restarts_nothing() {
    let cluster = Cluster::start().await;
    cluster.create("p", json!({}), json!({})).await;
    cluster.until("a ready pod", "p", is_ready).await;
    let calls = cluster.runtime.calls();
    let patch = kube::api::Patch::Merge(json!({"metadata": {"annotations": {"note": "read me"}}, "spec":
        {"activeDeadlineSeconds": 1000}}));
    cluster
        .pods
        .patch("p", &Default::default(), &patch)
        .await
        .unwrap();
    // The agent has seen the new version when it says so.
    let seen = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            let observed = pod.status.as_ref().and_then(|status| status.observed_generation);
            observed.is_some() && observed == pod.metadata.generation && observed > Some(1)
        })
    };
    cluster.until("the new version to be seen", "p", seen).await;
    assert_eq!(cluster.runtime.calls(), calls);
}

/// S11: a pod that was bound without asking, and for which there is no room, fails with the numbers.
#[tokio::test]
async fn s11_pod_that_asks_for_more_processors_than_there_are_fails_with_numbers() {
    let cluster = Cluster::start().await;
    cluster.node.send_modify(|node| {
        let mut small = Node::clone(node.as_ref().unwrap());
        let allocatable = json!({"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}});
        small.status = serde_json::from_value(allocatable).unwrap();
        *node = Some(Arc::new(small));
    });
    let asks = |cpu: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    cluster.create_with("half", asks("500m")).await;
    cluster.until_running_but("the first", "half", "").await;
    cluster.create_with("big", asks("3")).await;
    let over = |pod: Option<&Pod>| pod.is_some_and(orlop_api::pod::is_terminal);
    let status = cluster
        .until("its end", "big", over)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("OutOfcpu"))
    );
    assert_eq!(
        status.message.as_deref(),
        Some(
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 500, capacity: 2000"
        )
    );
    assert_eq!(cluster.starts(), 1);
}

/// N05: pods that have ended take no room and are not started again; those that run are found once each.
#[tokio::test]
async fn n05_terminated_pods_are_not_counted_and_none_is_there_twice() {
    let mut cluster = Cluster::start().await;
    cluster.node.send_modify(|node| {
        let mut small = Node::clone(node.as_ref().unwrap());
        let allocatable = json!({"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "51"}});
        small.status = serde_json::from_value(allocatable).unwrap();
        *node = Some(Arc::new(small));
    });
    let spec = || json!({"restartPolicy": "Never"});
    for index in 0..50 {
        cluster.create(&format!("ended{index}"), json!({}), spec()).await;
    }
    for index in 0..50 {
        let name = format!("ended{index}");
        cluster.runtime.until(&format!("StartContainer {name}")).await;
        cluster.runtime.exit(&name, 0);
    }
    cluster.look_again().await;
    let over = |pod: Option<&Pod>| pod.is_some_and(orlop_api::pod::is_terminal);
    for index in 0..50 {
        cluster.until("its end", &format!("ended{index}"), over).await;
    }
    for index in 0..50 {
        cluster
            .create(&format!("running{index}"), json!({}), spec())
            .await;
    }
    for index in 0..50 {
        cluster
            .until_running_but("a pod", &format!("running{index}"), "")
            .await;
    }
    let made = cluster.runtime.count("RunPodSandbox");
    assert_eq!((made, cluster.runtime.running().len()), (100, 50));

    cluster.restart().await;
    // It is the last of those that the next agent finds, and there is room for just this one.
    cluster.create("late", json!({}), spec()).await;
    cluster.until_running_but("the last pod", "late", "").await;
    let running = cluster.runtime.running().len();
    let made = cluster.runtime.count("RunPodSandbox");
    assert_eq!((made, running), (101, 51));
    for index in 0..50 {
        let of = |name: String, phase: &'static str| {
            let pods = &cluster.pods;
            async move {
                let pod = pods.get(&name).await.unwrap();
                assert_eq!(orlop_api::pod::phase(&pod), phase, "{:#?}", pod.status);
            }
        };
        of(format!("ended{index}"), "Succeeded").await;
        of(format!("running{index}"), "Running").await;
    }
}

/// T07: that its postStart hook failed is told, and that the container goes for it.
#[tokio::test]
async fn t07_failed_post_start_hook_is_told_of_with_the_end_of_its_container() {
    let cluster = Cluster::start().await;
    cluster.runtime.failing.lock().push("ExecSync".into());
    let lifecycle = json!({"postStart": {"exec": {"command": ["up"]}}});
    cluster
        .create_with(
            "p",
            json!({"containers": [{"name": "c", "lifecycle": lifecycle}]}),
        )
        .await;
    for told in [
        "FailedPostStartHook: PostStartHook failed",
        "Killing: FailedPostStartHook",
    ] {
        cluster.until_told("p", told).await;
    }
    cluster.runtime.until("StopContainer c 30").await;
}

/// A29 and I22: a sandbox that is lost is made anew, which is told, and the init containers come first again.
#[tokio::test]
async fn i22_lost_sandbox_is_told_of_and_the_pod_is_pending_until_it_is_initialised_again() {
    let cluster = Cluster::start().await;
    let spec = json!({"initContainers": [{"name": "i", "image": "i:1"}], "containers": [{"name": "c"}]});
    cluster.create_with("p", spec).await;
    cluster.runtime.until("StartContainer i").await;
    cluster.runtime.exit("i", 0);
    cluster.look_again().await;
    cluster.until("a ready pod", "p", is_ready).await;
    cluster.runtime.end_sandboxes();
    cluster.look_again().await;
    let begins_anew = |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        let init = status.and_then(|status| status.init_container_statuses.as_ref()?.first());
        let state = init.filter(|init| init.restart_count == 1);
        let runs = state.is_some_and(|init| init.state.as_ref().is_some_and(|state| state.running.is_some()));
        runs && pod.is_some_and(|pod| orlop_api::pod::phase(pod) == "Pending")
    };
    cluster
        .until("its init container to run again", "p", begins_anew)
        .await;
    let message = "SandboxChanged: Pod sandbox changed, it will be killed and re-created.";
    cluster.until_told("p", message).await;
    cluster.runtime.exit("i", 0);
    cluster.look_again().await;
    cluster.until_running_but("the pod", "p", "").await;
}

/// A11: as long as a source has not spoken, nothing is taken away.
#[tokio::test]
async fn a11_removed_manifest_stops_nothing_while_a_url_has_never_answered() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/pods", silent.local_addr().unwrap());
    let cluster =
        Cluster::start_with(Arc::default(), |configuration| configuration.static_pod_url = url).await;
    cluster.write("i:1");
    cluster.until_running_but("the pod", "web-n1", "").await;
    let running = cluster.runtime.running();
    std::fs::remove_file(cluster.manifests.join("web.yaml")).unwrap();
    cluster.settle().await;
    assert!(running.iter().all(|id| cluster.runtime.running().contains(id)));
    let calls = cluster.runtime.calls();
    assert!(!calls.iter().any(|call| call.starts_with("Stop")), "{calls:#?}");
}

/// Whoever waits for a pod's end is told when it takes longer than one and a half times its grace, ten seconds at least.
#[tokio::test]
async fn pod_that_makes_room_too_slowly_is_told_of() {
    let cluster = Cluster::start().await;
    cluster.create("p", json!({}), json!({})).await;
    let pod = cluster.until_running_but("the pod", "p", "").await;
    cluster.runtime.failing.lock().push("StopContainer".into());
    let (orders, uid) = (cluster.life.orders.clone(), uid_of(&pod));
    let began = Instant::now();
    tokio::spawn(async move {
        orders
            .stop(&uid, 1, crate::pods::verdict::Verdict::preempted())
            .await
    });
    let message =
        "ExceededGracePeriod: Container runtime did not kill the pod within specified grace period.";
    cluster.until_told("p", message).await;
    assert!(
        began.elapsed() >= Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// An agent that was killed at a pod's end leaves its volumes to the next one.
#[tokio::test]
async fn volumes_of_a_pod_that_has_finished_before_this_agent_are_given_back() {
    let cluster = Cluster::start().await;
    let object = json!({"metadata": {"name": "done"}, "spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i:1"}]}});
    let pod: Pod = serde_json::from_value(object).unwrap();
    let pod = cluster.pods.create(&PostParams::default(), &pod).await.unwrap();
    cluster.surroundings.held.lock().push(uid_of(&pod));
    let state = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
    let ended = json!({"name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 3, "state": state});
    let status = json!({"status": {"phase": "Succeeded", "containerStatuses": [ended]}});
    let status = kube::api::Patch::Merge(status);
    cluster
        .pods
        .patch_status("done", &Default::default(), &status)
        .await
        .unwrap();
    let target = json!({"apiVersion": "v1", "kind": "Node", "name": "n1"});
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "done"}, "target": target});
    let creation = PostParams::default();
    let bound = cluster
        .pods
        .create_subresource::<_, Value>("binding", "done", &creation, &binding);
    bound.await.unwrap();
    let released = async {
        while !cluster.surroundings.released.lock().contains(&uid_of(&pod)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, released).await.unwrap();
    cluster
        .pods
        .delete("done", &DeleteParams::default())
        .await
        .unwrap();
    cluster.until("its end", "done", |pod| pod.is_none()).await;
    assert_eq!(cluster.starts(), 0);
}
