//! ttrpc over unix sockets: what containerd asks us over, and we tell it events over.

mod client;
mod frame;
mod server;

pub use client::Client;
pub use server::{Service, serve};

use crate::proto;

/// Why a call failed, in gRPC's codes, by which containerd tells errors apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    FailedPrecondition = 9,
    Unimplemented = 12,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Something failed that has no code of its own.
    pub fn unknown(error: impl std::fmt::Display) -> Self {
        Self::new(Code::Unknown, error.to_string())
    }
}

impl From<Refusal> for proto::ttrpc::Status {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code as i32,
            message: refusal.message,
            details: Vec::new(),
        }
    }
}
