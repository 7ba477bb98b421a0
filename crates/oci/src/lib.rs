//! OCI images as plain files: building archives that any runtime can import, and reading them back.
//!
//! Nodes without a registry need images too: the sandbox image, the examples, the tests. This crate makes them out of
//! bytes, files of this machine and installed Debian packages, and gives the reader that the importer in `orlop-cri` uses.
//!
//! - [`image`]: `ImageBuilder`, one layer and its configuration → an archive; the same input gives the same bytes.
//! - [`layer`]: the file tree of an image.
//! - [`archive`]: writing and reading OCI-layout (and `docker save`) tar files.
//! - [`debian`], [`shared_libraries`]: what an installed package and its programs need at run time.
//! - [`reference`]: full image names (`busybox` → `docker.io/library/busybox:latest`).
//! - [`spec`]: the JSON documents.
//!
//! It never talks to a registry or a runtime, and has no threads or tasks of its own.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod archive;
pub mod debian;
mod digest;
mod error;
pub mod image;
pub mod layer;
pub mod reference;
pub mod shared_libraries;
pub mod spec;

pub use archive::Archive;
pub use digest::sha256;
pub use error::OciError;
pub use image::ImageBuilder;
pub use layer::Layer;
