//! Jobs at set times.
//!
//! `controller` enqueues CronJobs whose Jobs or whose own text changed, and each again at its next
//! time: nothing is polled. `sync` asks `plan` what became of the Jobs and whether it is time for
//! another, and carries it out.

mod controller;
mod missed;
mod plan;
mod sync;
mod timetable;

pub use controller::CronJobs;
