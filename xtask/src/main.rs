//! Tools of the workspace, run as `cargo xtask <command>`.

mod cluster;
mod examples;
mod image;

use clap::{Parser, Subcommand};

/// Tools for working on Orlop.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build an OCI image archive from files and installed Debian packages.
    Image(Box<image::Image>),
    /// Build the images the examples run: etcd and busybox of this Debian.
    ExampleImages(examples::ExampleImages),
    /// Build the images of a control plane: orlop under the names of upstream's parts, and Debian's etcd.
    ClusterImages(cluster::ClusterImages),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Image(image) => image.run(),
        Command::ExampleImages(images) => images.run(),
        Command::ClusterImages(images) => images.run(),
    }
}
