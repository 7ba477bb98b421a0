//! `Remote`: a runtime at the other end of a unix socket.

mod connect;
mod deadlines;
mod runtime_service;

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
/// restarted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Remote {
    endpoint: Endpoint,
    channel: Channel,
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
            name: answer.runtime_name,
            version: answer.runtime_version,
        })
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

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        connect::runtime_client(self.channel())
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel()).max_decoding_message_size(MESSAGE_SIZE_MAX)
    }
}
