//! The controllers and the scheduler against a real API server on a real store, all in one
//! process; only the node agents are hollow. Each test has a cluster of its own.
#![allow(clippy::unwrap_used)]

mod certificates;
mod daemon_set_extras;
mod daemon_sets;
mod deletion;
mod deployments;
mod harness;
mod jobs;
mod nodes;
mod quotas;
mod scale;
mod scheduling;
mod services;
mod stateful_sets;
mod storage;
