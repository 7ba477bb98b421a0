//! What is refused of an object: one list of field errors, with upstream's texts and field paths. The
//! API server answers them with 422; the node agent reports them of a manifest.
mod error;
mod meta;
mod pod;
mod scheduling;

pub use error::{FieldError, FieldErrorKind};
pub use meta::{NameRule, label_selector, labels, object_meta, object_meta_update};
pub use pod::{pod_create, pod_spec};
