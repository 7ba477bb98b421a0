//! The life of one node after it was registered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use crate::chance::unit;
use crate::client::{Body, is_conflict, is_not_found};
use crate::fleet::{Registered, World};
use crate::pods;
use crate::schedule::Health;

/// Before the next attempt of something that didn't work.
const AGAIN: Duration = Duration::from_secs(1);

/// Lives until its Node object is deleted: such a node was taken away.
pub async fn live(world: Arc<World>, node: Registered) {
    let Registered {
        number,
        uid,
        mut lease,
    } = node;
    let name = world.fleet.node_name(number);
    let seed = world.fleet.schedule.seed;
    // Nodes don't speak all at once.
    let part = |of: Duration, which: u64| of.mul_f64(unit(seed, &[number as u64, which]));
    let mut lease_due = Instant::now() + part(world.fleet.lease_interval, 1);
    let mut status_due = Instant::now() + part(world.fleet.status_interval, 2);
    let mut health = Health::Well;
    loop {
        let (now_is, until) = world.fleet.schedule.health(number as u64, world.began.elapsed());
        if now_is != health {
            if let Some(seat) = world.seats.get(name.as_str()) {
                seat.silent.store(now_is == Health::Silent, Ordering::Relaxed);
            }
            if health == Health::Silent {
                lease_due = Instant::now();
                pods::resume(&world, &name);
            }
            health = now_is;
            status_due = Instant::now();
        }
        let now = Instant::now();
        if health != Health::Silent {
            if lease_due <= now {
                let mut renewed = world.renew_lease(&name, &uid, &lease).await;
                if renewed.as_ref().is_err_and(is_gone_or_changed) {
                    if world.node_is_there(&name).await == Some(false) {
                        tracing::info!(node = name, "node was deleted");
                        return;
                    }
                    renewed = world.make_lease(&name, &uid).await;
                }
                lease_due = match renewed {
                    Ok(version) => {
                        lease = version;
                        // What was missed isn't made up for.
                        (lease_due + world.fleet.lease_interval).max(now)
                    }
                    Err(error) => {
                        tracing::debug!(node = name, %error, "lease not renewed");
                        now + AGAIN
                    }
                };
            }
            if status_due <= now {
                status_due = match world.post_status(&name, health == Health::Well).await {
                    Ok(()) => now + world.fleet.status_interval,
                    Err(error) => {
                        tracing::debug!(node = name, %error, "status not posted");
                        now + AGAIN
                    }
                };
            }
        }
        let changes = until.map(|until| world.began + until);
        let due = (health != Health::Silent).then_some(lease_due.min(status_due));
        match changes.into_iter().chain(due).min() {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

impl World {
    /// Whether the node is still there, if that can be known.
    async fn node_is_there(&self, name: &str) -> Option<bool> {
        let path = format!("/api/v1/nodes/{name}");
        match self.client.send(Method::GET, &path, Body::None).await {
            Ok(()) => Some(true),
            Err(error) if is_not_found(&error) => Some(false),
            Err(_) => None,
        }
    }
}

fn is_gone_or_changed(error: &kube::Error) -> bool {
    is_not_found(error) || is_conflict(error)
}
