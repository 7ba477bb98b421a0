//! Image archives: tar files in OCI layout (and what older `docker save` writes).

mod read;
mod write;

pub use read::{Archive, ArchivedImage, Blob};
pub use write::{blob_path, write};
