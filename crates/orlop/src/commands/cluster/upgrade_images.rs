//! Whether a node can run another version at all: its images are here, or can be pulled, before anything is stopped.
use super::layout;
use crate::commands::listings::recorded_endpoint;
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_cluster::{files, kubelet, yaml};
use orlop_cri::{Endpoint, Remote, RuntimeService, v1};
use std::time::Duration;

/// A runtime that runs the control plane answers at once.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(5);

/// Pulls those of the images that the node's runtime does not have.
///
/// # Errors
/// One is not to be had.
pub async fn ensure(root: &Root, images: &[String], patience: Duration) -> Result<()> {
    let remote = runtime(root).await?;
    for image in images {
        pull(&remote, image, patience).await.with_context(|| {
            format!("nothing was changed, for this node does not have the image {image} and cannot pull it")
        })?;
    }
    Ok(())
}

/// The runtime of the node.
pub async fn runtime(root: &Root) -> Result<Remote> {
    let endpoint = Endpoint::parse(&endpoint(root)?)?;
    Ok(Remote::connect_within(&endpoint, RUNTIME_PATIENCE).await?)
}

/// Pulls an image, unless it is here.
pub async fn pull(remote: &Remote, image: &str, patience: Duration) -> Result<()> {
    if remote.image_status(image).await?.is_some() {
        return Ok(());
    }
    println!("[upgrade/prepull] Pulling {image}");
    let spec = v1::ImageSpec {
        image: image.to_owned(),
        ..v1::ImageSpec::default()
    };
    let pulled = tokio::time::timeout(patience, remote.pull_image(spec, None, None)).await;
    pulled.with_context(|| format!("it was not pulled within {patience:?}"))??;
    Ok(())
}

/// The CRI socket of the node: that it was started on, or what its agent is told.
fn endpoint(root: &Root) -> Result<String> {
    if let Some(endpoint) = recorded_endpoint(root)? {
        return Ok(endpoint);
    }
    let layout = layout(root);
    let flags = files::read_optional(&layout.kubelet_flags())?.unwrap_or_default();
    let config = files::read_optional(&layout.kubelet_config())?.unwrap_or_default();
    let config = yaml::read("the node agent's configuration", &config)?;
    let flags = kubelet::read_flags(&flags);
    let flag = flags
        .iter()
        .find_map(|flag| flag.strip_prefix("--container-runtime-endpoint="));
    flag.or(config["containerRuntimeEndpoint"].as_str())
        .map(str::to_owned)
        .context("nothing was changed, for it is not known which runtime this node has, to look for images: start its agent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_the_one_that_the_agent_uses() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(Some(directory.path())).unwrap();
        let layout = layout(&root);
        assert!(endpoint(&root).is_err());
        files::write_private(
            &layout.kubelet_config(),
            "containerRuntimeEndpoint: unix:///a.sock\n",
        )
        .unwrap();
        assert_eq!(endpoint(&root).unwrap(), "unix:///a.sock");
        let flags = "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///b.sock --v=2\"\n";
        files::write_private(&layout.kubelet_flags(), flags).unwrap();
        assert_eq!(endpoint(&root).unwrap(), "unix:///b.sock");
        files::write_private(&root.runtime_endpoint_file(), "unix:///c.sock\n").unwrap();
        assert_eq!(endpoint(&root).unwrap(), "unix:///c.sock");
    }
}
