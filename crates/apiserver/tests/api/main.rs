//! The whole server without sockets, over a store in memory, or with `ORLOP_TEST_STORE=etcd` over a real etcd. Test names cite the contract's cases.
#![allow(clippy::unwrap_used)]

mod admission;
mod aggregation;
mod apply;
mod audit;
mod authentication;
mod conformance;
mod connections;
mod conversion;
mod create;
mod custom;
mod definitions;
mod delete;
mod encryption;
#[path = "../../../store/tests/guarantees/etcd.rs"]
mod etcd;
mod hostile;
mod identity;
mod kinds;
mod kms;
mod limits;
mod list;
mod mutating_policies;
mod observability;
mod outside;
mod patch;
mod pod_changes;
mod pod_security;
mod pods;
mod policies;
mod protobuf;
mod quotas;
mod rbac;
mod runtime_config;
mod secure;
mod served;
mod services;
mod store;
mod support;
mod tokens;
mod traces;
mod transport;
mod watch;
mod webhook_server;
mod webhooks;
mod websocket;
