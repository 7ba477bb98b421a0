//! Clients that do random things to a few keys and write down what they were told.
use crate::check::Log;
use etcd_client::{Client, Compare, CompareOp, EventType, Txn, TxnOp, WatchOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Instant;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const KEYS: u32 = 5;

/// One call and its answer.
#[derive(Clone, Debug)]
pub struct Call {
    pub start: Instant,
    pub end: Instant,
    pub kind: Kind,
    /// `None`: the process was killed before it answered.
    pub outcome: Option<Outcome>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Put {
        key: String,
        value: String,
    },
    /// Puts if the key was last changed at the revision.
    Swap {
        key: String,
        value: String,
        expected: i64,
    },
    /// Puts the value under two keys.
    Pair {
        keys: [String; 2],
        value: String,
    },
    Delete {
        key: String,
    },
    Get {
        key: String,
    },
}

#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer's revision: of the write, or of the state that was read.
    pub revision: i64,
    /// Whether a swap did, or a delete found something.
    pub changed: bool,
    /// What a read found: value and the revision of its last change.
    pub found: Option<(String, i64)>,
}

pub struct Clients {
    running: JoinSet<Vec<Call>>,
    stop: CancellationToken,
}

impl Clients {
    pub async fn start(url: &str, seed: u64, count: u64) -> Self {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for number in 0..count {
            let client = Client::connect([url], None).await.unwrap();
            let random = StdRng::seed_from_u64(seed * 1000 + number);
            running.spawn(work(client, random, format!("{seed}-{number}"), stop.clone()));
        }
        Self { running, stop }
    }

    /// After the process was killed: everything that was called.
    pub async fn stop(self) -> Vec<Call> {
        self.stop.cancel();
        self.running.join_all().await.concat()
    }
}

async fn work(mut client: Client, mut random: StdRng, name: String, stop: CancellationToken) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    while !stop.is_cancelled() {
        let key = |random: &mut StdRng| format!("key-{}", random.random_range(0..KEYS));
        let value = format!("{name}-{}", calls.len());
        let one = key(&mut random);
        let kind = match random.random_range(0..10) {
            0..3 => Kind::Put { key: one, value },
            3..6 => {
                let expected = seen.get(&one).copied().unwrap_or(0);
                Kind::Swap {
                    key: one,
                    value,
                    expected,
                }
            }
            6 => {
                let other = format!("pair-{}", random.random_range(0..KEYS));
                Kind::Pair {
                    keys: [one, other],
                    value,
                }
            }
            7 => Kind::Delete { key: one },
            _ => Kind::Get { key: one },
        };
        let start = Instant::now();
        let answer = tokio::select! {
            answer = call(&mut client, &kind) => answer.ok(),
            // What is under way at the kill never gets an answer that could be trusted less.
            () = stop.cancelled() => None,
        };
        let end = Instant::now();
        let is_over = answer.is_none();
        if let (Some(outcome), Kind::Get { key } | Kind::Swap { key, .. }) = (&answer, &kind) {
            let at = match &outcome.found {
                Some((_, at)) => *at,
                None if outcome.changed => outcome.revision,
                None => 0,
            };
            seen.insert(key.clone(), at);
        }
        calls.push(Call {
            start,
            end,
            kind,
            outcome: answer,
        });
        if is_over {
            break;
        }
    }
    calls
}

async fn call(client: &mut Client, kind: &Kind) -> Result<Outcome, etcd_client::Error> {
    let at = |header: Option<&etcd_client::ResponseHeader>| header.map_or(0, |header| header.revision());
    let found = |kvs: &[etcd_client::KeyValue]| {
        kvs.first()
            .map(|kv| (kv.value_str().unwrap_or_default().to_owned(), kv.mod_revision()))
    };
    Ok(match kind {
        Kind::Put { key, value } => {
            let answer = client.put(key.as_str(), value.as_str(), None).await?;
            Outcome {
                revision: at(answer.header()),
                changed: true,
                found: None,
            }
        }
        Kind::Pair { keys, value } => {
            let puts = keys
                .iter()
                .map(|key| TxnOp::put(key.as_str(), value.as_str(), None));
            let answer = client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await?;
            Outcome {
                revision: at(answer.header()),
                changed: true,
                found: None,
            }
        }
        Kind::Swap { key, value, expected } => {
            let txn = Txn::new()
                .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, *expected)])
                .and_then([TxnOp::put(key.as_str(), value.as_str(), None)])
                .or_else([TxnOp::get(key.as_str(), None)]);
            let answer = client.txn(txn).await?;
            let read = answer
                .op_responses()
                .into_iter()
                .find_map(|response| match response {
                    etcd_client::TxnOpResponse::Get(get) => found(get.kvs()),
                    _ => None,
                });
            Outcome {
                revision: at(answer.header()),
                changed: answer.succeeded(),
                found: read,
            }
        }
        Kind::Delete { key } => {
            let answer = client.delete(key.as_str(), None).await?;
            Outcome {
                revision: at(answer.header()),
                changed: answer.deleted() > 0,
                found: None,
            }
        }
        Kind::Get { key } => {
            let answer = client.get(key.as_str(), None).await?;
            Outcome {
                revision: at(answer.header()),
                changed: false,
                found: found(answer.kvs()),
            }
        }
    })
}

/// Follows everything from the beginning, over all restarts.
#[derive(Debug, Default)]
pub struct Watcher {
    /// Revision, key, value; no value for a deletion.
    seen: Vec<(i64, String, Option<String>)>,
}

impl Watcher {
    /// Goes on where it was, until the process is killed.
    pub fn follow(mut self, url: &str) -> JoinHandle<Self> {
        let url = url.to_owned();
        tokio::spawn(async move {
            let from = self.seen.last().map_or(1, |(revision, ..)| revision + 1);
            let options = WatchOptions::new().with_all_keys().with_start_revision(from);
            let Ok(client) = Client::connect([url], None).await else {
                return self;
            };
            let Ok(mut stream) = client.watch_client().watch("", Some(options)).await else {
                return self;
            };
            while let Ok(Some(response)) = stream.message().await {
                for event in response.events() {
                    let kv = event.kv().unwrap();
                    let value = match event.event_type() {
                        EventType::Put => Some(kv.value_str().unwrap().to_owned()),
                        EventType::Delete => None,
                    };
                    self.seen
                        .push((kv.mod_revision(), kv.key_str().unwrap().to_owned(), value));
                }
            }
            self
        })
    }

    /// What it was told is the beginning of the log: no gap, no repetition, in order.
    pub fn check(&self, log: &Log) -> Result<(), String> {
        let mut seen = self.seen.clone();
        // The order inside one revision is not promised, but that all of it comes together.
        seen.sort();
        if seen
            .iter()
            .map(|(at, ..)| at)
            .ne(self.seen.iter().map(|(at, ..)| at))
        {
            return Err("a watch was told revisions out of order".to_owned());
        }
        log.begins_with(&seen)
    }
}
