//! An informer that writes down all it is told, over every restart of the server.
use futures::AsyncBufReadExt;
use http::Request;
use kube::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What it was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The state at a version: names and versions of the objects.
    Listed {
        at: u64,
        objects: BTreeMap<String, u64>,
    },
    Changed {
        at: u64,
        kind: String,
        name: String,
    },
}

pub struct Follower {
    pub told: Vec<Told>,
    /// Every object that was seen, whole.
    pub objects: Vec<Value>,
    /// How often it could not go on where it was.
    pub expired: usize,
    /// How often it went on where it was after the connection was cut.
    pub resumed: usize,
}

fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.unwrap_or_default().parse().unwrap_or_default()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Follows a collection until it is stopped.
pub fn follow(client: Client, path: &'static str, stop: CancellationToken) -> JoinHandle<Follower> {
    tokio::spawn(async move {
        let mut follower = Follower {
            told: Vec::new(),
            objects: Vec::new(),
            expired: 0,
            resumed: 0,
        };
        let mut at = None;
        while !stop.is_cancelled() {
            tokio::select! {
                () = follower.go_on(&client, path, &mut at) => {}
                () = stop.cancelled() => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        follower
    })
}

impl Follower {
    /// Lists if it has nothing to go on from; then watches until the connection ends.
    async fn go_on(&mut self, client: &Client, path: &str, at: &mut Option<u64>) {
        let from = match *at {
            Some(from) => from,
            None => {
                let request = Request::get(path).body(Vec::new()).unwrap();
                let Ok(list) = client.request::<Value>(request).await else {
                    return;
                };
                let items = list["items"].as_array().cloned().unwrap_or_default();
                let objects = items.iter().map(|item| (name(item), version(item))).collect();
                self.objects.extend(items);
                let from = version(&list);
                self.told.push(Told::Listed { at: from, objects });
                *at = Some(from);
                from
            }
        };
        let uri = format!("{path}?watch=true&allowWatchBookmarks=true&resourceVersion={from}");
        let request = Request::get(uri).body(Vec::new()).unwrap();
        let Ok(stream) = client.request_stream(request).await else {
            return;
        };
        if !matches!(self.told.last(), Some(Told::Listed { .. }) | None) {
            self.resumed += 1;
        }
        let mut lines = std::pin::pin!(stream.lines());
        while let Some(Ok(line)) = futures::StreamExt::next(&mut lines).await {
            // What was cut off was never told.
            let Ok(mut event) = serde_json::from_str::<Value>(&line) else {
                return;
            };
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            let object = event["object"].take();
            match kind.as_str() {
                "ERROR" => {
                    assert_eq!(object["code"], 410, "{object}");
                    self.expired += 1;
                    *at = None;
                    return;
                }
                "BOOKMARK" => *at = Some(version(&object)),
                _ => {
                    *at = Some(version(&object));
                    self.told.push(Told::Changed {
                        at: version(&object),
                        kind,
                        name: name(&object),
                    });
                    self.objects.push(object);
                }
            }
        }
    }
}
