//! Who is calling: the connection's client certificate, a bearer token, or nobody (contract §15.1, §15.2).
mod accounts;
mod certificate;
mod impersonation;
mod user;

pub use accounts::{Accounts, Bound, Wanted};
pub use impersonation::requested as requested_impersonation;
pub use user::UserInfo;

use crate::ApiServer;
use crate::status::ApiError;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
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

/// The user of one request on that connection. A certificate counts before a token.
pub fn authenticate(
    server: &ApiServer,
    identity: &Identity,
    headers: &HeaderMap,
) -> Result<Arc<UserInfo>, ApiError> {
    match identity {
        Identity::User(user) => Ok(user.clone()),
        Identity::Bad => Err(ApiError::unauthorized()),
        Identity::Anonymous(nobody) => match bearer(headers) {
            // A wrong token is refused rather than ignored.
            Some(token) => token_user(server, token).ok_or_else(ApiError::unauthorized),
            None => Ok(nobody.clone()),
        },
    }
}

/// The token of an `Authorization: Bearer` header. Other schemes count as no credentials.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn token_user(server: &ApiServer, token: &str) -> Option<Arc<UserInfo>> {
    let accounts = server.accounts.as_ref()?;
    let verified = accounts.verify(token, &accounts.audiences, &server.cache, Timestamp::now())?;
    Some(Arc::new(verified.user))
}
