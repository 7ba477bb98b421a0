//! The agent's configuration: KubeletConfiguration v1beta1.
mod load;
mod types;

pub use load::{ConfigError, Loaded, configz, load};
pub use types::*;
