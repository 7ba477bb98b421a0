//! The values Kubernetes fills in when nothing was said. Applying them twice changes nothing.
//!
//! They are filled into JSON trees, the form in which the API server has every object; who has a typed one uses
//! [`typed`].

mod pod;
mod tree;
mod volume;
mod workload;

pub use pod::{pod, pod_template};
pub use workload::daemon_set;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Gives a typed object its defaults: `typed(&mut pod, defaults::pod)`.
///
/// # Errors
/// The object has no JSON form, or none of its type once it has its defaults; neither happens to the API's own types.
pub fn typed<T: Serialize + DeserializeOwned>(
    object: &mut T,
    defaults: fn(&mut Value),
) -> Result<(), serde_json::Error> {
    let mut tree = serde_json::to_value(&*object)?;
    defaults(&mut tree);
    *object = serde_json::from_value(tree)?;
    Ok(())
}
