//! Add-ons are upgraded with the last master, where the cluster runs them.
use super::{node, upgrade_images};
use crate::paths::Root;
use anyhow::Result;
use orlop_cluster::addons::Addon;
use orlop_cluster::addons::upgrade::{Upgrade, is_right};
use orlop_cluster::api;
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::versions::{api_servers_of_others, listed};
use orlop_cri::Remote;
use serde_json::Value;
use std::time::Duration;

/// Exchanges the images of add-ons that are not skipped, each for one that this node has or can pull: where no registry has
/// it, the pods of every node would wait for it.
pub async fn upgrade(
    root: &Root,
    client: &kube::Client,
    cluster: &ClusterConfig,
    pods: &Value,
    skipped: &[Addon],
    patience: Duration,
) -> Result<()> {
    let behind = api_servers_of_others(pods, &cluster.kubernetes_version);
    if !behind.is_empty() {
        println!(
            "[addons] Add-ons are upgraded with the last master; there are still {}",
            listed(&behind)
        );
        return Ok(());
    }
    let remote = upgrade_images::runtime(root).await?;
    for addon in Addon::ALL.into_iter().filter(|addon| !skipped.contains(addon)) {
        let title = addon.title();
        match of(client, &remote, addon, cluster, patience).await? {
            (Upgrade::Absent, _) => println!("[addons] This cluster does without {title}: left out"),
            (Upgrade::UpToDate, image) => println!("[addons] {title} is up to date: {image}"),
            (Upgrade::Left(why), _) => println!(
                "[addons] Left {title} as it is: {why} (`orlop init phase addon {}` applies it whole)",
                addon.name()
            ),
            (Upgrade::Exchange(patch), image) => {
                let server = api::server(client).await?;
                for right in addon
                    .objects(cluster, &server, &image)?
                    .iter()
                    .filter(|o| is_right(o))
                {
                    api::apply(client, right).await?;
                }
                api::merge_strategically(client, &addon.workload(), &patch).await?;
                println!("[addons] Upgraded {title} to {image}");
            }
        }
    }
    Ok(())
}

/// What becomes of one, and the image that it is about.
async fn of(
    client: &kube::Client,
    remote: &Remote,
    addon: Addon,
    cluster: &ClusterConfig,
    patience: Duration,
) -> Result<(Upgrade, String)> {
    let config_map = api::get_patiently(client, &addon.config_map()).await?;
    let workload = api::get_patiently(client, &addon.workload()).await?;
    let to = |image: &str| addon.upgrade(config_map.as_ref(), workload.as_ref(), image);
    let usual = addon.image(cluster, std::iter::empty()).name;
    let upgrade = to(&usual);
    if !matches!(upgrade, Upgrade::Exchange(_)) {
        return Ok((upgrade, usual));
    }
    let Err(why) = upgrade_images::pull(remote, &usual, patience).await else {
        return Ok((upgrade, usual));
    };
    // One that lies here may be newer than what runs, too.
    let images = node::images(remote).await?;
    let here = addon.image(cluster, images.iter().map(String::as_str));
    match to(&here.name) {
        upgrade @ Upgrade::Exchange(_) if here.is_present => Ok((upgrade, here.name)),
        _ => Ok((Upgrade::Left(format!("this node has no {usual}: {why:#}")), usual)),
    }
}
