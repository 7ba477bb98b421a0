//! Cases that take minutes, under the simulated clock: nothing goes wrong but what the case is about.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::agents::{Fleet, shown_ready};
use crate::api::kinds::{DAEMON_SETS, EVENTS, NODES, PODS};
use crate::api::store::Actor;
use crate::api::write::{Deletion, Form};
use crate::api::{Key, Store};
use crate::faults::Faults;
use crate::invariants::Invariants;
use crate::random::Random;
use crate::run::{Part, Supervisor, on_a_thread_of_its_own, store};

/// A cluster in which all goes well.
struct Scene {
    store: Arc<Store>,
    fleet: Arc<Fleet>,
    faults: Arc<Faults>,
    random: Random,
    /// `kind name` of what controllers and scheduler wrote.
    writes: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new() -> Self {
        let mut random = Random::new(1);
        let fleet = Arc::new(Fleet::default());
        let writes: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = writes.clone();
        let store = store(random.fork(), move |_, commit| {
            if matches!(commit.by, Actor::Controllers | Actor::Scheduler) {
                noted
                    .lock()
                    .unwrap()
                    .push(format!("{} {}", commit.key.kind.plural, commit.key.name));
            }
        });
        let faults = Faults::none();
        let invariants = Arc::new(Invariants::new(fleet.clone()));
        for part in [Part::Controllers, Part::Scheduler] {
            let supervisor = Supervisor {
                part,
                store: store.clone(),
                faults: faults.clone(),
                invariants: invariants.clone(),
                random: random.fork(),
            };
            tokio::spawn(supervisor.run());
        }
        Self {
            store,
            fleet,
            faults,
            random,
            writes,
        }
    }

    fn join(&mut self, node: &str) {
        let random = self.random.fork();
        let labels = json!({"kubernetes.io/hostname": node});
        self.fleet.join(&self.store, &self.faults, node, labels, random);
    }

    fn create_set(&self, name: &str) {
        let set = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let key = Key::new(&DAEMON_SETS, "default", name);
        self.store.create(Actor::User, &key, set).unwrap();
    }

    /// A pod for `node`, with these tolerations and finalizers.
    fn create_pod(&self, name: &str, node: &str, tolerations: Value, finalizers: Value) {
        let pod = json!({"metadata": {"name": name, "finalizers": finalizers}, "spec": {
            "containers": [{"name": "c", "image": "i"}], "tolerations": tolerations,
            "nodeSelector": {"kubernetes.io/hostname": node}}});
        self.store
            .create(Actor::User, &Key::new(&PODS, "default", name), pod)
            .unwrap();
    }

    fn pod(&self, name: &str) -> Option<Value> {
        self.store.get(&Key::new(&PODS, "default", name)).ok()
    }

    fn node(&self, name: &str) -> Value {
        self.store.get(&Key::new(&NODES, "", name)).unwrap()
    }

    fn patch_node(&self, name: &str, change: &Value) {
        self.store
            .patch(
                Actor::User,
                &Key::new(&NODES, "", name),
                None,
                Form::Merge,
                change,
            )
            .unwrap();
    }

    fn taints(&self, node: &str) -> Vec<String> {
        let node = self.node(node);
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints
            .iter()
            .map(|taint| {
                let [key, effect] = ["key", "effect"].map(|part| taint[part].as_str().unwrap());
                format!("{}:{effect}", key.trim_start_matches("node.kubernetes.io/"))
            })
            .collect()
    }

    fn condition(&self, node: &str, kind: &str) -> (String, String, String) {
        let node = self.node(node);
        let conditions = node["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let condition = conditions
            .into_iter()
            .find(|condition| condition["type"] == kind)
            .unwrap();
        let text = |part: &str| condition[part].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    fn status(&self, set: &str) -> [i64; 4] {
        let set = self.store.get(&Key::new(&DAEMON_SETS, "default", set)).unwrap();
        [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "numberMisscheduled",
        ]
        .map(|field| set["status"][field].as_i64().unwrap_or(0))
    }

    /// uid, node and readiness of all pods, by node.
    fn pods(&self) -> Vec<(String, String, bool)> {
        let contents = self.store.lock();
        let mut pods: Vec<_> = contents
            .of_kind(&PODS)
            .map(|(_, pod)| {
                let text = |pointer: &str| {
                    pod.pointer(pointer)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                (
                    text("/spec/nodeName"),
                    text("/metadata/uid"),
                    shown_ready(pod) == Some(true),
                )
            })
            .collect();
        pods.sort();
        pods
    }

    /// Reason and message of the events about an object.
    fn events(&self, name: &str) -> Vec<(String, String)> {
        let contents = self.store.lock();
        contents
            .of_kind(&EVENTS)
            .filter(|(_, event)| event["involvedObject"]["name"] == name)
            .map(|(_, event)| {
                let text = |part: &str| event[part].as_str().unwrap_or_default().to_owned();
                (text("reason"), text("message"))
            })
            .collect()
    }
}

/// Waits until `look` says yes; how long that took.
async fn until(what: &str, seconds: u64, look: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !look() {
        assert!(
            began.elapsed().as_secs() < seconds,
            "{what}: not within {seconds} s"
        );
        sleep(Duration::from_millis(100)).await;
    }
    began.elapsed()
}

#[test]
fn n03_a_silent_node_and_its_pods_are_not_ready_and_its_daemon_pods_stay() {
    on_a_thread_of_its_own(1, || async {
        let mut scene = Scene::new();
        ["n1", "n2", "n3"].iter().for_each(|node| scene.join(node));
        scene.create_set("d");
        until("three ready pods", 30, || scene.status("d") == [3, 3, 3, 0]).await;
        let before = scene.pods();
        sleep(Duration::from_secs(60)).await;
        scene.fleet.set_alive("n1", false);
        let unknown = || scene.condition("n1", "Ready").0 == "Unknown";
        let took = until("Ready=Unknown", 70, unknown).await;
        assert!(
            (40..=62).contains(&took.as_secs()),
            "50 s after the last sign of life: {took:?}"
        );
        for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            let (status, reason, message) = scene.condition("n1", kind);
            let never = if kind == "Ready" {
                ("NodeStatusUnknown", "Kubelet stopped posting node status.")
            } else {
                ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
            };
            assert_eq!((&*status, (&*reason, &*message)), ("Unknown", never), "{kind}");
        }
        until("both taints", 15, || {
            scene.taints("n1") == ["unreachable:NoSchedule", "unreachable:NoExecute"]
        })
        .await;
        let pods = scene.pods();
        let readiness: Vec<bool> = pods.iter().map(|(_, _, ready)| *ready).collect();
        assert_eq!(readiness, [false, true, true], "its pod's condition says so");
        let about = scene.events("n1");
        let told = (
            "NodeNotReady".to_owned(),
            "Node n1 status is now: NodeNotReady".to_owned(),
        );
        assert!(about.contains(&told), "{about:?}");
        let name = {
            let contents = scene.store.lock();
            let pod = contents
                .of_kind(&PODS)
                .find(|(_, pod)| pod["spec"]["nodeName"] == "n1");
            pod.unwrap().0.name.clone()
        };
        let told = ("NodeNotReady".to_owned(), "Node is not ready".to_owned());
        assert!(scene.events(&name).contains(&told));
        sleep(Duration::from_secs(600)).await;
        let uids = |pods: &[(String, String, bool)]| pods.iter().map(|pod| pod.1.clone()).collect::<Vec<_>>();
        assert_eq!(uids(&scene.pods()), uids(&before), "daemon pods stay");
        assert_eq!(scene.status("d"), [2, 2, 2, 1]);
        scene.fleet.set_alive("n1", true);
        until("its return", 30, || {
            scene.taints("n1").is_empty() && scene.status("d") == [3, 3, 3, 0]
        })
        .await;
        assert_eq!(uids(&scene.pods()), uids(&before));
    });
}

#[test]
fn n05_on_a_single_node_nothing_is_evicted_when_its_agent_falls_silent() {
    on_a_thread_of_its_own(1, || async {
        let mut scene = Scene::new();
        scene.join("n1");
        scene.create_pod("p", "n1", json!([]), Value::Null);
        until("the pod", 30, || scene.pods().first().is_some_and(|pod| pod.2)).await;
        scene.fleet.set_alive("n1", false);
        until("the verdict", 70, || {
            scene.condition("n1", "Ready").0 == "Unknown"
        })
        .await;
        sleep(Duration::from_secs(900)).await;
        assert_eq!(scene.taints("n1"), ["unreachable:NoSchedule"]);
        assert!(scene.pod("p").unwrap()["metadata"]["deletionTimestamp"].is_null());
    });
}

#[test]
fn n07_a_pod_outlives_a_taint_by_its_toleration_seconds() {
    on_a_thread_of_its_own(1, || async {
        let mut scene = Scene::new();
        scene.join("n1");
        let seconds =
            |seconds: Value| json!([{"key": "k", "operator": "Exists", "tolerationSeconds": seconds}]);
        let effect = |mut tolerations: Value| {
            tolerations[0]["effect"] = json!("NoExecute");
            tolerations
        };
        for (name, tolerations) in [
            ("patient", effect(seconds(json!(70)))),
            ("spared", effect(seconds(json!(70)))),
            ("eternal", effect(seconds(Value::Null))),
        ] {
            scene.create_pod(name, "n1", tolerations, Value::Null);
        }
        until("three pods", 30, || {
            scene.pods().iter().filter(|pod| pod.2).count() == 3
        })
        .await;
        let taint = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
        scene.patch_node("n1", &taint);
        sleep(Duration::from_secs(65)).await;
        for name in ["patient", "spared", "eternal"] {
            let pod = scene.pod(name).unwrap();
            assert!(
                pod["metadata"]["deletionTimestamp"].is_null(),
                "{name} survives the first 65 s"
            );
        }
        // One gets a toleration without limit before its time is up.
        let key = Key::new(&PODS, "default", "spared");
        let forever = json!({"spec": {"tolerations": effect(seconds(Value::Null))}});
        scene
            .store
            .patch(Actor::User, &key, None, Form::Merge, &forever)
            .unwrap();
        until("the eviction", 15, || scene.pod("patient").is_none()).await;
        sleep(Duration::from_secs(300)).await;
        assert!(scene.pod("eternal").is_some() && scene.pod("spared").is_some());
        let cancelled = (
            "TaintManagerEviction".to_owned(),
            "Cancelling deletion of Pod default/spared".to_owned(),
        );
        assert!(
            scene.events("spared").contains(&cancelled),
            "{:?}",
            scene.events("spared")
        );
        let marked = (
            "TaintManagerEviction".to_owned(),
            "Marking for deletion Pod default/patient".to_owned(),
        );
        assert!(scene.events("patient").contains(&marked));
    });
}

#[test]
fn n11_pods_of_a_deleted_node_are_collected() {
    on_a_thread_of_its_own(1, || async {
        let mut scene = Scene::new();
        ["n1", "n2"].iter().for_each(|node| scene.join(node));
        scene.create_pod("lost", "n1", json!([]), Value::Null);
        scene.create_pod("held", "n1", json!([]), json!(["test/hold"]));
        scene.create_pod("ended", "n1", json!([]), json!(["test/hold"]));
        until("three pods", 30, || {
            scene.pods().iter().filter(|pod| pod.2).count() == 3
        })
        .await;
        // Two of one key, as they were taken before anybody looked: that prevents nothing.
        let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        let twice = json!({"spec": {"containers": [{"name": "c", "image": "i", "env": twice}]}});
        let key = Key::new(&PODS, "default", "held");
        scene
            .store
            .patch(Actor::User, &key, None, Form::Merge, &twice)
            .unwrap();
        let ended = json!({"status": {"phase": "Succeeded"}});
        let key = Key::new(&PODS, "default", "ended");
        scene
            .store
            .patch(Actor::User, &key, Some("status"), Form::Merge, &ended)
            .unwrap();
        scene.fleet.set_alive("n1", false);
        let node = Key::new(&NODES, "", "n1");
        scene
            .store
            .delete(Actor::User, &node, &Deletion::default())
            .unwrap();
        sleep(Duration::from_secs(38)).await;
        assert!(
            scene.pod("lost").is_some(),
            "the node may only be registering anew"
        );
        until("the removal", 30, || scene.pod("lost").is_none()).await;
        let disrupted = |pod: &Value| -> Option<Value> {
            let conditions = pod["status"]["conditions"].as_array()?;
            conditions
                .iter()
                .find(|condition| condition["type"] == "DisruptionTarget")
                .cloned()
        };
        let held = scene.pod("held").unwrap();
        assert_eq!(held["status"]["phase"], "Failed");
        assert_eq!(held["spec"]["containers"][0]["env"].as_array().unwrap().len(), 2);
        let condition = disrupted(&held).unwrap();
        assert_eq!(
            (&condition["reason"], &condition["message"]),
            (&json!("DeletionByPodGC"), &json!("PodGC: node no longer exists"))
        );
        let ended = scene.pod("ended").unwrap();
        assert_eq!(
            (&ended["status"]["phase"], disrupted(&ended)),
            (&json!("Succeeded"), None)
        );
        for pod in [held, ended] {
            assert!(!pod["metadata"]["deletionTimestamp"].is_null());
        }
    });
}

#[test]
fn half_of_the_fleet_vanishes_and_comes_back_and_no_daemon_pod_is_lost() {
    on_a_thread_of_its_own(1, || async {
        let mut scene = Scene::new();
        let nodes: Vec<String> = (0..30).map(|number| format!("n{number:02}")).collect();
        nodes.iter().for_each(|node| scene.join(node));
        scene.create_set("d");
        until("30 ready pods", 60, || scene.status("d") == [30, 30, 30, 0]).await;
        let uids = || scene.pods().into_iter().map(|pod| pod.1).collect::<Vec<_>>();
        let before = uids();
        let (gone, left) = nodes.split_at(15);
        gone.iter().for_each(|node| scene.fleet.set_alive(node, false));
        until("the verdicts", 90, || scene.status("d") == [15, 15, 15, 15]).await;
        sleep(Duration::from_secs(400)).await;
        assert!(
            gone.iter()
                .all(|node| scene.taints(node)[0] == "unreachable:NoSchedule")
        );
        assert!(left.iter().all(|node| scene.taints(node).is_empty()));
        assert_eq!(uids(), before);
        gone.iter().for_each(|node| scene.fleet.set_alive(node, true));
        until("their return", 60, || scene.status("d") == [30, 30, 30, 0]).await;
        assert_eq!(uids(), before, "every pod is the one that it was");
    });
}

#[test]
fn a_daemon_set_costs_one_creation_and_one_binding_a_node_and_few_statuses() {
    on_a_thread_of_its_own(1, || async {
        const FLEET: usize = 100;
        let mut scene = Scene::new();
        (0..FLEET).for_each(|number| scene.join(&format!("n{number}")));
        until("the nodes", 60, || {
            scene.store.lock().of_kind(&NODES).count() == FLEET
        })
        .await;
        sleep(Duration::from_secs(30)).await;
        scene.writes.lock().unwrap().clear();
        scene.create_set("d");
        let all = i64::try_from(FLEET).unwrap();
        until("all pods", 60, || scene.status("d") == [all, all, all, 0]).await;
        sleep(Duration::from_secs(30)).await;
        let writes = scene.writes.lock().unwrap();
        let of = |kind: &str| writes.iter().filter(|write| write.starts_with(kind)).count();
        assert_eq!(of("pods "), 2 * FLEET);
        assert_eq!(of("controllerrevisions "), 1);
        // Pods turn ready one by one over three seconds, and four times in each it is told how many have.
        let statuses = of("daemonsets ");
        assert!((2..=20).contains(&statuses), "{statuses} statuses");
    });
}
