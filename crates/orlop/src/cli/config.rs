//! Configuration files of kubeadm's, with its flags.
use super::ListOutput;
use clap::{Args, Subcommand};
use orlop_api::KUBERNETES_VERSION;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print documents for `--config` to begin with.
    Print {
        #[command(subcommand)]
        which: ConfigPrint,
    },
    /// Say of which images a cluster is made.
    Images {
        #[command(subcommand)]
        command: ConfigImages,
    },
    /// Say what `init` or `join` would refuse of a file, without doing anything.
    Validate {
        /// File with what kubeadm calls InitConfiguration, ClusterConfiguration, KubeletConfiguration and JoinConfiguration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigPrint {
    /// InitConfiguration and ClusterConfiguration.
    InitDefaults {
        /// Further documents: KubeletConfiguration.
        #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = ["KubeletConfiguration"])]
        component_configs: Vec<String>,
    },
    /// JoinConfiguration.
    JoinDefaults,
}

#[derive(Debug, Subcommand)]
pub enum ConfigImages {
    /// Those that masters and add-ons run; the sandboxes' comes with the runtime.
    List(ConfigImagesArgs),
}

#[derive(Debug, Args)]
pub struct ConfigImagesArgs {
    /// File with a ClusterConfiguration, in the place of flags.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubernetes_version", "image_repository"])]
    pub config: Option<PathBuf>,
    /// Version of the control plane.
    #[arg(long, value_name = "VERSION", default_value = KUBERNETES_VERSION)]
    pub kubernetes_version: String,
    /// Where the images come from.
    #[arg(long, value_name = "NAME", default_value = orlop_cluster::config::IMAGE_REPOSITORY)]
    pub image_repository: String,
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: ListOutput,
}
