//! The shim under a real containerd and a real runc: what CRI sees, what containerd's task service does, and faults. The
//! tests of `orlop-cri`'s containers run here a second time, on this shim. Without root or the packages the tests are
//! skipped; `ORLOP_REQUIRE_RUNTIME=1` makes that a failure.

#![allow(clippy::unwrap_used)]

#[path = "../../../cri/tests/runtime/containers.rs"]
mod containers;
#[path = "../../../cri/tests/runtime/node.rs"]
mod node;

mod exec;
mod faults;
mod memory;
mod pods;
mod tasks;
mod users;
