//! Credential providers (contract, node agent §2.3): programs that know how the node, or a pod's account, logs in to some
//! registries.
//!
//! | part | job |
//! |---|---|
//! | `config` | which programs, for which images |
//! | `glob` | whether an image is one of those |
//! | `protocol` | what is asked and answered |
//! | `cache` | answers while they count |
//! | `run` | one program, one answer |
mod cache;
mod config;
mod glob;
mod protocol;
mod run;

pub use config::ProviderError;
pub(super) use glob::host_fits;

use super::access::hash;
use super::credentials::{Credentials, Owner};
use crate::in_time::in_time;
use crate::metrics::{Metrics, PluginName};
use crate::tokens;
use cache::Cache;
use config::TokenAttributes;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, Client};
use orlop_api::pod::{is_static, name, namespace, uid};
use parking_lot::Mutex;
use protocol::{Account, Entry};
use run::Program;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Logins by registry, as a provider gives them.
type Logins = Arc<BTreeMap<String, Entry>>;

/// One provider.
struct Provider {
    name: String,
    images: Vec<String>,
    lasts: Duration,
    token: Option<TokenAttributes>,
    /// By pod and account, each by its UID.
    tokens: tokens::Shelf<(String, String)>,
    program: Program,
    cache: Mutex<Cache<Logins>>,
    /// Who asks the same at the same time waits for one answer.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// All providers of a node.
pub struct Providers(Vec<Provider>);

/// On whose behalf a provider is asked.
struct OnBehalf {
    account: Account,
    owner: Owner,
    /// What tells its answers from those for others.
    key: String,
}

impl Providers {
    /// Those of a configuration (a file, or a directory of files) whose programs lie in `programs`.
    pub fn open(configuration: &Path, programs: &Path) -> Result<Self, ProviderError> {
        let entries = config::read(configuration)?;
        let providers = entries.into_iter().map(|entry| {
            let path = programs.join(&entry.name);
            let found = std::fs::metadata(&path).map_err(|source| ProviderError::Read {
                what: "credential provider",
                path: path.clone(),
                source,
            })?;
            if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
                return Err(ProviderError::NotExecutable(path));
            }
            Ok(Provider {
                name: entry.name,
                images: entry.match_images,
                lasts: entry
                    .default_cache_duration
                    .map_or(Duration::ZERO, |lasts| lasts.0),
                token: entry.token_attributes,
                tokens: tokens::Shelf::default(),
                program: Program {
                    path,
                    args: entry.args,
                    env: entry.env,
                    version: entry.api_version,
                },
                cache: Mutex::default(),
                turns: Mutex::default(),
            })
        });
        Ok(Self(providers.collect::<Result<_, _>>()?))
    }

    /// Adds what providers say of an image. One that fails is told of in the log: the pull may work without it.
    pub async fn add_to(
        &self,
        credentials: &mut Credentials,
        (pod, image): (&Pod, &str),
        client: Option<&Client>,
        metrics: &Metrics,
    ) {
        let repository = glob::repository(image);
        for provider in self.0.iter().filter(|provider| provider.knows(&repository)) {
            let outcome = provider.logins(pod, &repository, client, metrics).await;
            match outcome {
                Ok(Some((logins, owner))) => {
                    for (registry, login) in logins.iter() {
                        credentials.add_login(registry, &login.username, &login.password, owner.clone());
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(
                    provider = provider.name,
                    image = repository,
                    pod = name(pod),
                    namespace = namespace(pod),
                    error,
                    "the credential provider gives no login"
                ),
            }
        }
    }
}

impl Provider {
    fn knows(&self, repository: &str) -> bool {
        self.images.iter().any(|pattern| glob::fits(pattern, repository))
    }

    /// What it says, with whose it is; `None`: it is not to be asked for this pod.
    async fn logins(
        &self,
        pod: &Pod,
        repository: &str,
        client: Option<&Client>,
        metrics: &Metrics,
    ) -> Result<Option<(Logins, Option<Owner>)>, String> {
        let behalf = match &self.token {
            Some(attributes) => match self.on_behalf(attributes, pod, client).await? {
                Some(behalf) => Some(behalf),
                None if attributes.require_service_account == Some(true) => return Ok(None),
                None if account_of(pod).is_some() => return Ok(None),
                None => None,
            },
            None => None,
        };
        let key = behalf.as_ref().map_or("", |behalf| behalf.key.as_str());
        let turn = self.turn(format!("{repository} {key}"));
        let _turn = turn.lock().await;
        let kept = self.cache.lock().get(repository, key, Instant::now());
        let logins = match kept {
            Some(logins) => logins,
            None => {
                let account = behalf.as_ref().map(|behalf| &behalf.account);
                self.ask(repository, (account, key), metrics).await?
            }
        };
        Ok(Some((logins, behalf.map(|behalf| behalf.owner))))
    }

    async fn ask(
        &self,
        repository: &str,
        (account, key): (Option<&Account>, &str),
        metrics: &Metrics,
    ) -> Result<Logins, String> {
        let request = protocol::request(&self.program.version, repository, account);
        let began = Instant::now();
        let answer = self.program.ask(&request).await;
        let counted = PluginName {
            plugin_name: self.name.clone(),
        };
        let durations = metrics.credential_providers.get_or_create(&counted);
        durations.observe(began.elapsed().as_secs_f64());
        let answer = answer.inspect_err(|_| {
            let errors = metrics.credential_provider_errors.get_or_create(&counted);
            errors.inc();
        })?;
        let logins = Arc::new(answer.auth.unwrap_or_default());
        let lasts = answer.cache_duration.map_or(self.lasts, |lasts| lasts.0);
        self.cache.lock().put(
            answer.scope,
            (repository, key),
            logins.clone(),
            (Instant::now(), lasts),
        );
        Ok(logins)
    }

    fn turn(&self, key: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(key, Arc::downgrade(&turn));
        turn
    }

    /// The pod's account with a token of it; `None` for a pod without one, or one that lacks what the provider wants.
    async fn on_behalf(
        &self,
        attributes: &TokenAttributes,
        pod: &Pod,
        client: Option<&Client>,
    ) -> Result<Option<OnBehalf>, String> {
        let (Some(account), Some(client)) = (account_of(pod), client) else {
            return Ok(None);
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace(pod));
        let found = in_time(accounts.get(account)).await;
        let found = found.map_err(|error| format!("cannot read service account {account:?}: {error}"))?;
        let had = found.metadata.annotations.unwrap_or_default();
        let mut annotations = BTreeMap::new();
        for wanted in &attributes.required_service_account_annotation_keys {
            let Some(value) = had.get(wanted) else {
                // So accounts choose whether they pull with this provider.
                return Ok(None);
            };
            annotations.insert(wanted.clone(), value.clone());
        }
        for wanted in &attributes.optional_service_account_annotation_keys {
            if let Some(value) = had.get(wanted) {
                annotations.insert(wanted.clone(), value.clone());
            }
        }
        let id = found.metadata.uid.unwrap_or_default();
        let audiences = vec![attributes.service_account_token_audience.clone()];
        let new = tokens::request(client, pod, account, (audiences, None));
        // What is kept for a token would never be found again if each call had one of its own.
        let token = self.tokens.token((uid(pod).to_owned(), id.clone()), new).await?;
        let owner = Owner::account(id, namespace(pod).to_owned(), account.to_owned());
        let of_token = (attributes.cache_type == "Token").then(|| hash(&token));
        let key = serde_json::json!([owner.namespace, owner.name, owner.uid, annotations, of_token]);
        Ok(Some(OnBehalf {
            account: Account { token, annotations },
            owner,
            key: key.to_string(),
        }))
    }
}

/// The account of a pod that the API server knows.
fn account_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref().filter(|_| !is_static(pod))?;
    let account = spec.service_account_name.as_deref();
    account.filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests;
