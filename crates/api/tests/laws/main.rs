//! Laws that hold for any object and any patch: each form of a patch against a simple model of it.
#![allow(clippy::unwrap_used)]
mod apply;
mod json_patch;
mod strategic;
