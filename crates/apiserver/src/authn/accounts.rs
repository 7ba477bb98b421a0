//! Service account tokens: what they say, and whether that still holds (contract §15.4).
use super::UserInfo;
use super::kept::Used;
use super::recent::{Recent, digest};
use crate::TokenConfig;
use crate::cache::Cache;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use orlop_api::annotations::{TOKEN_INVALID_SINCE, TOKEN_LAST_USED};
use orlop_pki::{PkiError, TokenPublicKey, TokenSigner, verified_claims};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Prefix of every name.
const PREFIX: &str = "system:serviceaccount:";
/// Issuer of the tokens that controllers keep in Secrets.
const KEPT_ISSUER: &str = "kubernetes/serviceaccount";
/// A pod that has been asked to go for this long counts as gone, seconds.
const GONE_AFTER: i64 = 60;
/// By so many seconds the clocks of two servers may differ.
const LEEWAY: i64 = 60;
/// A signature that was good is not checked again for this long.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Pods ask for 3607 s and are used to tokens that outlive a renewal that failed: they get a year, with
/// a note when a new one is due.
const POD_SECONDS: i64 = 3607;
const POD_SECONDS_GRANTED: i64 = 365 * 24 * 3600;

/// Makes and checks the tokens of service accounts.
pub struct Accounts {
    issuer: String,
    other_issuers: Vec<String>,
    key_set_url: String,
    /// What tokens are for if nothing else was asked.
    pub audiences: Vec<String>,
    signer: TokenSigner,
    keys: Vec<TokenPublicKey>,
    /// Claims of tokens whose signature was checked. Whether they still hold is looked at each time.
    signed: Recent<Arc<Value>>,
    /// Tokens last no longer, seconds.
    pub seconds_max: Option<i64>,
    /// Whether tokens of pods outlive a renewal that fails.
    extends: bool,
    /// What is kept in Secrets and was used.
    pub used: Arc<Used>,
}

/// An object that a token ends with.
pub struct Bound {
    /// `Pod`, `Secret` or `Node`.
    pub kind: &'static str,
    pub name: String,
    pub uid: String,
    /// The node of a bound pod: name and uid, which is empty if there is no such node.
    pub node: Option<(String, String)>,
}

/// A token and when it ends, as its requester is told.
pub struct Issued {
    pub token: String,
    pub expires: i64,
}

/// Whom a valid token speaks for, and which of the wanted audiences it is for.
pub struct Verified {
    pub user: Arc<UserInfo>,
    pub audiences: Vec<String>,
}

/// What a token is asked for.
pub struct Wanted<'a> {
    pub namespace: &'a str,
    pub account: (&'a str, &'a str),
    pub audiences: Vec<String>,
    pub seconds: i64,
    pub bound: Option<&'a Bound>,
}

impl Accounts {
    pub fn new(config: TokenConfig) -> Self {
        let TokenConfig {
            issuer,
            other_issuers,
            key_set_url,
            mut audiences,
            signer,
            mut keys,
            seconds_max,
            extends,
        } = config;
        let key_set_url =
            key_set_url.unwrap_or_else(|| format!("{}/openid/v1/jwks", issuer.trim_end_matches('/')));
        if audiences.is_empty() {
            audiences.push(issuer.clone());
            audiences.extend(other_issuers.iter().cloned());
        }
        keys.insert(0, signer.public().clone());
        Self {
            issuer,
            other_issuers,
            key_set_url,
            audiences,
            signer,
            keys,
            signed: Recent::default(),
            seconds_max,
            extends,
            used: Arc::default(),
        }
    }

    pub fn issue(&self, wanted: &Wanted<'_>, now: Timestamp) -> Result<Issued, PkiError> {
        let now = now.as_second();
        let pod = wanted.bound.is_some_and(|bound| bound.kind == "Pod");
        let own = wanted
            .audiences
            .iter()
            .all(|audience| self.audiences.contains(audience));
        let long = self.extends && pod && wanted.seconds == POD_SECONDS && own;
        let granted = if long { POD_SECONDS_GRANTED } else { wanted.seconds };
        let (account, uid) = wanted.account;
        let mut private = Map::new();
        private.insert("namespace".into(), json!(wanted.namespace));
        private.insert("serviceaccount".into(), json!({"name": account, "uid": uid}));
        if let Some(bound) = wanted.bound {
            private.insert(
                bound.kind.to_ascii_lowercase(),
                json!({"name": bound.name, "uid": bound.uid}),
            );
            if let Some((name, uid)) = &bound.node {
                let mut node = json!({"name": name});
                if !uid.is_empty() {
                    node["uid"] = json!(uid);
                }
                private.insert("node".into(), node);
            }
        }
        if long {
            private.insert("warnafter".into(), json!(now + wanted.seconds));
        }
        let claims = json!({
            "iss": self.issuer, "sub": format!("{PREFIX}{}:{account}", wanted.namespace), "aud": wanted.audiences,
            "exp": now + granted, "iat": now, "nbf": now, "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": private,
        });
        Ok(Issued {
            token: self.signer.sign(&claims)?,
            expires: now + wanted.seconds,
        })
    }

    /// Whom a token speaks for, if it was issued here, is for one of these audiences, and everything
    /// that it names is still there.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        cache: &Cache,
        now: Timestamp,
    ) -> Option<Verified> {
        let claims = self.signed_claims(token)?;
        let now = now.as_second();
        if claims["iss"] == KEPT_ISSUER {
            return self.verify_kept(token, &claims, audiences, cache, now);
        }
        if !claims["iss"].as_str().is_some_and(|issuer| self.knows(issuer))
            || claims["exp"].as_i64()?.saturating_add(LEEWAY) < now
            || claims["nbf"].as_i64().is_some_and(|from| from > now + LEEWAY)
        {
            return None;
        }
        let given = claims["aud"].as_array()?;
        let audiences: Vec<String> = audiences
            .iter()
            .filter(|a| given.contains(&json!(a)))
            .cloned()
            .collect();
        if audiences.is_empty() {
            return None;
        }
        let private = &claims["kubernetes.io"];
        let namespace = private["namespace"].as_str()?;
        let account = &private["serviceaccount"];
        let name = account["name"].as_str()?;
        holds(cache, "serviceaccounts", namespace, account, now)?;
        for (member, plural) in [("pod", "pods"), ("secret", "secrets")] {
            if private[member].is_object() {
                holds(cache, plural, namespace, &private[member], now)?;
            }
        }
        // With a pod, the node is only told.
        if private["pod"].is_null() && private["node"].is_object() {
            holds(cache, "nodes", "", &private["node"], now)?;
        }
        let mut extra = BTreeMap::new();
        let mut note = |key: &str, value: &Value| {
            if let Some(value) = value.as_str() {
                extra.insert(
                    format!("authentication.kubernetes.io/{key}"),
                    vec![value.to_owned()],
                );
            }
        };
        if let Some(id) = claims["jti"].as_str() {
            note("credential-id", &json!(format!("JTI={id}")));
        }
        for member in ["pod", "node"] {
            note(&format!("{member}-name"), &private[member]["name"]);
            note(&format!("{member}-uid"), &private[member]["uid"]);
        }
        let mut user = user(namespace, name, &account["uid"]);
        user.extra = extra;
        Some(Verified {
            user: Arc::new(user),
            audiences,
        })
    }

    fn knows(&self, issuer: &str) -> bool {
        self.issuer == issuer || self.other_issuers.iter().any(|other| other == issuer)
    }

    /// The same of a token that is kept in a Secret: it holds while it is in there, for whom the server itself is.
    fn verify_kept(
        &self,
        token: &str,
        claims: &Value,
        audiences: &[String],
        cache: &Cache,
        now: i64,
    ) -> Option<Verified> {
        let text = |member: &str| claims[format!("kubernetes.io/serviceaccount/{member}")].as_str();
        let namespace = text("namespace")?;
        let name = text("service-account.name")?;
        if claims["sub"].as_str()? != format!("{PREFIX}{namespace}:{name}") {
            return None;
        }
        let account = json!({"name": name, "uid": text("service-account.uid")?});
        holds(cache, "serviceaccounts", namespace, &account, now)?;
        let secret_name = text("secret.name")?;
        let secret = cache.core_object("secrets", namespace, secret_name)?;
        let [kept, leaving] = secret.at(["/data/token", "/metadata/deletionTimestamp"]);
        if leaving.is_some() || kept? != STANDARD.encode(token) {
            return None;
        }
        self.used
            .now(namespace, secret_name, secret.label(TOKEN_LAST_USED), now);
        let invalid_since = secret.label(TOKEN_INVALID_SINCE);
        if invalid_since.is_some_and(|since| !since.is_empty()) {
            return None;
        }
        let own = |audience: &&String| self.audiences.contains(audience);
        let audiences: Vec<String> = audiences.iter().filter(own).cloned().collect();
        (!audiences.is_empty()).then(|| Verified {
            user: Arc::new(user(namespace, name, &account["uid"])),
            audiences,
        })
    }

    /// The claims of a token that was signed here.
    fn signed_claims(&self, token: &str) -> Option<Arc<Value>> {
        let (digest, now) = (digest(token), Instant::now());
        if let Some(claims) = self.signed.get(&digest, now) {
            return Some(claims);
        }
        let claims = Arc::new(verified_claims(token, &self.keys)?);
        self.signed.put(digest, claims.clone(), now + REMEMBERED);
        Some(claims)
    }

    /// `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        let keys: Vec<Value> = self.keys.iter().filter_map(TokenPublicKey::jwk).collect();
        json!({"keys": keys})
    }

    /// `/.well-known/openid-configuration`.
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": self.key_set_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
        })
    }
}

/// Whom an account is to others.
fn user(namespace: &str, name: &str, uid: &Value) -> UserInfo {
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    let mut user = UserInfo::new(format!("{PREFIX}{namespace}:{name}"), groups);
    user.uid = uid.as_str().unwrap_or_default().to_owned();
    user
}

/// `Some` while the object that a claim names is there, the same one, and not gone in all but name.
fn holds(cache: &Cache, plural: &str, namespace: &str, claim: &Value, now: i64) -> Option<()> {
    let stored = cache.core_object(plural, namespace, claim["name"].as_str()?)?;
    let [uid, leaving] = stored.at(["/metadata/uid", "/metadata/deletionTimestamp"]);
    let gone = leaving.as_ref().and_then(Value::as_str).is_some_and(|at| {
        at.parse::<Timestamp>()
            .is_ok_and(|at| at.as_second() + GONE_AFTER < now)
    });
    (uid.unwrap_or_default() == claim["uid"] && !gone).then_some(())
}
