//! As whom the controllers write: each as the service account that upstream's has, with the rights that upstream's roles
//! give that.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use orlop_client::routed;

/// Upstream's roles let few controllers patch what they may replace; this account may patch everything.
const PATCHES: &str = "generic-garbage-collector";

/// Makes clients that are service accounts of `kube-system`, by name.
#[derive(Clone)]
pub struct Accounts {
    make: Arc<dyn Fn(&'static str) -> kube::Client + Send + Sync>,
}

impl Accounts {
    /// `make` is called within a tokio runtime, once a name.
    pub fn new(make: impl Fn(&'static str) -> kube::Client + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make) }
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

/// The controllers' clients.
pub struct Clients {
    /// What they all are without accounts.
    common: kube::Client,
    accounts: Option<Arc<Known>>,
}

struct Known {
    accounts: Accounts,
    made: Mutex<HashMap<&'static str, kube::Client>>,
}

impl Known {
    fn get(&self, name: &'static str) -> kube::Client {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(name)
            .or_insert_with(|| (self.accounts.make)(name))
            .clone()
    }
}

impl Clients {
    /// Without `accounts`, all are `common`.
    pub fn new(common: kube::Client, accounts: Option<Accounts>) -> Self {
        let known = |accounts| {
            Arc::new(Known {
                accounts,
                made: Mutex::default(),
            })
        };
        Self {
            common,
            accounts: accounts.map(known),
        }
    }

    /// A client that is that account, and patches as [`PATCHES`].
    pub fn of(&self, account: &'static str) -> kube::Client {
        self.by(move |_, _| account)
    }

    /// A client that is an account for each request, by its method and path, and patches as [`PATCHES`].
    pub fn by(&self, choose: impl Fn(&Method, &str) -> &'static str + Send + 'static) -> kube::Client {
        let Some(known) = self.accounts.clone() else {
            return self.common.clone();
        };
        routed(move |request| {
            known.get(match *request.method() {
                Method::PATCH => PATCHES,
                ref method => choose(method, request.uri().path()),
            })
        })
    }

    /// A client that is that account and nobody else.
    pub fn only(&self, account: &'static str) -> kube::Client {
        match &self.accounts {
            Some(known) => known.get(account),
            None => self.common.clone(),
        }
    }
}

/// Whose Services' addresses are.
pub fn of_endpoints(_: &Method, path: &str) -> &'static str {
    match path.contains("/endpointslices") {
        true => "endpointslice-controller",
        false => "endpoint-controller",
    }
}

/// Whose disruption budgets are; upstream's reads pods out of its cache only.
pub fn of_budgets(method: &Method, path: &str) -> &'static str {
    match *method == Method::GET && path.contains("/pods/") {
        true => "generic-garbage-collector",
        false => "disruption-controller",
    }
}

/// Whose the defaults of namespaces are.
pub fn of_namespace_defaults(_: &Method, path: &str) -> &'static str {
    match path.contains("/configmaps") {
        true => "root-ca-cert-publisher",
        false => "service-account-controller",
    }
}

/// Whose the bootstrap tokens are: one signs with them, one deletes them.
pub fn of_bootstrap_tokens(method: &Method, _: &str) -> &'static str {
    match *method {
        Method::DELETE => "token-cleaner",
        _ => "bootstrap-signer",
    }
}

/// Whose quotas are; upstream's reads them out of its cache only.
pub fn of_quotas(_: &Method, path: &str) -> &'static str {
    match path.contains("/resourcequotas/") && !path.ends_with("/status") {
        true => "generic-garbage-collector",
        false => "resourcequota-controller",
    }
}

/// Whose volumes and claims in use are.
pub fn of_storage_protection(_: &Method, path: &str) -> &'static str {
    match path.contains("/persistentvolumes") {
        true => "pv-protection-controller",
        false => "pvc-protection-controller",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_by_who_may_read_pods_and_all_else_of_budgets_is_their_own() {
        for (method, path, account) in [
            (
                Method::GET,
                "/api/v1/namespaces/ns/pods/p",
                "generic-garbage-collector",
            ),
            (
                Method::GET,
                "/apis/example.com/v1/namespaces/ns/owners/o/scale",
                "disruption-controller",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/ns/events",
                "disruption-controller",
            ),
        ] {
            assert_eq!(of_budgets(&method, path), account, "{method} {path}");
        }
    }
}
