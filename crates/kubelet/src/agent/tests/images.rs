//! Images, from the pod's policy to what is told of them.
use super::*;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, Event};
use tokio::sync::Semaphore;

impl Cluster {
    /// What was told of a pod's containers so far, as `reason: message`.
    pub(super) async fn told(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.admin.clone(), "default");
        let all = events.list(&Default::default()).await.unwrap();
        let of_pod = all
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(name));
        of_pod
            .map(|event| {
                let (reason, message) = (
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default(),
                );
                format!("{reason}: {message}")
            })
            .collect()
    }

    /// Waits until it was told.
    pub(super) async fn until_told(&self, name: &str, what: &str) -> Vec<String> {
        let wait = async {
            loop {
                let told = self.told(name).await;
                if told.iter().any(|one| one.starts_with(what)) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, wait).await;
        match told {
            Ok(told) => told,
            Err(_) => panic!("{what:?} was not told of {name}: {:#?}", self.told(name).await),
        }
    }

    async fn create_of(&self, name: &str, image: &str, policy: &str) {
        let container = json!({"name": "c", "image": image, "imagePullPolicy": policy});
        let object =
            json!({"metadata": {"name": name}, "spec": {"nodeName": "n1", "containers": [container]}});
        let pod = serde_json::from_value(object).unwrap();
        self.pods.create(&PostParams::default(), &pod).await.unwrap();
    }
}

/// What the pod's container waits for.
fn waiting(pod: Option<&Pod>) -> Option<ContainerStateWaiting> {
    let statuses = pod?.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.clone()?.waiting
}

/// P10: that the pod is ready for its containers is told before their images are there.
#[tokio::test]
async fn p10_pod_is_ready_to_start_containers_before_its_image_is_pulled() {
    let cluster = Cluster::start().await;
    let gate = Arc::new(Semaphore::new(0));
    *cluster.runtime.pull_gate.lock() = Some(gate.clone());
    cluster.runtime.absent.lock().push("slow:1".into());
    cluster.create_of("p", "slow:1", "IfNotPresent").await;
    let is_ready_for_them = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "PodReadyToStartContainers" && condition.status == "True")
    };
    let pod = cluster
        .until("the condition", "p", is_ready_for_them)
        .await
        .unwrap();
    assert_eq!(orlop_api::pod::phase(&pod), "Pending");
    cluster.runtime.until("PullImage slow:1").await;
    assert_eq!(cluster.starts(), 0);
    gate.add_permits(1);
    cluster.until_running_but("the pod", "p", "").await;
    cluster
        .until_told("p", "Pulled: Successfully pulled image \"slow:1\" in ")
        .await;
}

/// B04: what is there is not pulled, and what is not to be pulled keeps the container from starting.
#[tokio::test]
async fn b04_image_that_is_there_is_not_pulled_and_never_means_never() {
    let cluster = Cluster::start().await;
    cluster.create_of("present", "i:1", "IfNotPresent").await;
    cluster.until_running_but("the pod", "present", "").await;
    let told = cluster.until_told("present", "Started").await;
    let pulled = "Pulled: Container image \"i:1\" already present on machine and can be accessed by the pod";
    assert!(told.iter().any(|one| one == pulled), "{told:#?}");
    assert!(!told.iter().any(|one| one.starts_with("Pulling")), "{told:#?}");
    cluster.runtime.absent.lock().push("absent:1".into());
    cluster.create_of("absent", "absent:1", "Never").await;
    let waits = |pod: Option<&Pod>| {
        waiting(pod).is_some_and(|waiting| waiting.reason.as_deref() == Some("ErrImageNeverPull"))
    };
    cluster.until("the reason", "absent", waits).await;
    let message = "ErrImageNeverPull: Container image \"absent:1\" is not present with pull policy of Never";
    cluster.until_told("absent", message).await;
    assert!(
        !cluster
            .runtime
            .calls()
            .iter()
            .any(|call| call.starts_with("PullImage"))
    );
}

/// Between two looks of the agent's own lie ten seconds and more.
#[tokio::test]
async fn an_image_that_is_never_pulled_starts_its_container_as_soon_as_it_comes() {
    let cluster = Cluster::start().await;
    cluster.runtime.absent.lock().push("late:1".into());
    cluster.create_of("p", "late:1", "Never").await;
    let waits = |pod: Option<&Pod>| pod.is_some_and(crate::images::is_awaited);
    cluster.until("the reason", "p", waits).await;
    cluster.runtime.absent.lock().clear();
    let came = Notice::Image("late:1".into());
    cluster.life.notices.send(came).await.unwrap();
    let running = cluster.until_running_but("the pod", "p", "");
    let soon = tokio::time::timeout(Duration::from_secs(8), running).await;
    assert!(soon.is_ok(), "nobody told the pod");
    let told = cluster.told("p").await;
    let times = told.iter().filter(|one| one.starts_with("ErrImageNeverPull"));
    assert!(times.count() <= 1, "{told:#?}");
}

/// B06: so many pulls as are allowed go on at the same time; by default one after the other.
#[tokio::test]
async fn b06_parallel_pulls_overlap_and_serial_ones_do_not() {
    let two = |cluster: &Cluster| {
        let gate = Arc::new(Semaphore::new(0));
        *cluster.runtime.pull_gate.lock() = Some(gate.clone());
        cluster
            .runtime
            .absent
            .lock()
            .extend(["a:1".to_owned(), "b:1".to_owned()]);
        gate
    };
    let pulls = |cluster: &Cluster| cluster.runtime.count("PullImage");
    let parallel = |configuration: &mut KubeletConfiguration| {
        configuration.serialize_image_pulls = false;
        configuration.max_parallel_image_pulls = Some(5);
    };
    let cluster = Cluster::start_with(Arc::default(), parallel).await;
    let gate = two(&cluster);
    cluster.create_of("a", "a:1", "Always").await;
    cluster.create_of("b", "b:1", "Always").await;
    cluster.runtime.until("PullImage a:1").await;
    cluster.runtime.until("PullImage b:1").await;
    gate.add_permits(2);
    cluster.until_running_but("both pods", "b", "").await;

    let cluster = Cluster::start().await;
    let gate = two(&cluster);
    cluster.create_of("a", "a:1", "Always").await;
    cluster.create_of("b", "b:1", "Always").await;
    cluster.until_told("a", "Pulling").await;
    cluster.until_told("b", "Pulling").await;
    assert_eq!(pulls(&cluster), 1, "the other one waits for its turn");
    gate.add_permits(2);
    cluster.until_running_but("the first", "a", "").await;
    cluster.until_running_but("the second", "b", "").await;
}

/// B03: why an image is not there is told, then that it is waited for, which the container's state says with the reason.
#[tokio::test]
async fn b03_image_that_cannot_be_pulled_is_told_of_with_its_back_off() {
    let cluster = Cluster::start().await;
    cluster.runtime.absent.lock().push("gone:1".into());
    cluster.runtime.failing.lock().push("PullImage".into());
    cluster.create_of("p", "gone:1", "IfNotPresent").await;
    for told in [
        "Pulling: Pulling image \"gone:1\"",
        "Failed: Failed to pull image \"gone:1\": ",
        "Failed: Error: ErrImagePull",
        "BackOff: Back-off pulling image \"gone:1\"",
        "Failed: Error: ImagePullBackOff",
    ] {
        cluster.until_told("p", told).await;
    }
    let holds = |pod: Option<&Pod>| {
        let waiting = waiting(pod).unwrap_or_default();
        let message = waiting.message.unwrap_or_default();
        waiting.reason.as_deref() == Some("ImagePullBackOff")
            && message.starts_with("Back-off pulling image \"gone:1\": ErrImagePull: ")
    };
    let pod = cluster.until("its back-off", "p", holds).await.unwrap();
    assert_eq!(orlop_api::pod::phase(&pod), "Pending");
    assert_eq!(cluster.starts(), 0);
}

/// Registries are asked no more often than the configuration has it, which the pod is told like any failed pull.
#[tokio::test]
async fn pulls_beyond_the_rate_are_put_off_and_told_of() {
    let none = |configuration: &mut KubeletConfiguration| configuration.registry_burst = 0;
    let cluster = Cluster::start_with(Arc::default(), none).await;
    cluster.runtime.absent.lock().push("a:1".into());
    cluster.create_of("p", "a:1", "IfNotPresent").await;
    for told in [
        "Failed: Failed to pull image \"a:1\": pull QPS exceeded",
        "Failed: Error: ErrImagePull",
        "BackOff: Back-off pulling image \"a:1\"",
    ] {
        cluster.until_told("p", told).await;
    }
    let holds = |pod: Option<&Pod>| {
        let waiting = waiting(pod).unwrap_or_default();
        let message = waiting.message.unwrap_or_default();
        message == "Back-off pulling image \"a:1\": ErrImagePull: pull QPS exceeded"
    };
    cluster.until("its back-off", "p", holds).await;
    let calls = cluster.runtime.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("PullImage")),
        "{calls:#?}"
    );
}

/// N13: what is told of one pod, and of which container.
#[tokio::test]
async fn n13_events_of_a_pod_from_its_start_to_its_end_name_the_container() {
    let cluster = Cluster::start().await;
    cluster.create_of("p", "i:1", "IfNotPresent").await;
    cluster.until_running_but("the pod", "p", "").await;
    cluster.pods.delete("p", &DeleteParams::default()).await.unwrap();
    let told = cluster.until_told("p", "Killing").await;
    for one in [
        "Created: Container created",
        "Started: Container started",
        "Killing: Stopping container c",
    ] {
        assert!(told.iter().any(|told| told == one), "{one}: {told:#?}");
    }
    let events: Api<Event> = Api::namespaced(cluster.admin.clone(), "default");
    let all = events.list(&Default::default()).await.unwrap();
    let of_container = |event: &&Event| {
        let reasons = ["Pulled", "Created", "Started", "Killing"];
        event
            .reason
            .as_deref()
            .is_some_and(|reason| reasons.contains(&reason))
    };
    let mut paths = all
        .iter()
        .filter(of_container)
        .map(|event| event.involved_object.field_path.clone());
    assert!(
        paths.all(|path| path.as_deref() == Some("spec.containers{c}")),
        "{all:#?}"
    );
}

/// An image that was collected comes back from its archive, whatever the policy makes of registries.
#[tokio::test]
async fn an_image_that_lies_in_an_archive_is_imported_instead_of_pulled() {
    let cluster = Cluster::start().await;
    for (name, image, policy) in [("p", "kept:1", "IfNotPresent"), ("q", "kept:2", "Never")] {
        cluster.runtime.absent.lock().push(image.into());
        cluster.runtime.archived.lock().push(image.into());
        cluster.create_of(name, image, policy).await;
        cluster.until_running_but("the pod", name, "").await;
        cluster.until_told(name, "Pulled: ").await;
    }
    let calls = cluster.runtime.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("PullImage")),
        "{calls:?}"
    );
}

/// Nor does a pod wait for its archive any more once it is to end.
#[tokio::test]
async fn a_pod_that_waits_for_an_archive_ends_at_once() {
    let cluster = Cluster::start().await;
    *cluster.runtime.pull_gate.lock() = Some(Arc::new(Semaphore::new(0)));
    cluster.runtime.absent.lock().push("huge:1".into());
    cluster.runtime.archived.lock().push("huge:1".into());
    cluster.create_of("p", "huge:1", "IfNotPresent").await;
    cluster.runtime.until("Import huge:1").await;
    cluster.pods.delete("p", &DeleteParams::default()).await.unwrap();
    cluster.until("its end", "p", |pod| pod.is_none()).await;
}
