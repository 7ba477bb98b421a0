//! Secrets of type `kubernetes.io/service-account-token`: each gets a token of the ServiceAccount that its annotation
//! names, which holds as long as the Secret is there, and goes with the account.

mod controller;
mod plan;
mod view;

pub use controller::{AccountTokens, OF_TYPE};
pub use plan::{ACCOUNT, ACCOUNT_UID};
