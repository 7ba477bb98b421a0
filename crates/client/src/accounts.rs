//! Clients that are service accounts, by tokens that whoever may ask for them gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use kube::client::Body;

use crate::in_process;

/// How long tokens are asked for.
const LIFETIME: Duration = Duration::from_secs(3600);
/// A token is replaced when this share of its life is over.
const USED_UP: f64 = 0.8;

/// The service accounts of a namespace.
#[derive(Clone)]
pub struct TokenAccounts {
    shared: Arc<Shared>,
}

struct Shared {
    /// As whom tokens are asked for.
    asking: kube::Client,
    /// To the same server as nobody: a certificate would go before a token.
    bare: kube::Client,
    namespace: String,
}

struct Account {
    name: &'static str,
    /// Whoever waits for a token waits for the same.
    token: tokio::sync::Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

impl TokenAccounts {
    /// `asking` may create tokens and service accounts in `namespace`; `bare` goes to the same server without an identity.
    pub fn new(asking: kube::Client, bare: kube::Client, namespace: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                asking,
                bare,
                namespace: namespace.to_owned(),
            }),
        }
    }

    /// A client that is the account of that name, which is made if it is missing; its clones share a token. Must be called
    /// within a tokio runtime.
    pub fn client(&self, name: &'static str) -> kube::Client {
        let shared = self.shared.clone();
        let account = Arc::new(Account {
            name,
            token: tokio::sync::Mutex::default(),
        });
        in_process(tower::service_fn(move |request| {
            let (shared, account) = (shared.clone(), account.clone());
            async move { shared.send(&account, request).await }
        }))
    }
}

impl Shared {
    async fn send(
        &self,
        account: &Account,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, kube::Error> {
        let header = self.token(account).await?;
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        let answer = self.bare.send(request).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // The account was made anew, or the server's key is another: the next request asks for another token.
            let mut token = account.token.lock().await;
            if token.as_ref().is_some_and(|token| token.header == header) {
                *token = None;
            }
        }
        Ok(answer)
    }

    async fn token(&self, account: &Account) -> Result<HeaderValue, kube::Error> {
        let mut token = account.token.lock().await;
        if let Some(token) = token.as_ref().filter(|token| token.until > Instant::now()) {
            return Ok(token.header.clone());
        }
        let new = self.ask(account.name).await?;
        let header = new.header.clone();
        *token = Some(new);
        Ok(header)
    }

    async fn ask(&self, name: &str) -> Result<Token, kube::Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.asking.clone(), &self.namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let ask = || async {
            let answer: Result<TokenRequest, kube::Error> = accounts
                .create_subresource("token", name, &PostParams::default(), &request)
                .await;
            answer
        };
        let answer = match ask().await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.make(&accounts, name).await?;
                ask().await?
            }
            answer => answer?,
        };
        let status = answer.status.unwrap_or_default();
        let until = status
            .expiration_timestamp
            .map_or_else(Timestamp::now, |time| time.0);
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        let header = HeaderValue::from_str(&format!("Bearer {}", status.token.unwrap_or_default()));
        let mut header = header.map_err(|error| kube::Error::Service(error.into()))?;
        header.set_sensitive(true);
        Ok(Token {
            header,
            until: Instant::now() + left.mul_f64(USED_UP),
        })
    }

    async fn make(&self, accounts: &Api<ServiceAccount>, name: &str) -> Result<(), kube::Error> {
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match accounts.create(&PostParams::default(), &account).await {
            // Another copy was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            result => result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Server {
        calls: Vec<String>,
        has_account: bool,
        tokens: usize,
        /// Tokens before this one are not taken.
        taken_from: usize,
    }

    fn answer(code: u16, body: &Value) -> Result<Response<Body>, Infallible> {
        let body = Body::from(body.to_string().into_bytes());
        Ok(Response::builder().status(code).body(body).unwrap())
    }

    fn status(code: u16) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "", "reason": ""})
    }

    /// The server as it looks to whoever asks for tokens, and to bearers of them.
    fn clients(server: &Arc<Mutex<Server>>) -> (kube::Client, kube::Client) {
        let state = server.clone();
        let asking = in_process(tower::service_fn(move |request: Request<Body>| {
            let state = state.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let mut state = state.lock().unwrap();
                state.calls.push(format!("{} {}", parts.method, parts.uri.path()));
                if !parts.uri.path().ends_with("/token") {
                    state.has_account = true;
                    return answer(201, &json!({"metadata": {"name": "a"}}));
                }
                if !state.has_account {
                    return answer(404, &status(404));
                }
                assert_eq!(body["spec"]["expirationSeconds"], 3600);
                state.tokens += 1;
                answer(
                    201,
                    &json!({"metadata": {}, "spec": {"audiences": []}, "status": {
                    "token": state.tokens.to_string(), "expirationTimestamp": Timestamp::now() + LIFETIME}}),
                )
            }
        }));
        let state = server.clone();
        let bare = in_process(tower::service_fn(move |request: Request<Body>| {
            let state = state.clone();
            async move {
                let header = request.headers()[AUTHORIZATION].to_str().unwrap();
                let token: usize = header.strip_prefix("Bearer ").unwrap().parse().unwrap();
                match token >= state.lock().unwrap().taken_from {
                    true => answer(200, &json!({"metadata": {"name": "m"}})),
                    false => answer(401, &status(401)),
                }
            }
        }));
        (asking, bare)
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_again_when_it_is_not_taken() {
        let server = Arc::new(Mutex::new(Server::default()));
        let (asking, bare) = clients(&server);
        let client = TokenAccounts::new(asking, bare, "kube-system").client("a");
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        maps.get("m").await.unwrap();
        maps.get("m").await.unwrap();
        let token = "POST /api/v1/namespaces/kube-system/serviceaccounts/a/token";
        let made = "POST /api/v1/namespaces/kube-system/serviceaccounts";
        assert_eq!(server.lock().unwrap().calls, [token, made, token]);
        server.lock().unwrap().taken_from = 2;
        maps.get("m").await.unwrap_err();
        maps.get("m").await.unwrap();
        assert_eq!(server.lock().unwrap().tokens, 2);
    }
}
