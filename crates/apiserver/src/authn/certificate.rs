//! A client certificate's subject as a user. The chain was verified by the TLS handshake.
use super::UserInfo;
use sha2::{Digest, Sha256};

/// Where reviews show which credential was used.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// User = common name, groups = every organization. `None` when there is no name.
pub fn user(der: &[u8]) -> Option<UserInfo> {
    let identity = orlop_pki::subject_of(der).filter(|i| !i.user.is_empty())?;
    let mut user = UserInfo::new(identity.user, identity.groups);
    let fingerprint: String = Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect();
    user.extra.insert(
        CREDENTIAL_ID.to_owned(),
        vec![format!("X509SHA256={fingerprint}")],
    );
    Some(user)
}
