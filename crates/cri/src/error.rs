use crate::Endpoint;
use std::time::Duration;
use tonic::Code;

/// A CRI call that failed.
///
/// Its text is the runtime's, in gRPC's usual form: it ends up in Events and conditions, where users and tools look for
/// exactly that. The call is a field, for logs.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub struct CriError {
    /// The CRI method, `RunPodSandbox`.
    pub call: &'static str,
    /// The gRPC code.
    pub code: Code,
    /// The runtime's words.
    pub message: String,
}

impl CriError {
    /// An error of `call`.
    pub fn new(call: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self {
            call,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn deadline(call: &'static str, deadline: Duration) -> Self {
        Self::new(
            call,
            Code::DeadlineExceeded,
            format!("the runtime did not answer within {deadline:?}"),
        )
    }

    pub(crate) fn status(call: &'static str, status: &tonic::Status) -> Self {
        let mut message = status.message().to_owned();
        // tonic says only "transport error"; what happened is in the chain below.
        if let Some(source) = std::error::Error::source(status) {
            let mut cause = Some(source);
            while let Some(error) = cause {
                let text = error.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                cause = error.source();
            }
        }
        Self::new(call, status.code(), message)
    }

    /// The container, sandbox or image isn't there.
    pub fn is_not_found(&self) -> bool {
        // containerd 1.6 answers some lookups with Unknown and this text.
        self.code == Code::NotFound || (self.code == Code::Unknown && self.message.contains("not found"))
    }

    /// The runtime doesn't know the method.
    pub fn is_unimplemented(&self) -> bool {
        self.code == Code::Unimplemented
    }

    /// The runtime could not be reached, or is starting.
    pub fn is_unavailable(&self) -> bool {
        self.code == Code::Unavailable
            || (self.code == Code::Unknown && self.message.contains("server is not initialized"))
    }

    /// The runtime didn't answer in time, or what it ran took too long.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.code == Code::DeadlineExceeded
    }

    /// The container is about to run or to go, which the runtime lets come to its end first.
    pub fn is_between_states(&self) -> bool {
        let words = [
            "in starting state",
            "in removing state",
            "still running, to stop first",
        ];
        words.iter().any(|words| self.message.contains(words))
    }

    /// There is already one of that name.
    pub fn is_already_exists(&self) -> bool {
        self.code == Code::AlreadyExists
    }
}

/// No connection to a runtime.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint isn't one.
    #[error(
        "{endpoint:?} is no runtime endpoint: {reason}; give unix:///run/containerd/containerd.sock or the like"
    )]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No socket at the path.
    #[error(
        "runtime socket {} does not exist: is containerd running? Start it, or name another socket with --container-runtime-endpoint",
        endpoint.socket().display()
    )]
    SocketMissing {
        /// Where it should be.
        endpoint: Endpoint,
    },
    /// A socket that nobody listens on, or that may not be opened.
    #[error("runtime at {endpoint} can't be reached: {reason}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        reason: String,
    },
    /// Something answered that is no usable CRI runtime.
    #[error(
        "runtime at {endpoint} does not serve CRI v1: {error}; its CRI plugin may be disabled in its configuration"
    )]
    NotCri {
        /// Where.
        endpoint: Endpoint,
        /// What `Version` answered.
        error: CriError,
    },
    /// `Version` answers another CRI version.
    #[error("runtime at {endpoint} speaks CRI version {version:?}, not 0.1.0")]
    Version {
        /// Where.
        endpoint: Endpoint,
        /// What it says.
        version: String,
    },
}
