//! Applying add-ons: those whose images are here with `init`, any other when it is asked for.
use super::{administrator, certs, configuration, node};
use crate::cli::InitPhase;
use anyhow::Result;
use orlop_cluster::addons::Addon;
pub use orlop_cluster::addons::skipped;
use orlop_cluster::api;
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::control_plane::ControlPlane;
use orlop_cluster::patches::Patches;
use orlop_cri::Remote;

/// Puts together what may be applied, for patches that don't fit are to be told of before anything is written.
pub fn rehearse(plane: &ControlPlane, skipped: &[Addon]) -> Result<()> {
    let server = plane.cluster.server(&plane.node);
    for addon in Addon::ALL.into_iter().filter(|addon| !skipped.contains(addon)) {
        let image = addon.image(&plane.cluster, std::iter::empty());
        addon.patched(&plane.cluster, &server, &image.name, &plane.patches)?;
    }
    Ok(())
}

/// Applies what the cluster is not to do without and can run: a pod whose image nobody has would wait for it for ever.
pub async fn apply_present(plane: &ControlPlane, remote: &Remote) -> Result<()> {
    let images = node::images(remote).await?;
    let client = api::connect(&plane.layout.kubeconfig("admin")).await?;
    let without = &plane.cluster.without;
    for addon in Addon::ALL.into_iter().filter(|addon| !without.contains(addon)) {
        let image = addon.image(&plane.cluster, images.iter().map(String::as_str));
        if image.is_present {
            let server = plane.cluster.server(&plane.node);
            apply(
                &client,
                addon,
                &plane.cluster,
                &server,
                &image.name,
                &plane.patches,
            )
            .await?;
        } else {
            println!(
                "[addons] Left out {}, whose image {} this node does not have: `orlop init phase addon {}` applies it",
                addon.title(),
                image.name,
                addon.name()
            );
        }
    }
    Ok(())
}

/// `orlop init phase …`
pub async fn phase(phase: InitPhase) -> Result<()> {
    let (admin, image, patches, which) = match phase {
        InitPhase::Addon {
            admin,
            image,
            patches,
            which,
        } => (admin, image, patches, which),
        InitPhase::UploadCerts {
            admin,
            upload_certs,
            certificate_key,
        } => {
            if upload_certs {
                return certs::upload(&admin, certificate_key).await;
            }
            println!("[upload-certs] Nothing was done: give --upload-certs");
            return Ok(());
        }
    };
    let patches = node::patches(patches.as_deref())?;
    let client = administrator(&admin).await?;
    let cluster = configuration(&client).await?;
    let server = api::server(&client).await?;
    for addon in Addon::ALL {
        if which == "all" || which == addon.name() {
            let usual = || addon.image(&cluster, std::iter::empty()).name;
            let image = image.clone().unwrap_or_else(usual);
            apply(&client, addon, &cluster, &server, &image, &patches).await?;
        }
    }
    Ok(())
}

async fn apply(
    client: &kube::Client,
    addon: Addon,
    cluster: &ClusterConfig,
    server: &str,
    image: &str,
    patches: &Patches,
) -> Result<()> {
    for object in addon.patched(cluster, server, image, patches)? {
        api::apply(client, &object).await?;
    }
    println!("[addons] Applied essential addon: {}", addon.title());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, InitPart};
    use clap::Parser;
    use std::path::Path;

    #[test]
    fn an_addon_is_applied_later_with_patches_as_init_takes_them() {
        let line = "orlop init phase addon coredns --patches /etc/patches";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Init(init) = &cli.command else {
            panic!("{cli:?}")
        };
        let Some(InitPart::Phase {
            phase: InitPhase::Addon { patches, which, .. },
        }) = &init.part
        else {
            panic!("{init:?}")
        };
        assert_eq!(
            (which.as_str(), patches.as_deref()),
            ("coredns", Some(Path::new("/etc/patches")))
        );
    }
}
