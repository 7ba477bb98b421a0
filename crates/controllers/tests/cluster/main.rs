//! The controllers and the scheduler against a real API server on a real store, all in one
//! process; only the node agents are hollow. Each test has a cluster of its own.
#![allow(clippy::unwrap_used)]

mod account_tokens;
mod autoscalers;
mod budgets;
mod certificates;
mod collection;
mod collection_kinds;
mod daemon_set_api;
mod daemon_set_cases;
mod daemon_set_extras;
mod daemon_sets;
mod deletion;
mod deployments;
mod extenders;
mod harness;
mod job_rules;
mod jobs;
mod nodes;
mod quotas;
mod scheduling;
mod scheduling_rules;
mod services;
mod stateful_sets;
mod storage;
mod volumes;
