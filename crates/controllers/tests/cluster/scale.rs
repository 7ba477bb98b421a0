//! A large cluster. Run by hand: `cargo test -p orlop-controllers --test cluster -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use kube::api::ListParams;
use serde_json::json;

use crate::harness::Cluster;

const NODES: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long in a debug build; prints times"]
async fn a_daemon_set_on_a_thousand_nodes() {
    let cluster = Cluster::start().await;
    for n in 0..NODES {
        cluster.add_node(&format!("n{n:04}"), json!({})).await;
    }
    let start = Instant::now();
    cluster.create_set("d", json!({})).await;
    // Looked at rarely: listing a thousand pods is work for the same two processors.
    let unbound = ListParams::default().fields("spec.nodeName=").limit(1);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = cluster.sets().get("d").await.unwrap().status.unwrap_or_default();
        let created = usize::try_from(started.current_number_scheduled).unwrap();
        if created == NODES && cluster.pods().list(&unbound).await.unwrap().items.is_empty() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{created} created");
    }
    println!("{NODES} daemon pods created and bound: {:?}", start.elapsed());
    cluster
        .expect_status("d", [1000, 1000, 1000, 1000, 1000, 0])
        .await;
    println!("{NODES} daemon pods ready in the status: {:?}", start.elapsed());
}
