//! Listens to Secrets of the type and to ServiceAccounts that go; writes tokens and deletes what has lost its account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher;
use orlop_client::informer::{Change, Informer, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use orlop_pki::{PkiError, TokenSigner};
use tokio::task::JoinSet;

use super::plan::{self, account_of};
use super::view::{BY_ACCOUNT, TokenView, index};
use crate::api_error;
use crate::cache::Cache;
use crate::resources::{Existence, MetadataOnly};
use crate::root_ca::RootCa;
use crate::workers::Workers;

/// Selects the Secrets.
pub const OF_TYPE: &str = "type=kubernetes.io/service-account-token";

/// The controller.
pub struct AccountTokens {
    client: kube::Client,
    signer: Arc<TokenSigner>,
    root_ca: Option<RootCa>,
    secrets: Arc<Informer<TokenView>>,
    accounts: Arc<Informer<Existence>>,
    queue: Arc<WorkQueue<ObjectKey>>,
    gone: Gone,
}

/// Secrets that went, each with the account that may name it still.
type Gone = Arc<Mutex<HashMap<ObjectKey, String>>>;

fn lock(gone: &Gone) -> MutexGuard<'_, HashMap<ObjectKey, String>> {
    gone.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    #[error("cannot sign a token: {0}")]
    Sign(#[from] PkiError),
}

impl AccountTokens {
    /// With who signs tokens, and the authority that clients with a token trust.
    pub fn new(
        client: kube::Client,
        cache: &Arc<Cache>,
        signer: Arc<TokenSigner>,
        root_ca: Option<RootCa>,
    ) -> Arc<Self> {
        let queue = cache.queue("serviceaccount_tokens_secret");
        let secrets: Arc<Informer<TokenView>> = Arc::new(Informer::new());
        let accounts: Arc<Informer<Existence>> = Arc::new(Informer::new());
        let gone = Gone::default();
        let (on, noted) = (queue.clone(), gone.clone());
        secrets.on_change(move |change: &Change<TokenView>| {
            let secret = change.latest();
            if change.new.is_none() {
                lock(&noted).insert(secret.key.clone(), secret.account.clone());
            }
            on.add(secret.key.clone());
        });
        let (on, of) = (queue.clone(), secrets.clone());
        accounts.on_change(move |change: &Change<Existence>| {
            if change.new.is_some() && change.old.is_some() {
                return;
            }
            let account = &change.latest().key;
            let value = index(&account.namespace, &account.name);
            for secret in of.store().by_index(BY_ACCOUNT, &value) {
                on.add(secret.key.clone());
            }
        });
        Arc::new(Self {
            client,
            signer,
            root_ca,
            secrets,
            accounts,
            queue,
            gone,
        })
    }

    /// Starts the watches and the worker.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let (secrets, api) = (self.secrets.clone(), Api::<Secret>::all(self.client.clone()));
        tasks.spawn(async move { secrets.run(api, watcher::Config::default().fields(OF_TYPE)).await });
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ServiceAccount"));
        let api: Api<MetadataOnly> = Api::all_with(self.client.clone(), &kind);
        let accounts = self.accounts.clone();
        tasks.spawn(async move { accounts.run(api, watcher::Config::default()).await });
        Workers {
            name: "account_tokens",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            |error: &Failed| matches!(error, Failed::Api(error) if api_error::is_conflict(error)),
        );
        if let Some(root_ca) = self.root_ca.clone() {
            let (secrets, queue) = (self.secrets.clone(), self.queue.clone());
            tasks.spawn(root_ca.each_time_replaced(move || {
                secrets.store().for_each(|secret| queue.add(secret.key.clone()));
            }));
        }
    }

    async fn sync(&self, key: &ObjectKey) -> Result<(), Failed> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(secret) = secrets.get_opt(&key.name).await? else {
            return self.take_name(key).await;
        };
        lock(&self.gone).remove(key);
        if secret.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let account = accounts.get_opt(account_of(&secret, plan::ACCOUNT)).await?;
        let Some(account) = account.filter(|account| plan::is_of(&secret, account)) else {
            return self.delete(&secrets, &key.name, secret.metadata.uid).await;
        };
        let sign = |claims: &serde_json::Value| self.signer.sign(claims);
        let root_ca = self.root_ca.as_ref().map(RootCa::current);
        let full = plan::completed(&secret, &account, root_ca.as_deref(), sign)?;
        if let Some(full) = full {
            secrets.replace(&key.name, &PostParams::default(), &full).await?;
        }
        Ok(())
    }

    /// Takes the name of a Secret that went out of its account's list.
    async fn take_name(&self, key: &ObjectKey) -> Result<(), Failed> {
        let Some(account) = lock(&self.gone).get(key).cloned() else {
            return Ok(());
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = match account.is_empty() {
            true => None,
            false => accounts.get_opt(&account).await?,
        };
        if let Some(without) = found.and_then(|found| plan::without(found, &key.name)) {
            match accounts.replace(&account, &PostParams::default(), &without).await {
                Err(error) if !api_error::is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        lock(&self.gone).remove(key);
        Ok(())
    }

    async fn delete(&self, secrets: &Api<Secret>, name: &str, uid: Option<String>) -> Result<(), Failed> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match secrets.delete(name, &params).await {
            Err(error) if !api_error::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
