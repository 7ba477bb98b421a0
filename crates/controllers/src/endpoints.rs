//! Where Services lead: EndpointSlices and Endpoints.
//!
//! `controller` listens and enqueues; `sync` takes one Service at a time:
//!
//! | question | answered by |
//! |---|---|
//! | which pods a Service leads to, how, and at which ports | `backends` |
//! | what somebody's own Endpoints say, as slices | `mirror` |
//! | which slices to create, to rewrite and to delete | `slices` |
//! | what the Endpoints of a Service say | `subsets` |
//!
//! Of slices only prints are remembered: what is as it should be is never read again.

mod backends;
mod controller;
mod kept;
pub mod labels;
mod mirror;
mod pack;
pub mod print;
mod slices;
mod subsets;
mod sync;

pub use backends::Family;
pub use controller::ServiceEndpoints;
pub use kept::Kept;
