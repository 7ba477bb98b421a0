//! Making machines members of one cluster: what `orlop init`, `join`, `token`, `certs`, `reset` and `upgrade` write and
//! check. Layout, names and texts are kubeadm's, so that its users and its tools find what they know.
//!
//! - [`config`], [`endpoint`], [`extras`], [`given`], [`layout`]: what a cluster is made with, where it is reached, what is
//!   added to its components, what a file of kubeadm's says of all this, where a node keeps its files.
//! - [`manifests`], [`kubelet`], [`objects`], [`kubeconfigs`], [`certificates`], [`token`]: what is written (pure), and
//!   making what is missing.
//! - [`patches`]: what people lay over what is written; [`defaults`]: what they begin with.
//! - [`addons`]: CoreDNS and kube-proxy; [`images`]: those of them and of masters.
//! - [`external`]: authorities whose keys are kept elsewhere; [`requests`]: what they are asked to sign.
//! - [`preflight`]: what stands in the way; [`pod_network`]: routes between the nodes' pods.
//! - [`control_plane`]: the phases of a node; each can be run again.
//! - [`discovery`], [`discovery_file`]: how a machine comes to trust a cluster; [`shared_certificates`]: what masters pass
//!   on; [`etcd`]: its members; `etcd_anew`: the manifest of one that runs.
//! - [`expiration`]: when certificates end, and new ones; [`upgrade`]: another version, manifest by manifest;
//!   [`versions`]: which go together; [`api_servers`]: of which each API server is.
//! - [`api`], [`wait`]: the cluster's API, and the health of parts.
//!
//! There are no tasks; nothing runs when a command has ended. Starting the node agent and its runtime is the binary's.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod addons;
pub mod api;
pub mod api_servers;
pub mod certificates;
pub mod config;
pub mod control_plane;
pub mod defaults;
pub mod discovery;
pub mod discovery_file;
pub mod endpoint;
mod error;
pub mod etcd;
mod etcd_anew;
pub mod expiration;
pub mod external;
pub mod extras;
pub mod files;
pub mod given;
pub mod images;
pub mod kubeconfigs;
pub mod kubelet;
pub mod layout;
pub mod manifests;
pub mod objects;
pub mod patches;
pub mod pod_network;
pub mod preflight;
pub mod requests;
pub mod shared_certificates;
#[cfg(test)]
mod testing;
pub mod token;
pub mod upgrade;
pub mod versions;
pub mod wait;
pub mod yaml;

pub use error::ClusterError;
