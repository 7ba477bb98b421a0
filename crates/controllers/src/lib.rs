//! The loops that make a cluster converge: each compares what is with what should be and writes the
//! difference to the API server. One folder a controller: pure decisions with their cases beside
//! them, and a thin async shell.
//!
//! # Tasks
//! - one informer a kind ([`cache`]): watch → store, then the handlers the controllers registered,
//!   which only enqueue keys;
//! - `daemonset`: two workers take DaemonSets from a queue; writes pods, revisions and status;
//! - `replica_set`: four workers a kind take ReplicaSets and ReplicationControllers; writes pods;
//! - `deployment`: two workers take Deployments; writes ReplicaSets;
//! - `stateful_set`: two workers take StatefulSets; writes pods, claims and revisions;
//! - `autoscaler`: two workers look at each HorizontalPodAutoscaler every 15 s, and at what add-ons measure for it; write
//!   scales of others;
//! - `disruption_budget`: one worker takes PodDisruptionBudgets; writes their status;
//! - `job`: four workers take Jobs; writes pods and takes the finalizer off those it has counted;
//! - `cron_job`: two workers take CronJobs, each again at its next time; writes Jobs;
//! - `ttl_after_finished`: deletes ended Jobs when their time is up;
//! - `certificates`: one worker takes CertificateSigningRequests; approves those of node agents, signs
//!   what was approved, deletes old ones;
//! - `account_tokens`: one worker takes Secrets that ask for a service account's token; writes it, deletes those of
//!   accounts that went; only where it was given the key;
//! - `unused_tokens`: once a day takes tokens out of use that older clusters made and nobody has used for a year, and
//!   deletes those that have been for another;
//! - `bootstrap_tokens`: signs `cluster-info` with each token, deletes those that have ended;
//! - `endpoints`: two workers take Services; writes EndpointSlices and Endpoints;
//! - `node_lifecycle`: two workers take nodes; writes taints and, when a node fell silent, its
//!   conditions and its pods'; sleeps until the next node could expire;
//! - `node_ranges`: one worker takes nodes without a range of pod addresses; writes theirs, if the cluster has one;
//! - `node_ttl`: two workers tell nodes how long their agents may keep what they read;
//! - `node_gate`: one worker taints new nodes that wait for a DaemonSet's pod;
//! - `taint_eviction`: deletes pods whose node has a NoExecute taint they don't tolerate;
//! - `garbage_collector`: a watch a kind for metadata only, which kinds is asked when definitions or APIServices change; deletes what lost its owners;
//! - `namespace`: empties and finalises namespaces that are being deleted;
//! - `stale_disruption`: takes condition DisruptionTarget back from pods that nobody deleted;
//! - `pod_gc`: every 20 s, if there is anything to collect;
//! - `resource_quota`: counts what quotas have been used for; watches only kinds that some quota bounds;
//! - `volume_binding`: one worker takes claims and volumes; completes bindings, says what became of them;
//! - `ephemeral_volumes`: two workers make the claims of pods' generic ephemeral volumes;
//! - `storage_protection`: lets volumes and claims go once nothing uses them;
//! - `role_aggregation`: one worker fills in ClusterRoles that are made of others;
//! - `namespace_defaults`: the default ServiceAccount and the root CA in every namespace.
//!
//! Each writes as the service account that upstream's has (`accounts`), if the wiring gives it such clients.
//!
//! # What it doesn't do
//! It binds no pods (scheduler), starts none (node agent), and knows nothing of the API server but
//! its API. On an idle cluster it asks every 30 s which kinds there are, once a day since when the use of
//! tokens is noted, and does nothing else.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod account_tokens;
mod accounts;
mod api_error;
mod autoscaler;
mod bootstrap_tokens;
pub mod cache;
mod certificates;
mod cron_job;
mod daemonset;
mod deployment;
mod disruption;
mod disruption_budget;
mod endpoints;
mod ephemeral_volumes;
mod garbage_collector;
mod job;
mod namespace;
mod namespace_defaults;
mod node_gate;
mod node_lifecycle;
mod node_ranges;
mod node_ttl;
mod owned;
mod pod_gc;
mod replica_set;
mod resource_quota;
mod resources;
mod revisions;
mod role_aggregation;
mod root_ca;
mod run;
mod selection;
mod stale_disruption;
mod stateful_set;
mod storage_protection;
mod taint_eviction;
#[cfg(test)]
mod testing;
mod ttl_after_finished;
mod unused_tokens;
mod volume_binding;
mod workers;

pub use accounts::Accounts;
pub use autoscaler::AutoscalerConfig;
pub use daemonset::insight;
pub use node_lifecycle::{Grace, NodeLifecycleConfig, Pace};
pub use node_ranges::{ClusterRange, NodeBits, RangeError};
pub use root_ca::RootCa;
pub use run::{CertificateSigning, ControllersConfig, ControllersError, run, run_measured};
pub use selection::{Selection, UnknownController};
