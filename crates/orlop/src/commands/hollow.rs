//! `orlop hollow`: a fleet of nodes without machines.
use crate::cli::HollowArgs;
use crate::signals;
use anyhow::Result;
use orlop_hollow::{Fleet, Schedule, Trouble};

pub async fn hollow(arguments: HollowArgs) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    let client = orlop_client::connect(&arguments.kubeconfig).await?;
    let fleet = Fleet {
        nodes: arguments.nodes,
        prefix: arguments.prefix,
        labels: arguments.node_labels,
        cpu: arguments.cpu,
        memory: arguments.memory,
        pods: arguments.pods.to_string(),
        start_delay: arguments.start_delay,
        stop_delay: arguments.stop_delay,
        fail: arguments.fail,
        fail_after: arguments.fail_after,
        schedule: Schedule {
            seed: arguments.seed,
            vanish: Trouble {
                share: arguments.vanish,
                lasts: arguments.vanish_for,
            },
            flap: Trouble {
                share: arguments.flap,
                lasts: arguments.flap_for,
            },
        },
        lease_interval: arguments.lease_interval,
        ..Fleet::default()
    };
    let nodes = fleet.nodes;
    let registered = || println!("{nodes} nodes registered");
    Ok(orlop_hollow::run(client, fleet, registered, shutdown).await?)
}
