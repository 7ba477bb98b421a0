//! What the server says when it cannot, or when it did: the `Status` object and the error that becomes one.
mod causes;
mod error;

pub use causes::{Cause, cause};
pub use error::{ApiError, group_resource};
