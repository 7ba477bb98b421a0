//! Builders for the cases of this folder's tests.

use super::grouping::NodeChoice;
pub use crate::owned::testing::{names, now, pod};

/// Nodes that should run the pod.
pub fn nodes<const N: usize>(names: [&str; N]) -> Vec<NodeChoice> {
    names.into_iter().map(|name| choice(name, true, true)).collect()
}

pub fn choice(name: &str, run: bool, keep: bool) -> NodeChoice {
    NodeChoice {
        name: name.into(),
        run,
        keep,
        ready: true,
        update: true,
        tainted: None,
    }
}
