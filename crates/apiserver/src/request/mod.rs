//! What a client asked: path, verb, options, formats and body, parsed once at the door.
mod body;
mod negotiate;
mod options;
mod path;
mod query;
mod selector;

pub use body::{BODY_BYTES_MAX, Decoded, Expected, YAML, decode_object, decode_options, media_type, typed};
pub(crate) use negotiate::accepted;
pub use negotiate::{Format, Offer, Output, Shape, negotiate, negotiate_refusal};
pub use options::{DeleteOptions, FieldValidation, ListOptions, Propagation, VersionMatch, WriteOptions};
pub use orlop_api::duration::parse_go_duration;
pub use path::{RequestInfo, parse};
pub use query::{Query, decode_percent, escape};
pub use selector::Filter;
