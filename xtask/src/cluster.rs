//! `cargo xtask cluster-images`

use crate::examples::etcd_image;
use crate::image::write;
use anyhow::{Context, bail};
use clap::Args;
use orlop_api::KUBERNETES_VERSION;
use orlop_oci::{ImageBuilder, debian};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where upstream's images are.
const REPOSITORY: &str = "registry.k8s.io";
/// The names under which the binary is a part of the control plane.
const PARTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

#[derive(Args)]
pub struct ClusterImages {
    /// The orlop binary
    #[arg(long)]
    orlop: PathBuf,
    /// Directory the archives go into, such as /var/lib/orlop/images
    #[arg(long)]
    out: PathBuf,
    /// Tag of the control plane's images
    #[arg(long, default_value = KUBERNETES_VERSION)]
    kubernetes_version: String,
}

impl ClusterImages {
    pub fn run(self) -> anyhow::Result<()> {
        let version = &self.kubernetes_version;
        let stripped = stripped(&self.orlop)?;
        let image = control_plane(&stripped, version)?;
        write(&image, &self.out.join(format!("control-plane-{version}.tar")))?;
        let version = debian::upstream_version("etcd-server")?;
        let etcd = etcd_image(&format!("{REPOSITORY}/etcd:{version}-0"))?;
        write(&etcd, &self.out.join("etcd.tar"))
    }
}

/// One image for all three: which part it is, the name that the binary is called by decides.
fn control_plane(orlop: &Path, version: &str) -> anyhow::Result<ImageBuilder> {
    let [first, others @ ..] = PARTS.map(|part| format!("{REPOSITORY}/{part}:{version}"));
    let mut image = ImageBuilder::new(&first)?
        .base()?
        .host_file(orlop, "/usr/local/bin/orlop")?
        // CronJobs name time zones, and the binary has none in itself.
        .package("tzdata")?
        .label("org.opencontainers.image.version", version)
        .cmd(["orlop"]);
    for name in &others {
        image = image.also_named(name)?;
    }
    for part in PARTS {
        image = image.symlink(&format!("/usr/local/bin/{part}"), "orlop")?;
    }
    Ok(image)
}

/// The binary without what debuggers need: every node unpacks it.
fn stripped(orlop: &Path) -> anyhow::Result<tempfile::TempPath> {
    let copy = tempfile::NamedTempFile::new()?.into_temp_path();
    let status = Command::new("strip")
        .arg("-o")
        .arg(&*copy)
        .arg(orlop)
        .status()
        .context("strip is not installed (Debian: apt-get install binutils)")?;
    if !status.success() {
        bail!("strip {}: {status}", orlop.display());
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_plane_knows_the_time_zones_of_cron_jobs() -> anyhow::Result<()> {
        let mut image = control_plane(Path::new("/bin/true"), "v1.36.0")?;
        for zone in ["Europe/Rome", "Asia/Kolkata"] {
            let file = format!("/usr/share/zoneinfo/{zone}");
            assert!(image.layer().contains(&file), "{file}");
        }
        Ok(())
    }
}
