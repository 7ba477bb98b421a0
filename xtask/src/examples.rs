//! `cargo xtask example-images`

use crate::image::{BUSYBOX, write};
use clap::Args;
use orlop_oci::{ImageBuilder, debian};
use std::path::{Path, PathBuf};

const PROGRAMS: [&str; 2] = ["etcd", "etcdctl"];

#[derive(Args)]
pub struct ExampleImages {
    /// Directory the archives go into, such as /var/lib/orlop/images
    #[arg(long)]
    out: PathBuf,
}

impl ExampleImages {
    pub fn run(self) -> anyhow::Result<()> {
        // In a name of its own: it is not upstream's image of that version.
        write(
            &etcd_image("orlop.local/etcd:debian")?,
            &self.out.join("etcd.tar"),
        )?;
        write(&busybox()?, &self.out.join("busybox.tar"))
    }
}

/// Debian's etcd under a name.
pub fn etcd_image(name: &str) -> anyhow::Result<ImageBuilder> {
    let version = debian::upstream_version("etcd-server")?;
    let mut image = ImageBuilder::new(name)?
        .base()?
        .directory("/var/lib/etcd", 0o700)?
        .label("org.opencontainers.image.version", &version)
        .cmd(["etcd"]);
    for program in PROGRAMS {
        let path = format!("/usr/bin/{program}");
        // etcdctl is in a package of its own, which the example doesn't need.
        if program == "etcd" || Path::new(&path).exists() {
            image = image
                .host_file(Path::new(&path), &path)?
                // Upstream's place, which manifests may name.
                .symlink(&format!("/usr/local/bin/{program}"), &path)?;
        }
    }
    Ok(image)
}

fn busybox() -> anyhow::Result<ImageBuilder> {
    let version = debian::upstream_version("busybox-static")?;
    Ok(ImageBuilder::new("orlop.local/busybox:debian")?
        .base()?
        .host_file(Path::new(BUSYBOX), BUSYBOX)?
        .busybox_applets(Path::new(BUSYBOX))?
        .label("org.opencontainers.image.version", &version)
        .cmd(["sh"]))
}
