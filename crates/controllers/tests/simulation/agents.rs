//! Hollow nodes: each registers, shows signs of life, and plays what runs on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::kinds::{LEASES, NODES, PODS};
use crate::api::store::Actor;
use crate::api::write::{Deletion, Form};
use crate::api::{Key, Store};
use crate::faults::Faults;
use crate::random::Random;

const HEARTBEAT: Duration = Duration::from_secs(10);

/// The nodes there ever were, and whether their agents live.
#[derive(Default)]
pub struct Fleet {
    alive: Mutex<BTreeMap<String, bool>>,
}

impl Fleet {
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.alive.lock().unwrap()
    }

    pub fn is_alive(&self, node: &str) -> bool {
        self.lock().get(node).copied().unwrap_or(false)
    }

    pub fn set_alive(&self, node: &str, alive: bool) {
        self.lock().insert(node.to_owned(), alive);
    }

    /// Starts the agent of a node that registers itself with `labels`.
    pub fn join(
        self: &Arc<Self>,
        store: &Arc<Store>,
        faults: &Arc<Faults>,
        node: &str,
        labels: Value,
        random: Random,
    ) {
        self.set_alive(node, true);
        let agent = Agent {
            fleet: self.clone(),
            store: store.clone(),
            faults: faults.clone(),
            node: node.to_owned(),
            labels,
            random,
            pods: BTreeMap::new(),
            heartbeat: None,
        };
        tokio::spawn(agent.run());
    }
}

struct Agent {
    fleet: Arc<Fleet>,
    store: Arc<Store>,
    faults: Arc<Faults>,
    node: String,
    labels: Value,
    random: Random,
    /// By uid.
    pods: BTreeMap<String, Running>,
    heartbeat: Option<Instant>,
}

struct Running {
    starts_at: Instant,
    stops_at: Option<Instant>,
    /// Not ready until then, though it runs.
    unready_until: Instant,
}

fn now() -> String {
    let seconds = Timestamp::now().as_second();
    Timestamp::from_second(seconds).unwrap().to_string()
}

impl Agent {
    async fn run(mut self) {
        loop {
            let pause = self.random.millis(200, 900);
            tokio::time::sleep(pause).await;
            if !self.fleet.is_alive(&self.node) {
                // A machine that was away starts anew.
                self.heartbeat = None;
                continue;
            }
            if self.heartbeat.is_none_or(|last| last.elapsed() >= HEARTBEAT) {
                self.heartbeat = Some(Instant::now());
                self.beat();
            }
            let mine: Vec<(Key, Arc<Value>)> = {
                let contents = self.store.lock();
                contents
                    .of_kind(&PODS)
                    .filter(|(_, pod)| pod["spec"]["nodeName"] == self.node.as_str())
                    .map(|(key, pod)| (key.clone(), pod.clone()))
                    .collect()
            };
            for (key, pod) in mine {
                self.play(&key, &pod);
            }
        }
    }

    fn beat(&self) {
        let node = Key::new(&NODES, "", &self.node);
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady",
            "lastHeartbeatTime": now(), "lastTransitionTime": now()});
        let status =
            json!({"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "conditions": [ready]});
        match self.store.get(&node) {
            Ok(known) => {
                let shown = known["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let is_ready =
                    |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
                if !shown.iter().any(is_ready) {
                    let change = json!({"status": {"conditions": [ready]}});
                    let _ = self
                        .store
                        .patch(Actor::Agent, &node, Some("status"), Form::Strategic, &change);
                }
            }
            Err(_) => {
                let object = json!({"metadata": {"name": self.node, "labels": self.labels}, "spec": {}, "status": status});
                self.store.create(Actor::Agent, &node, object).unwrap();
            }
        }
        let lease = Key::new(&LEASES, "kube-node-lease", &self.node);
        let time = Timestamp::now().to_string();
        let change = json!({"spec": {"renewTime": time}});
        if self
            .store
            .patch(Actor::Agent, &lease, None, Form::Merge, &change)
            .is_err()
        {
            let uid = self.store.get(&node).unwrap()["metadata"]["uid"].clone();
            let owner = json!({"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid});
            let object = json!({"metadata": {"name": self.node, "ownerReferences": [owner]},
                "spec": {"holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": time}});
            self.store.create(Actor::Agent, &lease, object).unwrap();
        }
    }

    fn play(&mut self, key: &Key, pod: &Value) {
        let now = Instant::now();
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let starts_in = self.random.millis(200, 3000);
        let stops_in = self.random.millis(100, 2500);
        let trouble = !self.faults.calm();
        let (falls, fails) = (trouble && self.random.chance(4), trouble && self.random.chance(2));
        let unready_for = self.random.millis(1000, 8000);
        let running = self.pods.entry(uid.clone()).or_insert(Running {
            starts_at: now + starts_in,
            stops_at: None,
            unready_until: now,
        });
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            if *running.stops_at.get_or_insert(now + stops_in) <= now {
                let deletion = Deletion {
                    uid: Some(uid.clone()),
                    grace_seconds: Some(0),
                    ..Deletion::default()
                };
                let _ = self.store.delete(Actor::Agent, key, &deletion);
                self.pods.remove(&uid);
            }
            return;
        }
        if matches!(phase, "Failed" | "Succeeded") || running.starts_at > now {
            return;
        }
        if fails && phase == "Running" {
            let change = json!({"status": {"phase": "Failed", "conditions": [ready(false)]}});
            let _ = self
                .store
                .patch(Actor::Agent, key, Some("status"), Form::Strategic, &change);
            return;
        }
        if falls {
            running.unready_until = now + unready_for;
        }
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let is_ready = running.unready_until <= now && !image.starts_with("broken");
        if phase != "Running" || shown_ready(pod) != Some(is_ready) {
            let change = json!({"status": {"phase": "Running", "conditions": [ready(is_ready)]}});
            let _ = self
                .store
                .patch(Actor::Agent, key, Some("status"), Form::Strategic, &change);
        }
    }
}

fn ready(is: bool) -> Value {
    json!({"type": "Ready", "status": if is { "True" } else { "False" }, "lastTransitionTime": now()})
}

/// Condition Ready, if the pod has it.
pub fn shown_ready(pod: &Value) -> Option<bool> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    Some(ready["status"] == "True")
}
