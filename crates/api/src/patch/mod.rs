//! The three ways a PATCH body can change an object, as pure functions of the current object and the patch
//! (contract api-server §9): [`json`] (RFC 6902), [`merge()`] (RFC 7386) and [`strategic()`] (Kubernetes' own, which
//! knows how each kind's lists merge).
//!
//! None of them looks at metadata, defaults or validity: that is the API server's pipeline.

mod error;
mod json;
mod merge;
mod strategic;

use crate::wire::json_kind;
pub use error::PatchError;
pub use json::{JSON_PATCH_OPERATIONS_MAX, json, json_unknown_fields};
pub use merge::{merge, merge_object};
pub use strategic::strategic;
