//! What keeps a node from filling up: container logs are rotated ([`logs`]), images that nobody uses go ([`images`]), and
//! when the machine runs short pods do ([`eviction`]). Each is a decision without I/O, and a loop that carries it out.
//! Nothing tells that a disk or the memory fills up: these loops look.
pub mod eviction;
pub mod images;
pub mod logs;
pub mod oom;
