//! What is refused of an object: one list of field errors, with upstream's texts and field paths. The
//! API server answers them with 422; the node agent reports them of a manifest.
mod address;
mod container;
mod error;
mod meta;
mod pod;
mod pod_status;
mod pod_update;
mod restarts;
mod scheduling;

pub use address::ip;
pub use container::resources;
pub use error::{FieldError, FieldErrorKind, Findings, summary};
use meta::labels;
pub use meta::{annotation_map, finalizer_domains, finalizer_warnings, label_map, label_selector, metadata};
pub use pod::{new_pod, pod_create, pod_spec};
pub use pod_status::pod_status_update;
pub use pod_update::pod_update;
