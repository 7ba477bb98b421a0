//! Whose requests need no person's approval.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use orlop_pki::Asked;

use super::signer::Signer;
use crate::cache::CertificateRequestView;

/// A kind of request that is approved for those who have a certain right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recognized {
    /// The right: to create certificatesigningrequests with this subresource.
    pub right: &'static str,
    /// What the condition says.
    pub message: &'static str,
}

const SELF_NODE: Recognized = Recognized {
    right: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const NODE: Recognized = Recognized {
    right: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

/// What the request can be approved as, the narrower right first.
pub fn recognize(view: &CertificateRequestView, request: &Asked) -> Vec<Recognized> {
    let usages = view.spec.usages.as_deref().unwrap_or_default();
    let signer = Signer::parse(&view.spec.signer_name);
    if signer != Some(Signer::NodeClient) || Signer::NodeClient.accepts(request, usages).is_err() {
        return Vec::new();
    }
    let for_itself = view.spec.username.as_deref() == Some(&request.identity.user);
    let mut recognized = Vec::new();
    if for_itself {
        recognized.push(SELF_NODE);
    }
    recognized.push(NODE);
    recognized
}

/// The question whether who made the request has the right.
pub fn review(view: &CertificateRequestView, right: &str) -> SubjectAccessReview {
    let text = |text: &str| Some(text.to_owned());
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: view.spec.username.clone(),
            groups: view.spec.groups.clone(),
            uid: view.spec.uid.clone(),
            extra: view.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: text("certificates.k8s.io"),
                resource: text("certificatesigningrequests"),
                verb: text("create"),
                version: text("*"),
                subresource: text(right),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::signer::tests::request;
    use super::*;
    use orlop_client::informer::Projection;
    use serde_json::json;

    #[test]
    fn node_agents_are_recognized_by_what_they_ask_for() {
        let rights = |signer: &str, by: &str, user: &str| -> Vec<&str> {
            let view = CertificateRequestView::project(
                serde_json::from_value(
                    json!({"metadata": {"name": "r"}, "spec": {"request": "", "signerName": signer,
                    "username": by, "usages": ["client auth", "digital signature"]}}),
                )
                .unwrap(),
            );
            let recognized = recognize(&view, &request(user, "system:nodes", 0));
            recognized.iter().map(|recognized| recognized.right).collect()
        };
        let signer = "kubernetes.io/kube-apiserver-client-kubelet";
        assert_eq!(
            rights(signer, "system:bootstrap:abc", "system:node:a"),
            ["nodeclient"]
        );
        assert_eq!(
            rights(signer, "system:node:a", "system:node:a"),
            ["selfnodeclient", "nodeclient"]
        );
        assert!(rights(signer, "alice", "alice").is_empty());
        assert!(rights("kubernetes.io/kubelet-serving", "system:node:a", "system:node:a").is_empty());
    }
}
