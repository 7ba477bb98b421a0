//! What `orlop ps` and `orlop pods` print: the runtime's view, in crictl's columns.
mod columns;
mod pods;
mod ps;

pub use columns::render;
pub use pods::{Options as PodsOptions, pods};
pub use ps::{Options as PsOptions, ps};
