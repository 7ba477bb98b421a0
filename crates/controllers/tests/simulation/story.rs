//! What users do while things go wrong: the life of some DaemonSets and of the nodes under them.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_api::annotations::{DAEMON_TEMPLATE_GENERATION, POD_TEMPLATE_GENERATION};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::agents::Fleet;
use crate::api::kinds::{DAEMON_SETS, NODES, PODS};
use crate::api::store::Actor;
use crate::api::write::{Deletion, Form};
use crate::api::{Key, Store};
use crate::faults::Faults;
use crate::invariants::pinned;
use crate::random::Random;

/// An image whose pods run and never become ready.
const BROKEN: &str = "broken:1";

/// A run's users.
pub struct Story {
    pub store: Arc<Store>,
    pub faults: Arc<Faults>,
    pub fleet: Arc<Fleet>,
    pub random: Random,
    /// Each DaemonSet keeps its strategy: the promises under test depend on it.
    strategies: Vec<Value>,
    images: u64,
    nodes: u64,
}

impl Story {
    pub fn new(store: Arc<Store>, faults: Arc<Faults>, fleet: Arc<Fleet>, mut random: Random) -> Self {
        let strategies = (0..random.between(1, 3))
            .map(|_| match random.below(8) {
                0 => json!({"type": "OnDelete"}),
                1 | 2 => rolling(0, random.between(1, 2)),
                _ => rolling(random.between(1, 3), 0),
            })
            .collect();
        Self {
            store,
            faults,
            fleet,
            random,
            strategies,
            images: 1,
            nodes: 0,
        }
    }

    /// Acts until all goes well, then puts right what only users can.
    pub async fn tell(&mut self) {
        for _ in 0..self.random.between(2, 8) {
            self.add_node();
        }
        for number in 0..self.strategies.len() {
            self.create(number);
        }
        while Instant::now() < self.faults.until {
            sleep(self.random.millis(200, 12_000)).await;
            if self.random.chance(150) {
                self.store.compact();
            }
            self.act();
        }
        self.put_right();
    }

    fn act(&mut self) {
        let number = self.random.below(self.strategies.len() as u64);
        let set = Key::new(&DAEMON_SETS, "default", &format!("d{number}"));
        let number = usize::try_from(number).unwrap();
        match self.random.below(27) {
            0..=4 => {
                self.images += 1;
                let image = format!("img:{}", self.images);
                self.change_template(&set, json!({"containers": [container(&image)]}));
            }
            5 => self.change_template(&set, json!({"containers": [container(BROKEN)]})),
            6 => {
                let image = format!("img:{}", self.random.between(1, self.images));
                self.change_template(&set, json!({"containers": [container(&image)]}));
            }
            7 | 8 => {
                let zone = [json!({"zone": "a"}), json!({"zone": "b"}), Value::Null];
                let zone = self.random.pick(&zone).unwrap().clone();
                self.change_template(&set, json!({"nodeSelector": zone}));
            }
            9 => {
                let seconds = self.random.pick(&[0, 2, 8]).copied();
                self.change(&set, json!({"spec": {"minReadySeconds": seconds}}));
            }
            10 => {
                let tolerations = [Value::Null, json!([{"key": "k", "operator": "Exists"}])];
                let tolerations = self.random.pick(&tolerations).unwrap().clone();
                self.change_template(&set, json!({"tolerations": tolerations}));
            }
            11 => {
                let how = self.random.pick(&["Background", "Foreground", "Orphan"]).unwrap();
                let deletion = Deletion {
                    propagation: Some((*how).to_owned()),
                    ..Deletion::default()
                };
                let _ = self.store.delete(Actor::User, &set, &deletion);
            }
            12 | 13 => self.create(number),
            14 => self.change_node(|_| json!({"metadata": {"labels": {"zone": "a"}}})),
            15 => self.change_node(|_| json!({"metadata": {"labels": {"zone": "b"}}})),
            16 => self.change_node(|node| taint(node, "NoSchedule")),
            17 => self.change_node(|node| taint(node, "NoExecute")),
            18 => self.change_node(untaint),
            19 => self.change_node(
                |node| json!({"spec": {"unschedulable": node["spec"]["unschedulable"].is_null()}}),
            ),
            20 => self.add_node(),
            21 => self.remove_node(),
            22 => self.half_vanishes(),
            23 => self.all_return(),
            24 => self.forget_node(),
            _ => self.delete_pod(),
        }
    }

    fn change(&self, key: &Key, change: Value) {
        let _ = self.store.patch(Actor::User, key, None, Form::Merge, &change);
    }

    fn change_template(&self, set: &Key, change: Value) {
        self.change(set, json!({"spec": {"template": {"spec": change}}}));
    }

    fn create(&mut self, number: usize) {
        let name = format!("d{number}");
        let set = json!({"metadata": {"name": name}, "spec": {
            "selector": {"matchLabels": {"app": name}}, "updateStrategy": self.strategies[number],
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [container(&format!("img:{}", self.images))],
                    "terminationGracePeriodSeconds": 5}}}});
        let _ = self
            .store
            .create(Actor::User, &Key::new(&DAEMON_SETS, "default", &name), set);
    }

    fn add_node(&mut self) {
        self.nodes += 1;
        let zone = if self.random.chance(500) { "a" } else { "b" };
        let labels = json!({"kubernetes.io/hostname": format!("n{}", self.nodes), "zone": zone});
        let random = self.random.fork();
        self.fleet.join(
            &self.store,
            &self.faults,
            &format!("n{}", self.nodes),
            labels,
            random,
        );
    }

    fn any_node(&mut self) -> Option<(Key, Arc<Value>)> {
        let nodes: Vec<_> = {
            let contents = self.store.lock();
            contents
                .of_kind(&NODES)
                .map(|(key, node)| (key.clone(), node.clone()))
                .collect()
        };
        self.random.pick(&nodes).cloned()
    }

    fn change_node(&mut self, change: impl Fn(&Value) -> Value) {
        if let Some((key, node)) = self.any_node() {
            self.change(&key, change(&node));
        }
    }

    /// The machine is switched off for good, its Node deleted.
    fn remove_node(&mut self) {
        if let Some((key, _)) = self.any_node() {
            self.fleet.set_alive(&key.name, false);
            let _ = self.store.delete(Actor::User, &key, &Deletion::default());
        }
    }

    /// Its Node is deleted though the machine runs on: it registers anew.
    fn forget_node(&mut self) {
        if let Some((key, _)) = self.any_node() {
            let _ = self.store.delete(Actor::User, &key, &Deletion::default());
        }
    }

    fn half_vanishes(&mut self) {
        let names: Vec<String> = self.fleet.lock().keys().cloned().collect();
        for name in names {
            if self.random.chance(500) {
                self.fleet.set_alive(&name, false);
            }
        }
    }

    /// All whose Node is still there.
    fn all_return(&mut self) {
        let names: Vec<String> = {
            let contents = self.store.lock();
            contents
                .of_kind(&NODES)
                .map(|(key, _)| key.name.clone())
                .collect()
        };
        names.iter().for_each(|name| self.fleet.set_alive(name, true));
    }

    fn delete_pod(&mut self) {
        let pods: Vec<Key> = {
            let contents = self.store.lock();
            contents.of_kind(&PODS).map(|(key, _)| key.clone()).collect()
        };
        if let Some(pod) = self.random.pick(&pods).cloned() {
            let _ = self.store.delete(Actor::User, &pod, &Deletion::default());
        }
    }

    /// What nobody but users does. Pods that can't become ready are deleted where no update replaces them: under
    /// `OnDelete`, and where a set took over what a deleted one of its name left behind, of the same generation by chance. So
    /// are pods that were made for a node just before that was tainted, which otherwise wait there, and hold up updates as any
    /// pod does that isn't available; and those that wait for a node that was taken away.
    pub fn clear_away(&self) {
        let stuck: Vec<Key> = {
            let contents = self.store.lock();
            let sets: BTreeMap<String, Arc<Value>> = contents
                .of_kind(&DAEMON_SETS)
                .map(|(key, set)| (key.name.clone(), set.clone()))
                .collect();
            let shut_out = |pod: &Value| {
                let node = contents.get(&Key::new(&NODES, "", &pinned(pod)));
                let taints = node.map(|node| node["spec"]["taints"].as_array());
                let is_shut = taints.is_none_or(|taints| {
                    taints.is_some_and(|taints| taints.iter().any(|taint| taint["key"] == "k"))
                });
                pod["spec"]["nodeName"].is_null() && is_shut
            };
            let is_left = |set: &Value, pod: &Value| {
                let generation = &set["metadata"]["annotations"][DAEMON_TEMPLATE_GENERATION];
                set["spec"]["updateStrategy"]["type"] == "OnDelete"
                    || pod["metadata"]["labels"][POD_TEMPLATE_GENERATION] == *generation
            };
            let pods = contents.of_kind(&PODS).filter(|(_, pod)| {
                if shut_out(pod) {
                    return true;
                }
                let app = pod["metadata"]["labels"]["app"].as_str().unwrap_or_default();
                sets.get(app).is_some_and(|set| is_left(set, pod))
                    && pod["spec"]["containers"][0]["image"] == BROKEN
                    && pod["metadata"]["deletionTimestamp"].is_null()
            });
            pods.map(|(key, _)| key.clone()).collect()
        };
        for pod in stuck {
            let _ = self.store.delete(Actor::User, &pod, &Deletion::default());
        }
    }

    /// Dead nodes come back or are removed, images that can't run are replaced.
    fn put_right(&mut self) {
        if self.random.chance(500) {
            let dead: Vec<String> = {
                let fleet = self.fleet.lock();
                fleet
                    .iter()
                    .filter(|(_, alive)| !**alive)
                    .map(|(name, _)| name.clone())
                    .collect()
            };
            for name in dead {
                let _ = self
                    .store
                    .delete(Actor::User, &Key::new(&NODES, "", &name), &Deletion::default());
            }
        }
        self.all_return();
        for number in 0..self.strategies.len() {
            let set = Key::new(&DAEMON_SETS, "default", &format!("d{number}"));
            let image = self
                .store
                .get(&set)
                .map(|set| set["spec"]["template"]["spec"]["containers"][0]["image"].clone());
            if image.is_ok_and(|image| image == BROKEN) {
                self.change_template(&set, json!({"containers": [container("img:1")]}));
            }
        }
    }
}

fn rolling(unavailable: u64, surge: u64) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn container(image: &str) -> Value {
    json!({"name": "c", "image": image})
}

fn taint(node: &Value, effect: &str) -> Value {
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.retain(|taint| taint["key"] != "k");
    taints.push(json!({"key": "k", "effect": effect}));
    json!({"spec": {"taints": taints}})
}

fn untaint(node: &Value) -> Value {
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.retain(|taint| taint["key"] != "k");
    json!({"spec": {"taints": taints}})
}
