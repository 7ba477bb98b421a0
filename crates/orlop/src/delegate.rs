//! Who may look at a part: the API server is asked. Its answers hold for a moment.
use hyper::header::{AUTHORIZATION, HeaderMap};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use orlop_pki::{ClientAuthorities, subject_of};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// An answer is not asked for again for this long.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Answers that are remembered.
const REMEMBERED_MAX: usize = 256;
/// The API server tells here whose client certificates it takes.
const TOLD_IN: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// Why somebody may not look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Unknown,
    Forbidden(String),
    Unreachable,
}

/// What was answered to whom about which path, and when.
type Known = HashMap<(String, String), (Instant, Result<(), Refused>)>;

/// Asks the API server.
pub struct Delegate {
    client: kube::Client,
    known: Mutex<Known>,
}

struct User {
    name: String,
    uid: Option<String>,
    groups: Vec<String>,
}

impl Delegate {
    pub fn new(client: kube::Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// Whether whoever presents this chain or these headers may get this path.
    pub async fn check(
        &self,
        chain: &[CertificateDer<'static>],
        headers: &HeaderMap,
        path: &str,
    ) -> Result<(), Refused> {
        let token = bearer(headers);
        let proof = match (chain.first(), token) {
            (Some(leaf), _) => leaf.iter().map(|byte| format!("{byte:02x}")).collect(),
            (None, Some(token)) => format!("token {token}"),
            (None, None) => String::new(),
        };
        let key = (proof, path.to_owned());
        if let Some(known) = self.remembered(&key) {
            return known;
        }
        let answer = self.ask(chain, token, path).await;
        if answer != Err(Refused::Unreachable) {
            self.remember(key, answer.clone());
        }
        answer
    }

    fn remembered(&self, key: &(String, String)) -> Option<Result<(), Refused>> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (since, answer) = known.get(key)?;
        (since.elapsed() < REMEMBERED).then(|| answer.clone())
    }

    fn remember(&self, key: (String, String), answer: Result<(), Refused>) {
        let mut known = self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(key, (Instant::now(), answer));
    }

    async fn ask(
        &self,
        chain: &[CertificateDer<'static>],
        token: Option<&str>,
        path: &str,
    ) -> Result<(), Refused> {
        let user = match (chain, token) {
            ([], None) => User {
                name: "system:anonymous".to_owned(),
                uid: None,
                groups: vec!["system:unauthenticated".to_owned()],
            },
            ([], Some(token)) => self.user_of_token(token).await?,
            (chain, _) => self.user_of_certificate(chain).await?,
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid,
                groups: Some(user.groups),
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some("get".to_owned()),
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .map_err(unreachable)?;
        match answer.status.is_some_and(|status| status.allowed) {
            true => Ok(()),
            false => Err(Refused::Forbidden(user.name)),
        }
    }

    async fn user_of_token(&self, token: &str) -> Result<User, Refused> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .map_err(unreachable)?;
        let status = answer.status.filter(|status| status.authenticated == Some(true));
        let user = status.and_then(|status| status.user).ok_or(Refused::Unknown)?;
        Ok(User {
            name: user.username.unwrap_or_default(),
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
        })
    }

    async fn user_of_certificate(&self, chain: &[CertificateDer<'static>]) -> Result<User, Refused> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), TOLD_IN.0);
        let told = maps.get(TOLD_IN.1).await.map_err(unreachable)?;
        let ca = told
            .data
            .and_then(|mut data| data.remove("client-ca-file"))
            .ok_or(Refused::Unknown)?;
        let authorities = ClientAuthorities::from_pem(&ca, "the client CA").map_err(|_| Refused::Unknown)?;
        let leaf = chain
            .first()
            .filter(|_| authorities.signed(chain))
            .ok_or(Refused::Unknown)?;
        let identity = subject_of(leaf).ok_or(Refused::Unknown)?;
        let mut groups = identity.groups;
        groups.push("system:authenticated".to_owned());
        Ok(User {
            name: identity.user,
            uid: None,
            groups,
        })
    }
}

fn unreachable(error: kube::Error) -> Refused {
    tracing::warn!(%error, "the API server cannot be asked who may look at this part");
    Refused::Unreachable
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
