//! Clients that write random things through the API and keep what they were answered.
use http::{Method, Request};
use kube::Client;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const NAMES: u32 = 3;
pub const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Members of the groups of the clients' own definitions.
pub const GROUP_SUFFIX: &str = ".kill.example.com";

/// A write that was answered with success.
#[derive(Clone, Debug)]
pub enum Answered {
    /// The object, as it was answered.
    Wrote { key: String, object: Value },
    /// The object with this uid is gone.
    Deleted { key: String, uid: String },
}

pub struct Clients {
    running: JoinSet<Vec<Answered>>,
    stop: CancellationToken,
}

impl Clients {
    pub fn start(clients: Vec<Client>, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            let random = StdRng::seed_from_u64(seed * 1000 + number as u64);
            running.spawn(work(
                client,
                random,
                number,
                format!("{seed}-{number}"),
                stop.clone(),
            ));
        }
        Self { running, stop }
    }

    /// After the process was killed: everything that was answered.
    pub async fn stop(self) -> Vec<Answered> {
        self.stop.cancel();
        self.running.join_all().await.concat()
    }
}

/// What a call came to.
enum Outcome {
    Yes(Value),
    /// Refused with this code.
    No(u16),
    /// The server is gone, and nobody knows.
    Unknown,
}

async fn call(client: &Client, method: Method, path: &str, form: &str, body: &Value) -> Outcome {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", form)
        .body(body.to_string().into_bytes())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(value) => Outcome::Yes(value),
        Err(kube::Error::Api(status)) => Outcome::No(status.code),
        Err(_) => Outcome::Unknown,
    }
}

/// One thing to do.
struct Step {
    method: Method,
    path: String,
    form: &'static str,
    body: Value,
    /// Where the object is stored.
    key: String,
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

async fn work(
    client: Client,
    mut random: StdRng,
    number: usize,
    name: String,
    stop: CancellationToken,
) -> Vec<Answered> {
    let mut answered = Vec::new();
    // The last version seen of the objects that several clients replace.
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    for count in 0.. {
        let token = format!("{name}-{count}");
        let step = step(&mut random, number, &token, &seen);
        let outcome = tokio::select! {
            outcome = call(&client, step.method.clone(), &step.path, step.form, &step.body) => outcome,
            () = stop.cancelled() => Outcome::Unknown,
        };
        match outcome {
            Outcome::Unknown => break,
            Outcome::No(code) => {
                assert!(
                    [404, 405, 409, 429].contains(&code),
                    "{} {}: {code}",
                    step.method,
                    step.path
                );
                seen.remove(&step.key);
            }
            Outcome::Yes(value) if step.method == Method::DELETE => {
                let uid = [&value["details"]["uid"], &value["metadata"]["uid"]];
                let uid = uid.iter().find_map(|uid| uid.as_str()).unwrap().to_owned();
                // A definition goes once its objects are gone.
                if !step.path.starts_with(CRDS) {
                    answered.push(Answered::Deleted { key: step.key, uid });
                }
            }
            Outcome::Yes(value) => {
                seen.insert(step.key.clone(), value.clone());
                answered.push(Answered::Wrote {
                    key: step.key,
                    object: value,
                });
            }
        }
        if stop.is_cancelled() {
            break;
        }
    }
    answered
}

fn step(random: &mut StdRng, number: usize, token: &str, seen: &BTreeMap<String, Value>) -> Step {
    let pick = random.random_range(0..NAMES);
    let labels = json!({"metadata": {"labels": {"token": token}}});
    match random.random_range(0..20) {
        // Objects of its own: created, changed and deleted.
        0..4 => own(
            random,
            CONFIGMAPS,
            "configmaps/default",
            &format!("own-{number}-{pick}"),
            token,
        ),
        4..8 => own(
            random,
            PODS,
            "pods/default",
            &format!("own-{number}-{pick}"),
            token,
        ),
        // Objects of all: replaced over the version that was read.
        8..13 => {
            let (path, key) = (
                format!("{CONFIGMAPS}/shared-{pick}"),
                format!("configmaps/default/shared-{pick}"),
            );
            match seen.get(&key) {
                Some(last) => {
                    let mut body = last.clone();
                    body["data"]["token"] = json!(token);
                    Step {
                        method: Method::PUT,
                        path,
                        form: JSON,
                        body,
                        key,
                    }
                }
                // A patch that changes something tells what is there.
                None if random.random_bool(0.5) => Step {
                    method: Method::PATCH,
                    path,
                    form: MERGE,
                    body: labels,
                    key,
                },
                None => Step {
                    method: Method::POST,
                    path: CONFIGMAPS.to_owned(),
                    form: JSON,
                    body: configmap(&format!("shared-{pick}"), token),
                    key,
                },
            }
        }
        // A definition of its own, and its objects.
        13 => Step {
            method: Method::POST,
            path: CRDS.to_owned(),
            form: JSON,
            body: definition(number, token),
            key: format!("apiextensions.k8s.io/customresourcedefinitions/things.c{number}{GROUP_SUFFIX}"),
        },
        14 => Step {
            method: Method::DELETE,
            path: format!("{CRDS}/things.c{number}{GROUP_SUFFIX}"),
            form: JSON,
            body: json!({}),
            key: String::new(),
        },
        _ => {
            let version = if random.random_bool(0.5) { "v1" } else { "v2" };
            let group = format!("c{number}{GROUP_SUFFIX}");
            let name = format!("thing-{pick}");
            Step {
                method: Method::POST,
                path: format!("/apis/{group}/{version}/namespaces/default/things"),
                form: JSON,
                body: json!({"apiVersion": format!("{group}/{version}"), "kind": "Thing",
                    "metadata": {"name": name, "labels": {"token": token}}}),
                key: format!("{group}/things/default/{name}"),
            }
        }
    }
}

fn own(random: &mut StdRng, path: &str, keys: &str, name: &str, token: &str) -> Step {
    let key = format!("{keys}/{name}");
    let one = format!("{path}/{name}");
    match random.random_range(0..4) {
        0 | 1 => {
            let body = if path == PODS {
                pod(name, token)
            } else {
                configmap(name, token)
            };
            Step {
                method: Method::POST,
                path: path.to_owned(),
                form: JSON,
                body,
                key,
            }
        }
        2 => {
            let body = json!({"metadata": {"labels": {"token": token}}});
            Step {
                method: Method::PATCH,
                path: one,
                form: MERGE,
                body,
                key,
            }
        }
        _ => Step {
            method: Method::DELETE,
            path: one,
            form: JSON,
            body: json!({}),
            key,
        },
    }
}

fn configmap(name: &str, token: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"token": token}}, "data": {"token": token}})
}

/// As little of a pod as is accepted: everything else is the server's.
fn pod(name: &str, token: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"token": token}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}})
}

fn definition(number: usize, token: &str) -> Value {
    let group = format!("c{number}{GROUP_SUFFIX}");
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "default": {},
                "properties": {"size": {"type": "integer", "default": 7}}}}}}})
    };
    json!({"metadata": {"name": format!("things.{group}"), "labels": {"token": token}},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1", true), version("v2", false)]}})
}
