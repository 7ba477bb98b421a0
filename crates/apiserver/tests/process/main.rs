//! The API server in a process of its own, as its clients meet it: killed at any moment, and besieged.
#![allow(clippy::unwrap_used)]
mod kill;
mod process;
mod siege;

/// Not a test: the server, when this program is started again for it.
#[test]
fn the_process() {
    process::serve_if_asked();
}
