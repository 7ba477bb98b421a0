//! The agent's configuration: KubeletConfiguration v1beta1.
mod types;

pub use types::*;
