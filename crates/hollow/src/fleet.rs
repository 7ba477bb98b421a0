//! The fleet: what it was asked for, and its start.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use orlop_client::informer::Informer;
use orlop_client::workqueue::WorkQueue;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chance::Share;
use crate::client::{Body, Client, is_conflict};
use crate::node;
use crate::objects;
use crate::pods::{self, Step};
use crate::schedule::Schedule;
use crate::view::HollowPod;

/// Where the nodes' Leases are.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// Nodes being registered at the same time.
const REGISTERING_MAX: usize = 32;
/// Before the next attempt to register a node that couldn't be.
const REGISTER_AGAIN: Duration = Duration::from_secs(1);

/// What a fleet is like.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// How many nodes.
    pub nodes: usize,
    /// Nodes are called `<prefix>-00000` and so on.
    pub prefix: String,
    /// Further labels of the nodes.
    pub labels: Vec<(String, String)>,
    /// Allocatable cpu of a node.
    pub cpu: String,
    /// Allocatable memory of a node.
    pub memory: String,
    /// Pods that a node takes.
    pub pods: String,
    /// From binding to running.
    pub start_delay: Duration,
    /// From deletion to gone.
    pub stop_delay: Duration,
    /// How many of the started pods fail.
    pub fail: Share,
    /// From running to failed.
    pub fail_after: Duration,
    /// When nodes are not there.
    pub schedule: Schedule,
    /// Between two renewals of a node's Lease.
    pub lease_interval: Duration,
    /// Between two posts of a status that didn't change.
    pub status_interval: Duration,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            nodes: 1,
            prefix: "hollow".to_owned(),
            labels: Vec::new(),
            cpu: "4".to_owned(),
            memory: "16Gi".to_owned(),
            pods: "110".to_owned(),
            start_delay: Duration::from_secs(1),
            stop_delay: Duration::ZERO,
            fail: Share::default(),
            fail_after: Duration::from_secs(10),
            schedule: Schedule::default(),
            lease_interval: Duration::from_secs(10),
            status_interval: Duration::from_secs(300),
        }
    }
}

impl Fleet {
    /// The name of a node.
    pub fn node_name(&self, number: usize) -> String {
        format!("{}-{number:05}", self.prefix)
    }
}

/// Why a fleet ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum HollowError {
    /// The first node was refused.
    #[error(
        "cannot register node {node}: {source}; check the kubeconfig's server, and that its user may create nodes"
    )]
    Register {
        /// The node.
        node: String,
        /// The server's words.
        source: Box<kube::Error>,
    },
    /// A bug.
    #[error("a task of the fleet panicked: {0}; please report it with the log above")]
    Panicked(String),
}

/// A node of the fleet, as its pods know it.
#[derive(Debug, Default)]
pub struct Seat {
    pub number: usize,
    /// Nothing is heard of it now.
    pub silent: AtomicBool,
    /// Pods it started so far.
    pub started: AtomicU64,
}

/// What all tasks share.
pub struct World {
    pub fleet: Fleet,
    pub client: Client,
    pub pods: Informer<HollowPod>,
    pub steps: WorkQueue<Step>,
    pub seats: HashMap<Arc<str>, Seat>,
    pub began: Instant,
}

/// Registers the nodes and keeps them alive until `shutdown`; they stay registered. Calls `registered` once all are.
pub async fn run(
    client: kube::Client,
    fleet: Fleet,
    registered: impl FnOnce(),
    shutdown: CancellationToken,
) -> Result<(), HollowError> {
    let seats = (0..fleet.nodes)
        .map(|number| {
            let seat = Seat {
                number,
                ..Seat::default()
            };
            (Arc::from(fleet.node_name(number)), seat)
        })
        .collect();
    let world = Arc::new(World {
        client: Client::new(client.clone()),
        pods: Informer::new(),
        steps: WorkQueue::new(),
        seats,
        began: Instant::now(),
        fleet,
    });
    // Dropped, and so aborted, on every way out.
    let mut tasks = JoinSet::new();
    pods::start(&world, client, &mut tasks);
    let mut living = JoinSet::new();
    let all = async {
        world.register_first().await?;
        let mut registering = futures::stream::iter(0..world.fleet.nodes)
            .map(|number| world.register_surely(number))
            .buffer_unordered(REGISTERING_MAX);
        while let Some(node) = registering.next().await {
            living.spawn(node::live(world.clone(), node));
        }
        Ok(())
    };
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        done = all => done?,
    }
    registered();
    let panicked = async {
        while let Some(ended) = living.join_next().await {
            if let Err(error) = ended {
                return error.to_string();
            }
        }
        // All nodes were deleted: nothing is left to do but to be asked to stop.
        std::future::pending().await
    };
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        why = panicked => Err(HollowError::Panicked(why)),
        ended = tasks.join_next() => {
            let why = ended.and_then(Result::err).map_or_else(|| "a task ended".to_owned(), |error| error.to_string());
            Err(HollowError::Panicked(why))
        }
    }
}

/// What is read of the answer to a write.
#[derive(Debug, Default, Deserialize)]
struct Written {
    #[serde(default)]
    metadata: WrittenMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenMetadata {
    uid: String,
    resource_version: String,
}

/// A node that is registered.
pub struct Registered {
    pub number: usize,
    pub uid: String,
    /// Version of its Lease.
    pub lease: String,
}

impl World {
    /// What is wrong with the first node is wrong with all.
    async fn register_first(&self) -> Result<(), HollowError> {
        if self.fleet.nodes == 0 {
            return Ok(());
        }
        self.register(0)
            .await
            .map(drop)
            .map_err(|source| HollowError::Register {
                node: self.fleet.node_name(0),
                source: Box::new(source),
            })
    }

    async fn register_surely(&self, number: usize) -> Registered {
        loop {
            match self.register(number).await {
                Ok(node) => return node,
                Err(error) => {
                    tracing::warn!(node = self.fleet.node_name(number), %error, "not registered, retrying");
                    tokio::time::sleep(REGISTER_AGAIN).await;
                }
            }
        }
    }

    /// Makes the Node and its Lease. One that is there already is taken over.
    async fn register(&self, number: usize) -> Result<Registered, kube::Error> {
        let now = jiff::Timestamp::now();
        let name = self.fleet.node_name(number);
        let body = objects::node(&self.fleet, number, true, now).to_string();
        let created: Result<Written, _> = self
            .client
            .ask(Method::POST, "/api/v1/nodes", Body::Object(body.as_bytes()))
            .await;
        let object = match created {
            Ok(object) => object,
            Err(error) if is_conflict(&error) => {
                let path = format!("/api/v1/nodes/{name}/status");
                let body = objects::node_status(true, now).to_string();
                self.client
                    .ask(Method::PATCH, &path, Body::Merge(body.as_bytes()))
                    .await?
            }
            Err(error) => return Err(error),
        };
        let uid = object.metadata.uid;
        let lease = self.make_lease(&name, &uid).await?;
        Ok(Registered { number, uid, lease })
    }

    /// Creates the node's Lease, or renews the one that is there; its version.
    pub async fn make_lease(&self, name: &str, uid: &str) -> Result<String, kube::Error> {
        let body = objects::lease(name, uid, None, jiff::Timestamp::now()).to_string();
        let created: Result<Written, _> = self
            .client
            .ask(Method::POST, LEASES, Body::Object(body.as_bytes()))
            .await;
        match created {
            Err(error) if is_conflict(&error) => {
                let there: Written = self
                    .client
                    .ask(Method::GET, &format!("{LEASES}/{name}"), Body::None)
                    .await?;
                self.renew_lease(name, uid, &there.metadata.resource_version)
                    .await
            }
            Err(error) => Err(error),
            Ok(created) => Ok(created.metadata.resource_version),
        }
    }

    /// Renews the node's Lease of that version; the next one.
    pub async fn renew_lease(&self, name: &str, uid: &str, version: &str) -> Result<String, kube::Error> {
        let body = objects::lease(name, uid, Some(version), jiff::Timestamp::now()).to_string();
        let renewed: Written = self
            .client
            .ask(
                Method::PUT,
                &format!("{LEASES}/{name}"),
                Body::Object(body.as_bytes()),
            )
            .await?;
        Ok(renewed.metadata.resource_version)
    }

    /// Posts the node's status.
    pub async fn post_status(&self, name: &str, ready: bool) -> Result<(), kube::Error> {
        let path = format!("/api/v1/nodes/{name}/status");
        let body = objects::node_status(ready, jiff::Timestamp::now()).to_string();
        self.client
            .send(Method::PATCH, &path, Body::Merge(body.as_bytes()))
            .await
    }

    /// Removes a pod that its node has stopped.
    pub async fn remove_pod(&self, path: &str, uid: &str) -> Result<(), kube::Error> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid}})
        .to_string();
        self.client
            .send(Method::DELETE, path, Body::Object(options.as_bytes()))
            .await
    }
}
