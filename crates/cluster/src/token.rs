//! Bootstrap tokens: `abcdef.0123456789abcdef`.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Who joins with a token that kubeadm made.
pub const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
/// Prefix of the Secrets' names.
pub const SECRET_PREFIX: &str = "bootstrap-token-";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    #[error(
        "{0:?} is no token: it must be of the form abcdef.0123456789abcdef, as `orlop token generate` prints it"
    )]
    Form(String),
    #[error(
        "{0:?} is no group that a token may bring a node into: such a name is system:bootstrappers: and then small letters, digits, colons and dashes"
    )]
    Group(String),
    #[error("the machine gives no random numbers")]
    NoRandom,
}

/// A token; its second half is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    secret: String,
}

fn is_word(word: &str, length: usize) -> bool {
    word.len() == length && word.bytes().all(|byte| ALPHABET.contains(&byte))
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl std::str::FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text.split_once('.') {
            Some((id, secret)) if is_word(id, ID_LENGTH) && is_word(secret, SECRET_LENGTH) => Ok(Self {
                id: id.to_owned(),
                secret: secret.to_owned(),
            }),
            _ => Err(TokenError::Form(text.to_owned())),
        }
    }
}

impl Token {
    pub fn generate() -> Result<Self, TokenError> {
        Ok(Self {
            id: word(ID_LENGTH)?,
            secret: word(SECRET_LENGTH)?,
        })
    }

    /// Whether it can be the first part of a token.
    pub fn is_id(text: &str) -> bool {
        is_word(text, ID_LENGTH)
    }

    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The Secret that makes it count.
    pub fn object(&self, terms: &Terms) -> Value {
        let mut data = json!({
            "token-id": encode(&self.id),
            "token-secret": encode(&self.secret),
        });
        if let Some(end) = terms.expires {
            data["expiration"] = json!(encode(&end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        }
        for usage in &terms.usages {
            data[format!("usage-bootstrap-{usage}")] = json!(encode("true"));
        }
        if !terms.groups.is_empty() {
            data["auth-extra-groups"] = json!(encode(&terms.groups.join(",")));
        }
        if !terms.description.is_empty() {
            data["description"] = json!(encode(&terms.description));
        }
        json!({
            "apiVersion": "v1",
            "data": data,
            "kind": "Secret",
            "metadata": {"name": format!("{SECRET_PREFIX}{}", self.id), "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
        })
    }
}

fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// What a token is good for, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub expires: Option<Timestamp>,
    pub usages: Vec<String>,
    pub groups: Vec<String>,
    pub description: String,
}

impl Terms {
    /// Whether the cluster vouches for itself with it.
    pub fn signs(&self) -> bool {
        self.usages.iter().any(|usage| usage == "signing")
    }

    /// # Errors
    /// With one of its groups the API server would take the token for none.
    pub fn check(&self) -> Result<(), TokenError> {
        let wrong = self
            .groups
            .iter()
            .find(|group| !orlop_api::names::is_bootstrap_group(group));
        wrong.map_or(Ok(()), |group| Err(TokenError::Group(group.clone())))
    }

    /// For joining, as kubeadm's default token is.
    pub fn usual(expires: Option<Timestamp>) -> Self {
        Self {
            expires,
            usages: ["authentication", "signing"].map(str::to_owned).to_vec(),
            groups: vec![GROUP.to_owned()],
            description: String::new(),
        }
    }
}

/// Letters and digits, all equally likely.
fn word(length: usize) -> Result<String, TokenError> {
    const FAIR: u8 = (u8::MAX / 36) * 36;
    let random = SystemRandom::new();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut byte = [0_u8];
        random.fill(&mut byte).map_err(|_| TokenError::NoRandom)?;
        // The rest of the range would make the first letters likelier.
        if byte[0] < FAIR {
            text.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    Ok(text)
}

/// One line of `token list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub token: String,
    pub ttl: String,
    pub expires: String,
    pub usages: String,
    pub description: String,
    pub groups: String,
}

/// A value of a token's Secret.
fn value(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// What a token's Secret lets it be used for.
fn usages(secret: &Value) -> Vec<&'static str> {
    let is_one = |usage: &&str| value(secret, &format!("usage-bootstrap-{usage}")).as_deref() == Some("true");
    ["authentication", "signing"].into_iter().filter(is_one).collect()
}

/// A token as `kubeadm token list -o json` shows it; `None` for a Secret that is none.
pub fn described(secret: &Value) -> Option<Value> {
    let text = |key: &str| value(secret, key).filter(|text| !text.is_empty());
    let mut token = json!({
        "apiVersion": "output.kubeadm.k8s.io/v1alpha3",
        "kind": "BootstrapToken",
        "token": format!("{}.{}", text("token-id")?, text("token-secret")?),
        "usages": usages(secret),
    });
    for (field, key) in [("description", "description"), ("expires", "expiration")] {
        if let Some(text) = text(key) {
            token[field] = json!(text);
        }
    }
    if let Some(groups) = text("auth-extra-groups") {
        token["groups"] = json!(groups.split(',').collect::<Vec<_>>());
    }
    Some(token)
}

impl Listed {
    /// Of a Secret; `None` for one that is no token.
    pub fn of(secret: &Value, now: Timestamp) -> Option<Self> {
        let text = |key: &str| value(secret, key);
        let token = format!("{}.{}", text("token-id")?, text("token-secret")?);
        let usages = usages(secret);
        let or_none = |text: Option<String>| {
            text.filter(|text| !text.is_empty())
                .unwrap_or("<none>".to_owned())
        };
        let expires = text("expiration");
        let ttl = match expires.as_deref().map(str::parse::<Timestamp>) {
            None => "<forever>".to_owned(),
            Some(Ok(end)) if end > now => orlop_api::age::remaining(end.duration_since(now).as_secs()),
            Some(Ok(_)) => "<invalid>".to_owned(),
            Some(Err(_)) => "<unknown>".to_owned(),
        };
        Some(Self {
            token,
            ttl,
            expires: expires.unwrap_or("<never>".to_owned()),
            usages: or_none(Some(usages.join(","))),
            description: or_none(text("description")),
            groups: or_none(text("auth-extra-groups")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_one_form() {
        let token = Token::generate().unwrap();
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        for bad in [
            "",
            "abcdef",
            "abcdef.",
            "abcdef.0123456789abcde",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdef.x",
        ] {
            assert_eq!(bad.parse::<Token>(), Err(TokenError::Form(bad.to_owned())));
        }
        for (id, is_one) in [
            ("abc123", true),
            ("abcdef.", false),
            ("../../x", false),
            ("", false),
        ] {
            assert_eq!(Token::is_id(id), is_one, "{id}");
        }
        assert!(!format!("{token:?}").contains(token.secret()));
    }

    /// kubeadm refuses them, too.
    #[test]
    fn a_token_that_the_api_server_would_not_take_is_not_made() {
        let usual = Terms::usual(None);
        assert_eq!(usual.check(), Ok(()));
        let of = |groups: &[&str]| Terms {
            groups: groups.iter().map(ToString::to_string).collect(),
            ..usual.clone()
        };
        assert_eq!(of(&[]).check(), Ok(()));
        for wrong in ["system:masters", "mine", "system:bootstrappers:Mine"] {
            let error = of(&[GROUP, wrong]).check();
            assert_eq!(error, Err(TokenError::Group(wrong.to_owned())));
        }
    }

    #[test]
    fn a_secret_is_listed_as_the_token_it_is() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let end: Timestamp = "2026-01-01T23:00:00Z".parse().unwrap();
        let secret = token.object(&Terms::usual(Some(end)));
        assert_eq!(secret["metadata"]["name"], "bootstrap-token-abcdef");
        let listed = Listed::of(&secret, now).unwrap();
        assert_eq!(
            listed,
            Listed {
                token: "abcdef.0123456789abcdef".to_owned(),
                ttl: "23h".to_owned(),
                expires: "2026-01-01T23:00:00Z".to_owned(),
                usages: "authentication,signing".to_owned(),
                description: "<none>".to_owned(),
                groups: GROUP.to_owned(),
            }
        );
        let shown = described(&secret).unwrap();
        assert_eq!(shown["token"], "abcdef.0123456789abcdef");
        assert_eq!(shown["usages"], json!(["authentication", "signing"]));
        assert_eq!(shown["groups"], json!([GROUP]));
        assert_eq!(shown["expires"], "2026-01-01T23:00:00Z");
        assert!(shown.get("description").is_none() && described(&json!({})).is_none());
        let soon: Timestamp = "2026-01-01T15:20:00Z".parse().unwrap();
        assert_eq!(Listed::of(&secret, soon).unwrap().ttl, "7h", "in one unit");
        let forever = Listed::of(&token.object(&Terms::usual(None)), now).unwrap();
        assert_eq!(
            (forever.ttl.as_str(), forever.expires.as_str()),
            ("<forever>", "<never>")
        );
        assert_eq!(Listed::of(&json!({"data": {}}), now), None);
    }
}
