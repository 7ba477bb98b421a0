//! Certificates for those who ask: node agents that may have theirs get them without a person, and
//! what was approved is signed.
//!
//! `signer` knows the well-known signers and what each accepts, `approve` whom the approval needs no
//! person for, `clean` when a request is no longer of use; `controller` carries it out.

mod approve;
mod clean;
mod controller;
mod signer;

pub use controller::{Certificates, Duties};
