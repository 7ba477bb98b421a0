//! Add-ons are upgraded with the last master, where the cluster runs them.
use super::{node, upgrade_images};
use crate::paths::Root;
use anyhow::Result;
use orlop_cluster::addons::Addon;
use orlop_cluster::addons::upgrade::{Upgrade, is_right};
use orlop_cluster::api;
use orlop_cluster::api_servers::{self, ApiServer};
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::patches::Patches;
use orlop_cluster::versions::listed;
use orlop_cri::Remote;
use serde_json::Value;
use std::time::Duration;

/// What add-ons are brought to.
pub struct Target<'a> {
    pub cluster: &'a ClusterConfig,
    pub skipped: &'a [Addon],
    pub patches: &'a Patches,
    /// How long an image may take to be pulled.
    pub patience: Duration,
}

/// Exchanges the images of add-ons that are not skipped, each for one that this node has or can pull: where no registry has
/// it, the pods of every node would wait for it. `servers`: the cluster's API servers.
pub async fn upgrade(
    root: &Root,
    client: &kube::Client,
    target: &Target<'_>,
    servers: &[ApiServer],
) -> Result<()> {
    let cluster = target.cluster;
    let behind = api_servers::of_others(servers, &cluster.kubernetes_version);
    if !behind.is_empty() {
        println!(
            "[addons] Add-ons are upgraded with the last master; there are still {}",
            listed(&behind)
        );
        return Ok(());
    }
    let remote = upgrade_images::runtime(root).await?;
    let meant = Addon::ALL
        .into_iter()
        .filter(|addon| !target.skipped.contains(addon));
    for addon in meant {
        let title = addon.title();
        let found = Found::of(client, addon).await?;
        let (upgrade, image) = found.to(&remote, target).await?;
        match upgrade {
            Upgrade::Absent => println!("[addons] This cluster does without {title}: left out"),
            Upgrade::Left(why) => println!(
                "[addons] Left {title} as it is: {why} (`orlop init phase addon {}` applies it whole)",
                addon.name()
            ),
            Upgrade::UpToDate => match found.overlaid(target, &image)? {
                Some(whole) => {
                    api::apply(client, &whole).await?;
                    println!("[addons] {title} is up to date, with its patches: {image}");
                }
                None => println!("[addons] {title} is up to date: {image}"),
            },
            Upgrade::Exchange(patch) => {
                let overlaid = found.overlaid(target, &image)?;
                let server = api::server(client).await?;
                for right in addon
                    .objects(cluster, &server, &image)?
                    .iter()
                    .filter(|o| is_right(o))
                {
                    api::apply(client, right).await?;
                }
                match overlaid {
                    Some(whole) => api::apply(client, &whole).await?,
                    None => api::merge_strategically(client, &addon.workload(), &patch).await?,
                };
                println!("[addons] Upgraded {title} to {image}");
            }
        }
    }
    Ok(())
}

/// An add-on as the cluster has it.
struct Found {
    addon: Addon,
    config_map: Option<Value>,
    workload: Option<Value>,
}

impl Found {
    async fn of(client: &kube::Client, addon: Addon) -> Result<Self> {
        Ok(Self {
            addon,
            config_map: api::get_patiently(client, &addon.config_map()).await?,
            workload: api::get_patiently(client, &addon.workload()).await?,
        })
    }

    /// What becomes of it, and the image that it is about.
    async fn to(&self, remote: &Remote, target: &Target<'_>) -> Result<(Upgrade, String)> {
        let to = |image: &str| {
            self.addon
                .upgrade(self.config_map.as_ref(), self.workload.as_ref(), image)
        };
        let usual = self.addon.image(target.cluster, std::iter::empty()).name;
        let upgrade = to(&usual);
        if !matches!(upgrade, Upgrade::Exchange(_)) {
            return Ok((upgrade, usual));
        }
        let Err(why) = upgrade_images::pull(remote, &usual, target.patience).await else {
            return Ok((upgrade, usual));
        };
        // One that lies here may be newer than what runs, too.
        let images = node::images(remote).await?;
        let here = self
            .addon
            .image(target.cluster, images.iter().map(String::as_str));
        match to(&here.name) {
            upgrade @ Upgrade::Exchange(_) if here.is_present => Ok((upgrade, here.name)),
            _ => Ok((Upgrade::Left(format!("this node has no {usual}: {why:#}")), usual)),
        }
    }

    /// Its workload, where people lay something over it.
    fn overlaid(&self, target: &Target<'_>, image: &str) -> Result<Option<Value>> {
        let Some(workload) = &self.workload else {
            return Ok(None);
        };
        Ok(self
            .addon
            .overlaid(target.cluster, workload, image, target.patches)?)
    }
}
