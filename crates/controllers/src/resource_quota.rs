//! Counts again what quotas have been used for: the API server charges what is created, and what has gone or ended is
//! given back here.
//!
//! Listens to quotas, to pods of the shared cache, and to exactly the other kinds that some quota bounds. A quota is
//! counted anew when it is made or changed, soon after something it counts has gone or was resized, and every five
//! minutes. The count is written over the version that was read before counting: if the API server charged something
//! meanwhile, it is done again.
mod controller;
mod count;
mod view;
mod watches;

pub use controller::ResourceQuotas;
