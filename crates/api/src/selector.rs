//! Label and field selectors: the query-string forms and the object form.

mod field;
mod label;
mod label_parse;

pub use field::{FieldOperator, FieldSelector, FieldTerm};
pub use label::{LabelSelector, Labels, Operator, Requirement, have_all};

use thiserror::Error;

/// Why a selector does not parse; the text is upstream's (answered with 400).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);
