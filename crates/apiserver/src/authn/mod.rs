//! Who is calling: client certificates of the connection, or nobody (contract §15.1, §15.2).
mod certificate;
mod user;

pub use user::UserInfo;

use crate::status::ApiError;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::Arc;

/// What a connection proves about its client.
#[derive(Clone)]
pub enum Identity {
    User(Arc<UserInfo>),
    Anonymous(Arc<UserInfo>),
    /// A certificate that names nobody.
    Bad,
}

/// The identity of a connection, from its verified client certificate.
pub fn from_connection(certificate: Option<&[u8]>) -> Identity {
    match certificate {
        None => Identity::Anonymous(Arc::new(UserInfo::anonymous())),
        Some(der) => match certificate::user(der) {
            Some(user) => Identity::User(Arc::new(user)),
            None => Identity::Bad,
        },
    }
}

/// The user of one request on that connection.
pub fn authenticate(identity: &Identity, headers: &HeaderMap) -> Result<Arc<UserInfo>, ApiError> {
    match identity {
        Identity::User(user) => Ok(user.clone()),
        Identity::Bad => Err(ApiError::unauthorized()),
        Identity::Anonymous(user) => {
            // No token is valid here yet; a wrong one is refused rather than ignored. Other schemes
            // count as no credentials.
            let bearer = headers
                .get(AUTHORIZATION)
                .and_then(|v| v.to_str().ok())
                .is_some_and(|v| v.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("bearer ")));
            if bearer {
                return Err(ApiError::unauthorized());
            }
            Ok(user.clone())
        }
    }
}
