//! `cargo xtask image`

use anyhow::Context;
use clap::Args;
use orlop_oci::ImageBuilder;
use std::path::{Path, PathBuf};

/// Where Debian's busybox packages put it.
pub const BUSYBOX: &str = "/bin/busybox";

#[derive(Args)]
pub struct Image {
    /// Name of the image, such as registry.k8s.io/etcd:3.4.23
    #[arg(long)]
    name: String,
    /// Archive to write
    #[arg(long)]
    out: PathBuf,
    /// Take the run-time files of this installed Debian package, and the libraries its programs need (repeatable)
    #[arg(long = "package")]
    packages: Vec<String>,
    /// Copy a file of this machine, and the libraries it needs: HOST:CONTAINER (repeatable)
    #[arg(long = "file", value_parser = file_pair)]
    files: Vec<(PathBuf, String)>,
    /// Add a link for every applet of /bin/busybox
    #[arg(long)]
    busybox_applets: bool,
    /// Program and fixed arguments; once for each word
    #[arg(long, allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// Default arguments; once for each word
    #[arg(long, allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// NAME=value (repeatable)
    #[arg(long)]
    env: Vec<String>,
    /// User name or UID[:GID]
    #[arg(long)]
    user: Option<String>,
    /// Working directory
    #[arg(long)]
    working_dir: Option<String>,
    /// KEY=value (repeatable)
    #[arg(long = "label", value_parser = key_value)]
    labels: Vec<(String, String)>,
}

impl Image {
    pub fn run(self) -> anyhow::Result<()> {
        let mut builder = ImageBuilder::new(&self.name)?.base()?;
        for package in &self.packages {
            builder = builder.package(package)?;
        }
        for (source, path) in &self.files {
            builder = builder.host_file(source, path)?;
        }
        if self.busybox_applets {
            builder = builder.busybox_applets(Path::new(BUSYBOX))?;
        }
        for variable in &self.env {
            builder = builder.env(variable);
        }
        for (key, value) in &self.labels {
            builder = builder.label(key, value);
        }
        if let Some(user) = &self.user {
            builder = builder.user(user);
        }
        if let Some(path) = &self.working_dir {
            builder = builder.working_dir(path);
        }
        let builder = builder.entrypoint(self.entrypoint).cmd(self.cmd);
        write(&builder, &self.out)
    }
}

/// Writes the archive and tells its name.
pub fn write(builder: &ImageBuilder, out: &Path) -> anyhow::Result<()> {
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("making the directory {}", parent.display()))?;
    }
    builder.write_archive(out)?;
    println!("{}  {}", builder.name(), out.display());
    Ok(())
}

fn file_pair(text: &str) -> Result<(PathBuf, String), String> {
    match text.split_once(':') {
        Some((host, container)) if !host.is_empty() && container.starts_with('/') => {
            Ok((PathBuf::from(host), container.to_owned()))
        }
        _ => Err("give HOST:CONTAINER, the second an absolute path".to_owned()),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "give KEY=value".to_owned())
}
