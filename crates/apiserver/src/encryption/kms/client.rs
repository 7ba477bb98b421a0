//! Talking to a plugin: gRPC over a unix socket.
use super::messages::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream as StdUnixStream};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// A plugin that cannot be asked, or that answers what cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    #[error("the KMS plugin {name} does not answer: {reason}")]
    Silent { name: String, reason: String },
    #[error("the KMS plugin {name} is not healthy: {reason}")]
    Unhealthy { name: String, reason: String },
    #[error("the KMS plugin {name} answers what cannot be followed: {reason}")]
    Answer { name: String, reason: String },
}

/// One plugin.
pub struct Client {
    name: String,
    /// A path, or a name in the abstract namespace behind an `@`.
    socket: String,
    timeout: Duration,
    channel: OnceLock<Channel>,
}

impl Client {
    pub fn new(name: &str, socket: &str, timeout: Duration) -> Self {
        Self {
            name: name.to_owned(),
            socket: socket.to_owned(),
            timeout,
            channel: OnceLock::new(),
        }
    }

    pub fn socket(&self) -> &str {
        &self.socket
    }

    pub async fn status(&self) -> Result<StatusResponse, KmsError> {
        self.ask("/v2.KeyManagementService/Status", StatusRequest {})
            .await
    }

    pub async fn encrypt(&self, request: EncryptRequest) -> Result<EncryptResponse, KmsError> {
        self.ask("/v2.KeyManagementService/Encrypt", request).await
    }

    pub async fn decrypt(&self, request: DecryptRequest) -> Result<DecryptResponse, KmsError> {
        self.ask("/v2.KeyManagementService/Decrypt", request).await
    }

    async fn ask<Q, A>(&self, method: &'static str, question: Q) -> Result<A, KmsError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel());
        let answer = async {
            let ready = grpc.ready().await;
            ready.map_err(|error| Status::unavailable(error.to_string()))?;
            let method = PathAndQuery::from_static(method);
            grpc.unary(Request::new(question), method, ProstCodec::default())
                .await
        };
        let reason = match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status.to_string(),
            Err(_) => format!("nothing came within {:?}", self.timeout),
        };
        Err(KmsError::Silent {
            name: self.name.clone(),
            reason,
        })
    }

    /// It connects when something is asked, and again after the plugin was restarted.
    fn channel(&self) -> Channel {
        let connect = || {
            let socket = self.socket.clone();
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(move |_| {
                let socket = socket.clone();
                async move { connect(&socket).await.map(TokioIo::new) }
            }))
        };
        self.channel.get_or_init(connect).clone()
    }
}

async fn connect(socket: &str) -> io::Result<UnixStream> {
    match socket.strip_prefix('@') {
        None => UnixStream::connect(socket).await,
        Some(name) => {
            let stream = StdUnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        }
    }
}
