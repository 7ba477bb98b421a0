//! Clients that keep a cluster's registers busy: ConfigMaps, each read, written and swapped by several clients at once.
//! Every client goes to one API server and stays with it, so that what one server answers is held against the others.
use super::history::{Action, Call, INITIAL, Outcome, Value};
use http::{Method, Request};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use nix::sched::{CloneFlags, setns};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const REGISTERS: usize = 4;
/// After that nobody knows.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two calls of a client: the machine is for the cluster.
const PACE: Duration = Duration::from_millis(40);
/// After a call that came to nothing.
const PAUSE: Duration = Duration::from_millis(250);

/// Where clients go.
pub struct RegistersOptions {
    pub kubeconfig: PathBuf,
    /// Clients live in this network: a file of `/proc/<pid>/ns`.
    pub network: PathBuf,
    /// URLs of the API servers.
    pub servers: Vec<String>,
    pub clients_per_server: usize,
    pub seed: u64,
}

/// Running clients.
pub struct Registers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Vec<AtomicU64>>,
    threads: Vec<JoinHandle<Vec<Call>>>,
}

impl Registers {
    /// Starts clients; the registers must [be there](Self::objects).
    pub fn start(options: &RegistersOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<Vec<AtomicU64>> =
            Arc::new(options.servers.iter().map(|_| AtomicU64::new(0)).collect());
        let began = Instant::now();
        let kubeconfig = Kubeconfig::read_from(&options.kubeconfig).unwrap();
        let numbers = 0..options.servers.len() * options.clients_per_server;
        let threads = numbers.map(|number| {
            let server = number % options.servers.len();
            let one = OneClient {
                number,
                began,
                server: options.servers[server].clone(),
                kubeconfig: kubeconfig.clone(),
                random: StdRng::seed_from_u64(options.seed.wrapping_mul(1000) + number as u64),
                seen: vec![None; REGISTERS],
                written: 0,
                calls: Vec::new(),
            };
            let (stop, network) = (stop.clone(), options.network.clone());
            let acknowledged = acknowledged.clone();
            std::thread::spawn(move || {
                // Of this thread alone; connections are opened by it.
                setns(File::open(network).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(one.work(&stop, &acknowledged[server]))
            })
        });
        let threads = threads.collect();
        Self {
            stop,
            acknowledged,
            threads,
        }
    }

    /// The registers as they begin.
    pub fn objects() -> Json {
        let maps: Vec<Json> = (0..REGISTERS).map(|register| object(register, INITIAL)).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": maps})
    }

    /// How many calls each API server has answered.
    pub fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect()
    }

    /// Ends the clients; what they saw.
    pub fn stop(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        let histories = self.threads.into_iter().map(|thread| thread.join().unwrap());
        histories.flatten().collect()
    }
}

fn object(register: usize, value: Value) -> Json {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": format!("register-{register}"), "namespace": "default"},
        "data": {"value": value.to_string()},
    })
}

/// What is read out of an answer.
fn value_of(object: &Json) -> Option<Value> {
    object["data"]["value"].as_str()?.parse().ok()
}

struct OneClient {
    number: usize,
    began: Instant,
    server: String,
    kubeconfig: Kubeconfig,
    random: StdRng,
    /// What was read last of each register: its value and version.
    seen: Vec<Option<(Value, String)>>,
    written: u64,
    calls: Vec<Call>,
}

/// What an answer says of its call.
enum Told {
    /// The object as it is then.
    Object(Json),
    /// The outcome, without an object.
    Outcome(Outcome),
    /// It had no effect, and nothing was learnt.
    Nothing,
}

impl OneClient {
    async fn work(mut self, stop: &AtomicBool, acknowledged: &AtomicU64) -> Vec<Call> {
        let mut client = self.client().await;
        while !stop.load(Ordering::Relaxed) {
            let register = self.random.random_range(0..REGISTERS);
            let (action, version) = self.action(register);
            let began = self.now();
            let told = call(&client, register, action, version).await;
            let ended = self.now();
            let outcome = match told {
                Told::Object(object) => {
                    let value = value_of(&object);
                    self.seen[register] =
                        value.zip(object["metadata"]["resourceVersion"].as_str().map(str::to_owned));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    match action.writes() {
                        None => Some(Outcome::Read(value)),
                        Some(new) if value == Some(new) => Some(Outcome::Done),
                        // The answer shows another value than the one that was written.
                        Some(_) => Some(Outcome::Read(value)),
                    }
                }
                Told::Outcome(outcome) => Some(outcome),
                Told::Nothing => None,
            };
            let is_settled = matches!(outcome, Some(Outcome::Read(_) | Outcome::Done | Outcome::Refused));
            if let Some(outcome) = outcome {
                self.calls.push(Call {
                    register,
                    client: self.number,
                    began,
                    ended,
                    action,
                    outcome,
                });
            }
            if is_settled {
                tokio::time::sleep(PACE).await;
            } else {
                self.seen[register] = None;
                // Its connection may be dead: a new one, as any client would after a while.
                client = self.client().await;
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.calls
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Something to do, and the version that a swap depends on.
    fn action(&mut self, register: usize) -> (Action, Option<String>) {
        let pick = self.random.random_range(0..10);
        if pick < 4 {
            return (Action::Read, None);
        }
        self.written += 1;
        let new = ((self.number as u64 + 1) << 32) | self.written;
        match (&self.seen[register], pick) {
            (Some((expected, version)), 7..) => {
                let expected = *expected;
                (Action::Swap { expected, new }, Some(version.clone()))
            }
            _ => (Action::Write(new), None),
        }
    }

    async fn client(&self) -> Client {
        let mut config =
            Config::from_custom_kubeconfig(self.kubeconfig.clone(), &KubeConfigOptions::default())
                .await
                .unwrap();
        config.cluster_url = self.server.parse().unwrap();
        config.connect_timeout = Some(CALL_TIMEOUT);
        Client::try_from(config).unwrap()
    }
}

async fn call(client: &Client, register: usize, action: Action, version: Option<String>) -> Told {
    let path = format!("{MAPS}/register-{register}");
    let (method, body) = match action.writes() {
        None => (Method::GET, Vec::new()),
        Some(new) => {
            let mut object = object(register, new);
            if let Some(version) = version {
                object["metadata"]["resourceVersion"] = json!(version);
            }
            (Method::PUT, object.to_string().into_bytes())
        }
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    let answer = tokio::time::timeout(CALL_TIMEOUT, client.request::<Json>(request)).await;
    match answer {
        Ok(Ok(object)) => Told::Object(object),
        Ok(Err(kube::Error::Api(status))) => refused(action, status.code),
        Ok(Err(error)) if never_sent(&error) => Told::Nothing,
        Ok(Err(_)) | Err(_) => Told::Outcome(Outcome::Unknown),
    }
}

/// What a refusal says.
fn refused(action: Action, code: u16) -> Told {
    match (code, action) {
        (404, _) => Told::Outcome(Outcome::Read(None)),
        (409, Action::Swap { .. }) => Told::Outcome(Outcome::Refused),
        // Nobody let in, too busy, or in conflict for longer than the server tries: not written.
        (401 | 403 | 409 | 429, _) => Told::Nothing,
        _ => Told::Outcome(Outcome::Unknown),
    }
}

/// No connection was made.
fn never_sent(error: &kube::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            );
        }
        cause = error.source();
    }
    false
}
