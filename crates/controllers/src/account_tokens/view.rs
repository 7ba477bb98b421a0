//! What is remembered of a Secret with a token.

use k8s_openapi::api::core::v1::Secret;
use orlop_client::informer::{ObjectKey, Projection};

use super::plan::{ACCOUNT, account_of};

/// Index: Secrets by `namespace/account`.
pub const BY_ACCOUNT: usize = 0;

/// A Secret whose token is one of an account.
#[derive(Debug)]
pub struct TokenView {
    /// Name of the account.
    pub account: String,
}

impl Projection for TokenView {
    type Object = Secret;
    const INDEXES: usize = 1;

    fn project(secret: Secret) -> Self {
        Self {
            account: account_of(&secret, ACCOUNT).to_owned(),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        add(BY_ACCOUNT, &index(&key.namespace, &self.account));
    }
}

/// The value of [`BY_ACCOUNT`].
pub fn index(namespace: &str, account: &str) -> String {
    format!("{namespace}/{account}")
}
