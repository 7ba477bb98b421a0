//! Who asks the agent, and who may ask it what (contract, node agent §22.1).
use super::body::{Body, text};
use super::remembered::Remembered;
use crate::config::KubeletConfiguration;
use http::{HeaderMap, Method, Response, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use orlop_pki::Identity;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The API server's own user towards agents.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Of whoever is known by anything.
const AUTHENTICATED: &str = "system:authenticated";

/// What the API server has said of a token: the digest stands for it.
type Token = [u8; 32];
/// What it has said of a caller's right: user, groups, verb, subresource.
type Right = (String, Vec<String>, &'static str, &'static str);

/// The rules of the secure port.
pub struct Access {
    node_name: String,
    /// Asked about tokens and rights; `None`: alone, without an API server.
    client: Option<kube::Client>,
    /// `authentication.webhook.enabled`.
    takes_tokens: bool,
    /// `authentication.anonymous.enabled`.
    takes_anybody: bool,
    /// `authorization.mode: AlwaysAllow`.
    allows_everything: bool,
    tokens: Remembered<Token, Option<Arc<Identity>>>,
    allowed: Remembered<Right, ()>,
    refused: Remembered<Right, ()>,
}

impl Access {
    /// The rules of a configuration.
    pub fn new(configuration: &KubeletConfiguration, node_name: &str, client: Option<kube::Client>) -> Self {
        let (authentication, authorization) = (&configuration.authentication, &configuration.authorization);
        Self {
            node_name: node_name.to_owned(),
            client,
            takes_tokens: authentication.webhook.enabled,
            takes_anybody: authentication.anonymous.enabled,
            allows_everything: authorization.mode == "AlwaysAllow",
            tokens: Remembered::new(authentication.webhook.cache_ttl.0),
            allowed: Remembered::new(authorization.webhook.cache_authorized_ttl.0),
            refused: Remembered::new(authorization.webhook.cache_unauthorized_ttl.0),
        }
    }

    /// Lets a request through, or answers it. `certificate` is whom the caller's certificate names.
    pub async fn check(
        &self,
        certificate: Option<Arc<Identity>>,
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<(), Response<Body>> {
        let Some(caller) = self.caller(certificate, headers).await else {
            return Err(text(StatusCode::UNAUTHORIZED, "Unauthorized"));
        };
        let trusted =
            caller.user == API_SERVER || caller.groups.iter().any(|group| group == "system:masters");
        if trusted || self.allows_everything {
            return Ok(());
        }
        let verb = verb_of(method);
        let subresources = subresources_of(path);
        for subresource in &subresources {
            if self.is_allowed(&caller, verb, subresource).await {
                return Ok(());
            }
        }
        let refusal = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])",
            caller.user,
            subresources.join(" ")
        );
        Err(text(StatusCode::FORBIDDEN, refusal))
    }

    /// Whom a certificate names, or a token; nobody in particular only where nothing was shown.
    async fn caller(&self, certificate: Option<Arc<Identity>>, headers: &HeaderMap) -> Option<Arc<Identity>> {
        if let Some(certificate) = certificate {
            return Some(authenticated(certificate));
        }
        match token_of(headers) {
            Some(token) if self.takes_tokens => self.holder(token).await,
            Some(_) => None,
            None if self.takes_anybody => Some(Arc::new(Identity::new(
                "system:anonymous",
                &["system:unauthenticated"],
            ))),
            None => None,
        }
    }

    async fn holder(&self, token: &str) -> Option<Arc<Identity>> {
        let digest: Token = Sha256::digest(token).into();
        if let Some(known) = self.tokens.get(&digest) {
            return known;
        }
        let reviews: Api<TokenReview> = Api::all(self.client.clone()?);
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let answer = match reviews.create(&PostParams::default(), &review).await {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "cannot ask whose a token is: refused");
                return None;
            }
        };
        let user = answer.user.filter(|_| answer.authenticated == Some(true));
        let holder = user.map(|user| {
            Arc::new(Identity {
                user: user.username.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
            })
        });
        self.tokens.put(digest, holder.clone());
        holder
    }

    async fn is_allowed(&self, caller: &Identity, verb: &'static str, subresource: &'static str) -> bool {
        let right: Right = (caller.user.clone(), caller.groups.clone(), verb, subresource);
        if self.allowed.get(&right).is_some() {
            return true;
        }
        let Some(client) = self
            .client
            .as_ref()
            .filter(|_| self.refused.get(&right).is_none())
        else {
            return false;
        };
        let allowed = ask(client, &self.node_name, caller, verb, subresource).await;
        match allowed {
            Some(true) => self.allowed.put(right, ()),
            Some(false) => self.refused.put(right, ()),
            None => {}
        }
        allowed == Some(true)
    }
}

/// With the group that everybody is in who is somebody: of a token's holder the API server says it.
fn authenticated(identity: Arc<Identity>) -> Arc<Identity> {
    if identity.groups.iter().any(|group| group == AUTHENTICATED) {
        return identity;
    }
    let mut known = Identity::clone(&identity);
    known.groups.push(AUTHENTICATED.to_owned());
    Arc::new(known)
}

/// The token of a request.
fn token_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// Subresources of `nodes` of which any one suffices.
fn subresources_of(path: &str) -> Vec<&'static str> {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => vec!["stats"],
        "metrics" => vec!["metrics"],
        "logs" => vec!["log"],
        "checkpoint" => vec!["checkpoint"],
        "pods" | "runningpods" => vec!["pods", "proxy"],
        "healthz" => vec!["healthz", "proxy"],
        "configz" => vec!["configz", "proxy"],
        "flagz" => vec!["configz"],
        "statusz" => vec!["statusz"],
        _ => vec!["proxy"],
    }
}

/// Asks the API server; `None`: it did not say.
async fn ask(
    client: &kube::Client,
    node_name: &str,
    caller: &Identity,
    verb: &str,
    subresource: &str,
) -> Option<bool> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(caller.user.clone()),
            groups: Some(caller.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                resource: Some("nodes".into()),
                subresource: Some(subresource.to_owned()),
                name: Some(node_name.to_owned()),
                version: Some("v1".into()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    match reviews.create(&PostParams::default(), &review).await {
        Ok(answer) => Some(answer.status.is_some_and(|status| status.allowed)),
        Err(error) => {
            tracing::warn!(user = caller.user, %error, "cannot ask whether a caller is allowed: refused");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::body::read;

    #[test]
    fn n10_paths_are_authorised_as_subresources_of_the_node() {
        for (path, expected) in [
            ("/pods", vec!["pods", "proxy"]),
            ("/runningpods/", vec!["pods", "proxy"]),
            ("/healthz/ping", vec!["healthz", "proxy"]),
            ("/configz", vec!["configz", "proxy"]),
            ("/flagz", vec!["configz"]),
            ("/statusz", vec!["statusz"]),
            ("/logs/pods", vec!["log"]),
            ("/metrics/cadvisor", vec!["metrics"]),
            ("/stats/summary", vec!["stats"]),
            ("/checkpoint/a/b/c", vec!["checkpoint"]),
            ("/containerLogs/a/b/c", vec!["proxy"]),
            ("/exec/a/b/c", vec!["proxy"]),
        ] {
            assert_eq!(subresources_of(path), expected, "{path}");
        }
    }

    async fn refusal(caller: Option<&Identity>, method: Method, path: &str) -> Option<(StatusCode, String)> {
        let access = Access::new(&KubeletConfiguration::default(), "n1", None);
        let caller = caller.cloned().map(Arc::new);
        let answer = access
            .check(caller, &HeaderMap::new(), &method, path)
            .await
            .err()?;
        let status = answer.status();
        Some((status, read(answer).await.1))
    }

    #[tokio::test]
    async fn n10_callers_without_certificate_or_right_are_refused() {
        let (status, text) = refusal(None, Method::GET, "/pods").await.unwrap();
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::UNAUTHORIZED, "Unauthorized")
        );
        let eve = Identity::new("eve", &["devs"]);
        let (status, text) = refusal(Some(&eve), Method::POST, "/run/a/b/c").await.unwrap();
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(
            text,
            "Forbidden (user=eve, verb=create, resource=nodes, subresource(s)=[proxy])"
        );
        let (_, text) = refusal(Some(&eve), Method::GET, "/pods").await.unwrap();
        assert_eq!(
            text,
            "Forbidden (user=eve, verb=get, resource=nodes, subresource(s)=[pods proxy])"
        );
    }

    #[tokio::test]
    async fn n10_api_server_and_masters_are_let_through_without_asking() {
        for caller in [
            Identity::new(API_SERVER, &[]),
            Identity::new("admin", &["system:masters"]),
        ] {
            assert_eq!(
                refusal(Some(&caller), Method::GET, "/pods").await,
                None,
                "{caller:?}"
            );
        }
    }

    /// An API server that knows one token and gives its holder one right; how often it was asked for what.
    fn reviewer() -> (kube::Client, Arc<parking_lot::Mutex<Vec<String>>>) {
        use http_body_util::BodyExt;
        let asked = Arc::<parking_lot::Mutex<Vec<String>>>::default();
        let log = asked.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let log = log.clone();
            async move {
                let kind = request
                    .uri()
                    .path()
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut review: serde_json::Value = serde_json::from_slice(&body).unwrap();
                review["status"] = match kind.as_str() {
                    "tokenreviews" => {
                        let user = serde_json::json!({"username": "scraper", "groups": ["monitors"]});
                        let known = review["spec"]["token"] == "good";
                        serde_json::json!({"authenticated": known, "user": if known { user } else { serde_json::json!({}) }})
                    }
                    _ => {
                        let right = &review["spec"]["resourceAttributes"];
                        assert_eq!(
                            (&right["resource"], &right["name"]),
                            (&"nodes".into(), &"n1".into())
                        );
                        let allowed = match review["spec"]["user"].as_str() {
                            Some("scraper") => right["subresource"] == "metrics",
                            // Nobody has given this one anything but what everybody has.
                            _ => review["spec"]["groups"] == serde_json::json!(["devs", AUTHENTICATED]),
                        };
                        serde_json::json!({"allowed": allowed})
                    }
                };
                log.lock().push(kind);
                let answer =
                    http::Response::new(http_body_util::Full::new(bytes::Bytes::from(review.to_string())));
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        (kube::Client::new(service, "default"), asked)
    }

    async fn status(access: &Access, token: Option<&str>, path: &str) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        match access.check(None, &headers, &Method::GET, path).await {
            Ok(()) => 200,
            Err(answer) => answer.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn n10_token_is_looked_up_and_has_the_rights_it_was_given() {
        let (client, asked) = reviewer();
        let access = Access::new(&KubeletConfiguration::default(), "n1", Some(client));
        assert_eq!(status(&access, None, "/pods").await, 401);
        assert_eq!(status(&access, Some("bad"), "/metrics").await, 401);
        assert_eq!(status(&access, Some("good"), "/metrics").await, 200);
        assert_eq!(status(&access, Some("good"), "/pods").await, 403);
        assert_eq!(status(&access, Some("good"), "/exec/a/b/c").await, 403);
        let before = asked.lock().len();
        // Token, metrics, pods, proxy; both of `/pods` refused, of which `/exec` asks one again.
        assert_eq!(before, 5);
        for path in ["/metrics", "/pods", "/exec/a/b/c"] {
            status(&access, Some("good"), path).await;
        }
        assert_eq!(asked.lock().len(), before, "answers are remembered");
    }

    #[tokio::test]
    async fn n10_caller_with_a_certificate_has_the_rights_of_everybody_who_is_known() {
        let (client, _asked) = reviewer();
        let access = Access::new(&KubeletConfiguration::default(), "n1", Some(client));
        let eve = Arc::new(Identity::new("eve", &["devs"]));
        let headers = HeaderMap::new();
        let outcome = access.check(Some(eve), &headers, &Method::GET, "/metrics").await;
        assert!(outcome.is_ok());
    }

    #[tokio::test]
    async fn anybody_and_everything_only_where_the_configuration_says_so() {
        let mut configuration = KubeletConfiguration::default();
        configuration.authentication.anonymous.enabled = true;
        let access = Access::new(&configuration, "n1", None);
        assert_eq!(
            status(&access, None, "/pods").await,
            403,
            "known as nobody, and may nothing"
        );
        assert_eq!(
            status(&access, Some("any"), "/pods").await,
            401,
            "a token that nobody vouches for"
        );
        configuration.authorization.mode = "AlwaysAllow".into();
        let access = Access::new(&configuration, "n1", None);
        assert_eq!(status(&access, None, "/pods").await, 200);
        configuration.authentication.anonymous.enabled = false;
        let access = Access::new(&configuration, "n1", None);
        assert_eq!(status(&access, None, "/pods").await, 401);
    }
}
