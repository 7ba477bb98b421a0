//! `Remote`: a runtime at the other end of a unix socket.

mod beyond;
mod connect;
mod deadlines;
mod runtime_service;
mod signal;

use crate::{ConnectError, Endpoint, v1};
use std::time::Duration;
use tonic::transport::Channel;
use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

/// Largest message taken from a runtime; upstream's agent uses the same 16 MiB.
pub(crate) const MESSAGE_SIZE_MAX: usize = 16 * 1024 * 1024;
/// How long `connect` retries a runtime that doesn't answer yet. Short: the user waits for an error message meanwhile.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// A CRI v1 runtime over its unix socket: one connection for all calls, opened again by itself when the runtime was
/// restarted; another one for images, if another service has them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Remote {
    endpoint: Endpoint,
    channel: Channel,
    /// Of the service that has the images, if that is another one.
    images: Option<Channel>,
    request_timeout: Duration,
    name: String,
    version: String,
}

impl Remote {
    /// Connects and checks that a CRI v1 runtime answers; retries for up to 3 s while one that is starting refuses.
    pub async fn connect(endpoint: &str) -> Result<Self, ConnectError> {
        Self::connect_within(&Endpoint::parse(endpoint)?, CONNECT_PATIENCE).await
    }

    /// [`Remote::connect`] with another patience.
    pub async fn connect_within(endpoint: &Endpoint, patience: Duration) -> Result<Self, ConnectError> {
        let (channel, answer) = connect::handshake(endpoint, patience).await?;
        Ok(Self {
            endpoint: endpoint.clone(),
            channel,
            images: None,
            request_timeout: deadlines::DEFAULT,
            name: answer.runtime_name,
            version: answer.runtime_version,
        })
    }

    /// Has images looked up, pulled and removed at another endpoint; retries for up to `patience` while nothing listens
    /// there. Such a service answers for images alone, so its version is not asked for.
    pub async fn with_images_at(self, endpoint: &Endpoint, patience: Duration) -> Result<Self, ConnectError> {
        Ok(Self {
            images: Some(connect::listening(endpoint, patience).await?),
            ..self
        })
    }

    /// Gives up calls that take longer; those that wait for something themselves get it on top (two of it to start a
    /// sandbox, none to pull an image).
    #[must_use]
    pub fn with_request_timeout(self, request_timeout: Duration) -> Self {
        Self {
            request_timeout,
            ..self
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `containerd`, at the time of connecting.
    pub fn runtime_name(&self) -> &str {
        &self.name
    }

    /// `1.6.20`, at the time of connecting.
    pub fn runtime_version(&self) -> &str {
        &self.version
    }

    /// Whether containerd's own services answer there too.
    pub(crate) fn is_containerd(&self) -> bool {
        self.name == "containerd"
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        connect::runtime_client(self.channel())
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        let channel = self.images.clone().unwrap_or_else(|| self.channel());
        ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_SIZE_MAX)
    }
}
