//! The life of one node after it was registered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::chance::unit;
use crate::client::is_not_found;
use crate::fleet::World;
use crate::pods;
use crate::schedule::Health;

/// Before the next attempt of something that didn't work.
const AGAIN: Duration = Duration::from_secs(1);

/// Lives until its Node object is deleted: such a node was taken away.
pub async fn live(world: Arc<World>, number: usize, uid: String) {
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
                lease_due = match world.renew_lease(&name, &uid).await {
                    // What was missed isn't made up for.
                    Ok(()) => (lease_due + world.fleet.lease_interval).max(now),
                    Err(error) if is_not_found(&error) => match world.node_is_there(&name, &uid).await {
                        Some(false) => {
                            tracing::info!(node = name, "node was deleted");
                            return;
                        }
                        _ => now + AGAIN,
                    },
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
    /// Whether the node is still there, if that can be known; then it has a Lease again.
    async fn node_is_there(&self, name: &str, uid: &str) -> Option<bool> {
        let path = format!("/api/v1/nodes/{name}");
        match self
            .client
            .send(http::Method::GET, &path, crate::client::Body::None)
            .await
        {
            Ok(()) => {
                if let Err(error) = self.make_lease(name, uid).await {
                    tracing::debug!(node = name, %error, "lease not made");
                }
                Some(true)
            }
            Err(error) if is_not_found(&error) => Some(false),
            Err(_) => None,
        }
    }
}
