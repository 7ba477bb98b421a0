//! The crate against a real containerd. Each test has one of its own below a temporary directory and leaves nothing.
//! Without root or the packages the tests are skipped; `ORLOP_REQUIRE_RUNTIME=1` makes that a failure.

#![allow(clippy::unwrap_used)]

mod containers;
mod images;
mod lost;
mod managed;
mod node;
