//! The bodies of requests.
use crate::request::BODY_BYTES_MAX;
use crate::status::ApiError;
use bytes::Bytes;
use futures::future::FutureExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use std::time::Duration;

/// A request body that has not been read yet: who asks and whether they may comes first.
#[derive(Default)]
pub(crate) enum Upload {
    #[default]
    Nothing,
    Coming(Passed),
}

/// A body that comes in pieces.
pub(crate) type Passed = UnsyncBoxBody<Bytes, std::io::Error>;

impl Upload {
    pub fn of<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if body.is_end_stream() {
            Self::Nothing
        } else {
            Self::Coming(body.map_err(std::io::Error::other).boxed_unsync())
        }
    }

    /// As it comes, however long it is.
    pub fn pass_on(self) -> Passed {
        match self {
            Self::Nothing => Full::default().map_err(|never| match never {}).boxed_unsync(),
            Self::Coming(body) => body,
        }
    }

    /// All of it, up to the limit.
    pub(super) async fn read(self, within: Duration) -> Result<Bytes, ApiError> {
        match self {
            Self::Nothing => Ok(Bytes::new()),
            Self::Coming(body) => tokio::time::timeout(within, collect(body).boxed())
                .await
                .unwrap_or_else(|_| Err(ApiError::too_late())),
        }
    }
}

/// Reads a request body, up to the limit.
async fn collect(body: Passed) -> Result<Bytes, ApiError> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(format!("limit is {BODY_BYTES_MAX}")))
        }
        Err(error) => Err(ApiError::bad_request(format!(
            "the request body could not be read: {error}"
        ))),
    }
}
