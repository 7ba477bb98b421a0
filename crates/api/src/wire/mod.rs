//! Objects as bytes: which built-in kinds there are, and what is accepted, dropped and written for each of them.
//!
//! Everything follows from the field tables in [`schema`].

pub mod schema;
