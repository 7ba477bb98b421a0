//! The agent's configuration: KubeletConfiguration v1beta1.
mod load;
mod types;

pub use load::{ConfigError, Loaded, configz, load, load_with};
pub use types::*;
