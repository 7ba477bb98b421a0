//! Plugins come: they register on our socket, or announce themselves.
use super::messages::{Empty, Options, RegisterRequest};
use super::plugin::{self, Registered};
use super::state::PluginCaller;
use super::{Devices, PATIENCE, SERVICE, record};
use crate::grpc::{self, Messages, Refusal, decode, one};
use crate::grpc_client::Caller;
use futures::FutureExt;
use orlop_api::names::is_qualified_name;
use orlop_api::quota::is_extended;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// The version that plugins must speak.
pub(super) const VERSION: &str = "v1beta1";

impl Devices {
    /// Removes sockets that plugins of an earlier agent have: they notice, and register again.
    pub fn clear(&self) {
        for entry in std::fs::read_dir(&self.sockets).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                // One that its plugin has removed by itself is no trouble.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// The service that plugins register with.
    pub fn service(self: &Arc<Self>) -> grpc::Service {
        Arc::new(Registration(self.clone()))
    }

    /// Takes a plugin in that says what it can do.
    async fn register(self: Arc<Self>, request: RegisterRequest) -> Result<Messages, Refusal> {
        let refuse = |message: String| Refusal {
            code: grpc::INVALID_ARGUMENT,
            message,
        };
        if request.version != VERSION {
            return Err(refuse(format!(
                "requested API version {:?} is not supported by kubelet. Supported version is {VERSION:?}",
                request.version
            )));
        }
        let resource = request.resource_name;
        if !is_resource(&resource) {
            return Err(refuse(format!("the ResourceName {resource:?} is invalid")));
        }
        if request.endpoint.is_empty() || request.endpoint.contains('/') {
            return Err(refuse(format!(
                "the endpoint {:?} is no file name",
                request.endpoint
            )));
        }
        let socket = self.sockets.join(&request.endpoint);
        self.take_in(resource, &socket).await.map_err(|message| Refusal {
            code: grpc::UNKNOWN,
            message,
        })?;
        Ok(one(Empty {}))
    }

    /// Asks a plugin what it can do, and follows it from then on. It may do better the next time it is asked.
    pub async fn take_in(self: Arc<Self>, resource: String, socket: &Path) -> Result<(), String> {
        let caller = Caller::connect(socket, SERVICE).await;
        let caller = caller.map_err(|error| format!("failed to dial device plugin: {error}"))?;
        let options = caller.ask::<Options>("GetDevicePluginOptions", &Empty {}, PATIENCE);
        let options = options.await;
        let options = options.map_err(|error| format!("failed to get device plugin options: {error}"))?;
        tracing::info!(resource, socket = %socket.display(), "device plugin registered");
        let task = self.shutdown.child_token();
        {
            let mut state = self.state.lock();
            let known = state.resources.entry(resource.clone()).or_default();
            std::mem::replace(&mut known.task, task.clone()).cancel();
            // Its devices go to nobody until it has taken the other's place, which may never happen.
            self.change_in(&mut state, &resource, &task, |known| known.plugin = None);
            if let Err(error) = record::save_resources(&self.sockets, state.resources.keys()) {
                tracing::warn!(%error, "cannot note which device plugins there are");
            }
        }
        let plugin = Registered {
            resource,
            plugin: PluginCaller { caller, options },
        };
        tokio::spawn(plugin::follow(self.clone(), plugin, task));
        Ok(())
    }
}

/// Why a plugin that announces itself is of no use, whenever it is asked. `versions` are those that it speaks.
pub fn unfit(resource: &str, versions: &[String]) -> Option<String> {
    if !versions.iter().any(|version| version == VERSION) {
        return Some(format!(
            "manager version, {VERSION}, is not among plugin supported versions {versions:?}"
        ));
    }
    (!is_resource(resource)).then(|| format!("the ResourceName {resource:?} is invalid"))
}

/// Whether plugins may bring devices under this name.
fn is_resource(name: &str) -> bool {
    is_qualified_name(name) && is_extended(name)
}

/// What plugins call.
struct Registration(Arc<Devices>);

impl grpc::Calls for Registration {
    fn call(&self, path: &str, message: &[u8]) -> grpc::Answer {
        let (devices, request) = (self.0.clone(), decode(message));
        if path != "/v1beta1.Registration/Register" {
            return std::future::ready(Err(Refusal::unknown(path))).boxed();
        }
        async move { devices.register(request?).await }.boxed()
    }
}
