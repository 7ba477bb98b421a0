//! Tokens by which new nodes join: `cluster-info`, which they read first, is signed with each of
//! them, and those that have ended are deleted.

mod controller;
mod plan;

pub use controller::BootstrapTokens;
