//! Tokens that an older cluster made for its accounts by itself, and that nobody has used for a year: they are taken out
//! of use, and deleted after another year.
//!
//! `controller` looks once a day; `plan` judges.

mod controller;
mod plan;

pub use controller::UnusedTokens;
