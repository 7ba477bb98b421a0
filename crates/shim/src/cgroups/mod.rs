//! The container's cgroup: where it is, who is in it, what it used, and whether the kernel killed for want of memory.

mod oom;
mod place;
mod stats;

pub use oom::Watch;
pub use place::Cgroup;
