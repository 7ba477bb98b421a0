//! API groups that other servers serve: APIServices name them, requests for them are passed on, and what they serve
//! shows in discovery.
mod availability;
mod locate;
mod proxy;
mod schemas;

pub use availability::run as watch_availability;
pub use proxy::forward;
pub use schemas::document as schema_document;

use crate::authn::FrontProxyConfig;
use crate::cache::{Cache, StorageId};
use crate::outbound::{Outbound, OutboundError, Trust};
use crate::resources;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_api::conditions;
use orlop_pki::Presented;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The API group of APIServices.
pub const GROUP: &str = "apiregistration.k8s.io";
/// A group-version that another server serves.
pub struct Remote {
    pub name: String,
    pub group: String,
    pub version: String,
    namespace: String,
    service: String,
    port: u16,
    ca: Option<String>,
    insecure: bool,
    pub available: bool,
    /// The higher, the earlier in lists: the group's, then the version's.
    priority: (i64, i64),
}

impl Remote {
    /// `None` for what this server serves itself.
    fn of(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = spec["service"].as_object()?;
        let ca = spec["caBundle"].as_str().filter(|ca| !ca.is_empty());
        Some(Self {
            name: text(&object["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            namespace: text(service.get("namespace")?),
            service: text(service.get("name")?),
            port: service
                .get("port")
                .and_then(Value::as_u64)
                .and_then(|p| u16::try_from(p).ok())
                .unwrap_or(443),
            ca: ca.and_then(|ca| String::from_utf8(STANDARD.decode(ca).ok()?).ok()),
            insecure: spec["insecureSkipTLSVerify"] == true,
            available: is_available(object),
            priority: (
                spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
                spec["versionPriority"].as_i64().unwrap_or_default(),
            ),
        })
    }

    /// TLS towards it.
    fn outbound(&self, identity: Option<&Presented>) -> Result<Outbound, OutboundError> {
        let trust = match (&self.ca, self.insecure) {
            (_, true) => Trust::Anyone,
            (Some(ca), false) => Trust::Authorities(ca),
            (None, false) => Trust::Machine,
        };
        let own = identity.map(Presented::current);
        Outbound::new(
            trust,
            own.as_ref()
                .map(|own| (own.certificate.as_str(), own.key.as_str())),
        )
    }

    /// What its certificate is for.
    fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// What the condition of an APIService says.
fn is_available(object: &Value) -> bool {
    conditions::is_true(object, "Available")
}

/// The versions of a group, each with what is known of its resources.
pub type Versions = Vec<(String, Option<Arc<Value>>)>;

/// What is passed on.
pub struct Aggregation {
    cache: Arc<Cache>,
    storage: Option<StorageId>,
    compiled: RwLock<(u64, Arc<Vec<Arc<Remote>>>)>,
    /// How this server presents itself to the others.
    identity: Option<Presented>,
    /// The headers, and beginnings of such, in which they are told who calls: nobody else's are passed on.
    naming: Vec<String>,
    /// What available servers say they serve (`APIResourceList.resources`), by APIService.
    documents: Mutex<HashMap<String, Arc<Value>>>,
    /// Hashes of their OpenAPI v3 documents, by APIService.
    hashes: Mutex<HashMap<String, String>>,
}

impl Aggregation {
    /// `front_proxy`: in which headers the others take this server's word, as they read in the cluster.
    pub fn new(
        cache: Arc<Cache>,
        identity: Option<Presented>,
        front_proxy: Option<&FrontProxyConfig>,
    ) -> Self {
        let names = front_proxy.into_iter().flat_map(FrontProxyConfig::names);
        Self {
            storage: resources::find(GROUP, "v1", "apiservices").and_then(|kind| cache.storage(kind)),
            cache,
            compiled: RwLock::default(),
            identity,
            naming: names
                .filter(|name| !name.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
            documents: Mutex::default(),
            hashes: Mutex::default(),
        }
    }

    /// Every group-version that others serve, the preferred ones first.
    pub fn remotes(&self) -> Arc<Vec<Arc<Remote>>> {
        let Some(storage) = self.storage else {
            return Arc::default();
        };
        let newest = self.cache.last_change([storage]).max(1);
        {
            let compiled = self.compiled.read();
            if compiled.0 >= newest {
                return compiled.1.clone();
            }
        }
        let objects = self.cache.snapshot(storage, "").objects;
        let mut remotes: Vec<Arc<Remote>> = objects
            .iter()
            .filter_map(|object| Remote::of(&object.value()))
            .map(Arc::new)
            .collect();
        remotes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        let remotes = Arc::new(remotes);
        *self.compiled.write() = (newest, remotes.clone());
        remotes
    }

    /// Who serves a group-version, if it is another server.
    pub fn remote(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes();
        remotes
            .iter()
            .find(|remote| remote.group == group && remote.version == version)
            .cloned()
    }

    /// Who serves a path below `/apis/{group}/{version}`, if it is another server.
    pub fn remote_of_path(&self, path: &str) -> Option<Arc<Remote>> {
        let mut segments = path.strip_prefix("/apis/")?.split('/');
        if self.remotes().is_empty() {
            return None;
        }
        self.remote(segments.next()?, segments.next()?)
    }

    /// The groups that others serve, each with its versions and what is known of their resources.
    pub fn groups(&self) -> Vec<(String, Versions)> {
        let documents = self.documents.lock();
        let mut groups: Vec<(String, Versions)> = Vec::new();
        for remote in self.remotes().iter() {
            let version = (remote.version.clone(), documents.get(&remote.name).cloned());
            match groups.iter_mut().find(|(group, _)| *group == remote.group) {
                Some((_, versions)) => versions.push(version),
                None => groups.push((remote.group.clone(), vec![version])),
            }
        }
        groups
    }

    /// Which APIServices are available, for the metrics: also those of what this server serves itself.
    pub fn states(&self) -> Vec<(String, bool)> {
        let state = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            (name.to_owned(), is_available(object))
        };
        let objects = self.cache.values_of(GROUP, "apiservices");
        objects.iter().map(state).collect()
    }

    /// Group-versions of others with OpenAPI v3 documents, each with its hash.
    pub fn schemas(&self) -> Vec<(Arc<Remote>, String)> {
        let hashes = self.hashes.lock();
        if hashes.is_empty() {
            return Vec::new();
        }
        let remotes = self.remotes();
        let known = remotes.iter().filter(|remote| remote.available);
        known
            .filter_map(|remote| Some((remote.clone(), hashes.get(&remote.name)?.clone())))
            .collect()
    }

    /// Forgets what was known of servers that are no longer named.
    fn keep_only(&self, remotes: &[Arc<Remote>]) {
        let named = |name: &String| remotes.iter().any(|remote| remote.name == *name);
        self.documents.lock().retain(|name, _| named(name));
        self.hashes.lock().retain(|name, _| named(name));
    }

    fn keep_hash(&self, name: &str, hash: Option<String>) {
        let mut hashes = self.hashes.lock();
        match hash {
            Some(hash) => hashes.insert(name.to_owned(), hash),
            None => hashes.remove(name),
        };
    }

    fn keep(&self, name: &str, document: Option<Value>) {
        let mut documents = self.documents.lock();
        match document {
            Some(document) => documents.insert(name.to_owned(), Arc::new(document)),
            None => documents.remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_api_service_with_a_service_is_anothers() {
        let mut object = json!({"metadata": {"name": "v1.example.org"},
            "spec": {"group": "example.org", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 1}});
        assert!(Remote::of(&object).is_none());
        object["spec"]["service"] = json!({"namespace": "n", "name": "s"});
        object["spec"]["caBundle"] = json!(STANDARD.encode("PEM"));
        object["status"] = json!({"conditions": [{"type": "Available", "status": "True"}]});
        let remote = Remote::of(&object).unwrap();
        assert_eq!((remote.port, remote.available), (443, true));
        assert_eq!(
            (remote.host().as_str(), remote.ca.as_deref()),
            ("s.n.svc", Some("PEM"))
        );
    }
}
