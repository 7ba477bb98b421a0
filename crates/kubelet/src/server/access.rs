//! Who may ask the agent what (contract, node agent §22.1).
use super::body::{Body, text};
use http::{Method, Response, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use orlop_pki::Identity;

/// The API server's own user towards agents.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Lets the request through, or answers it.
pub async fn check(
    client: Option<&kube::Client>,
    node_name: &str,
    caller: Option<&Identity>,
    method: &Method,
    path: &str,
) -> Result<(), Response<Body>> {
    let Some(caller) = caller else {
        return Err(text(StatusCode::UNAUTHORIZED, "Unauthorized"));
    };
    if caller.user == API_SERVER || caller.groups.iter().any(|group| group == "system:masters") {
        return Ok(());
    }
    let verb = verb_of(method);
    let subresources = subresources_of(path);
    for subresource in &subresources {
        if let Some(client) = client
            && allowed(client, node_name, caller, verb, subresource).await
        {
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
        "pods" | "runningpods" => vec!["pods", "proxy"],
        "healthz" => vec!["healthz", "proxy"],
        "configz" => vec!["configz", "proxy"],
        _ => vec!["proxy"],
    }
}

async fn allowed(
    client: &kube::Client,
    node_name: &str,
    caller: &Identity,
    verb: &str,
    subresource: &str,
) -> bool {
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
        Ok(answer) => answer.status.is_some_and(|status| status.allowed),
        Err(error) => {
            tracing::warn!(user = caller.user, %error, "cannot ask whether a caller is allowed: refused");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n10_paths_are_authorised_as_subresources_of_the_node() {
        for (path, expected) in [
            ("/pods", vec!["pods", "proxy"]),
            ("/metrics/cadvisor", vec!["metrics"]),
            ("/stats/summary", vec!["stats"]),
            ("/containerLogs/a/b/c", vec!["proxy"]),
            ("/exec/a/b/c", vec!["proxy"]),
        ] {
            assert_eq!(subresources_of(path), expected, "{path}");
        }
    }

    async fn refusal(caller: Option<&Identity>, method: Method, path: &str) -> Option<(StatusCode, String)> {
        use http_body_util::BodyExt;
        let answer = check(None, "n1", caller, &method, path).await.err()?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        Some((status, String::from_utf8(bytes.to_vec()).unwrap()))
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
}
