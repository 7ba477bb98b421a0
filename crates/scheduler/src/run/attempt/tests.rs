//! Pods that go, or come back as others, while they are tried.

use orlop_client::informer::Change;
use serde_json::json;

use super::*;
use crate::run::testing::scheduler;

/// A scheduler that knows a node.
async fn with_a_node() -> Arc<Scheduler> {
    let scheduler = Arc::new(scheduler().await);
    let node =
        json!({"metadata": {"name": "n", "uid": "n"}, "status": {"allocatable": {"cpu": "1", "pods": "9"}}});
    for change in scheduler
        .nodes
        .store()
        .apply(serde_json::from_value(node).unwrap())
    {
        scheduler.node(&change);
    }
    scheduler
}

/// The pod of that uid is there; what is to be told of that.
fn came(scheduler: &Scheduler, uid: &str) -> Vec<Change<PodView>> {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": uid}, "spec": {"containers": []}});
    scheduler.pods.store().apply(serde_json::from_value(pod).unwrap())
}

fn tell(scheduler: &Scheduler, changes: &[Change<PodView>]) {
    changes.iter().for_each(|change| scheduler.pod(change));
}

#[tokio::test]
async fn a_pod_that_comes_back_as_another_while_it_is_tried_is_tried_itself() {
    let key = ObjectKey::new("ns", "p");
    let none: fn(&Scheduler) = |_| {};
    let goes: fn(&Scheduler) = |scheduler| {
        let change = scheduler.pods.store().remove(&ObjectKey::new("ns", "p"), 9);
        tell(scheduler, &[change.unwrap()]);
    };
    let comes_back: fn(&Scheduler) = |scheduler| tell(scheduler, &came(scheduler, "new"));
    for (what, meanwhile, is_placed, waits) in [
        ("nothing", none, true, false),
        ("it goes", goes, false, false),
        ("it comes back as another", comes_back, false, true),
    ] {
        let scheduler = with_a_node().await;
        tell(&scheduler, &came(&scheduler, "old"));
        assert_eq!(scheduler.state().queue.next(Instant::now()).as_ref(), Some(&key));
        let pod = scheduler.pods.store().get(&key).unwrap();
        let PodView::Pending(pending) = &pod.object else {
            panic!("it waits for a node: {:?}", pod.object)
        };
        let (profile, _) = &scheduler.profiles[&*pending.scheduler];
        meanwhile(&scheduler);
        let extenders = scheduler.extenders.minding(pending);
        let settled = scheduler.settle(&pod, pending, profile, None, &extenders, Instant::now());
        assert_eq!(settled.is_some(), is_placed, "{what}");
        let mut state = scheduler.state();
        assert_eq!(state.cluster.has_place(&key), is_placed, "{what}");
        assert_eq!(state.queue.next(Instant::now()).is_some(), waits, "{what}");
    }
}

#[tokio::test]
async fn another_pod_of_that_name_is_not_tried_before_it_is_told_of() {
    let key = ObjectKey::new("ns", "p");
    let scheduler = with_a_node().await;
    tell(&scheduler, &came(&scheduler, "old"));
    let news = came(&scheduler, "new");
    assert!(scheduler.schedule_one().await);
    assert!(!scheduler.state().cluster.has_place(&key));
    tell(&scheduler, &news);
    assert_eq!(scheduler.state().queue.next(Instant::now()).as_ref(), Some(&key));
}

#[tokio::test]
async fn a_pod_that_is_gone_before_that_is_told_is_not_forgotten_when_it_is_back() {
    let key = ObjectKey::new("ns", "p");
    let scheduler = with_a_node().await;
    tell(&scheduler, &came(&scheduler, "old"));
    let gone = scheduler.pods.store().remove(&key, 9).unwrap();
    assert!(scheduler.schedule_one().await);
    assert!(!scheduler.schedule_one().await, "it isn't tried in a circle");
    tell(&scheduler, &[gone]);
    tell(&scheduler, &came(&scheduler, "new"));
    assert_eq!(scheduler.state().queue.next(Instant::now()).as_ref(), Some(&key));
}
