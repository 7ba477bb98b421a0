//! Certificates of node agents.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::harness::{Cluster, eventually};

/// O=system:nodes, CN=system:node:n1.
const REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHsMIGSAgEAMDAxFTATBgNVBAoMDHN5c3RlbTpub2RlczEXMBUGA1UEAwwOc3lz
dGVtOm5vZGU6bjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATF7IJFmjYEPN5S
M/MOhHu/V7i6QzHlWzqbMvxBNsGft2IXhLQOVji01gYPpLqcxMRPs1uUvuKuomSB
Le9651ZFoAAwCgYIKoZIzj0EAwIDSQAwRgIhAL+JYnIithSY4i1gnAqGH2cz+39e
uAXZDEYl4ai6BXUyAiEApccRHpJYwGOLpGhkugXpHbIT30hS8sace/Xsa1oqVE4=
-----END CERTIFICATE REQUEST-----
";

#[tokio::test]
async fn a_node_agent_that_may_have_a_certificate_gets_it_and_others_wait() {
    let cluster = Cluster::start().await;
    let requests: Api<CertificateSigningRequest> = Api::all(cluster.client.clone());
    let create = |name: &'static str, signer: &'static str| {
        let request = json!({"metadata": {"name": name}, "spec": {"signerName": signer,
            "request": k8s_openapi::ByteString(REQUEST.as_bytes().to_vec()),
            "usages": ["client auth", "digital signature"]}});
        let requests = requests.clone();
        async move {
            let request = serde_json::from_value(request).unwrap();
            requests.create(&PostParams::default(), &request).await.unwrap();
        }
    };
    create("stranger", "kubernetes.io/kube-apiserver-client").await;
    create("agent", "kubernetes.io/kube-apiserver-client-kubelet").await;
    let status = eventually("the certificate", || async {
        let status = requests.get("agent").await.unwrap().status?;
        status.certificate.is_some().then_some(status)
    })
    .await;
    let approved = &status.conditions.unwrap()[0];
    assert_eq!(
        (approved.type_.as_str(), approved.reason.as_deref()),
        ("Approved", Some("AutoApproved"))
    );
    let pem = String::from_utf8(status.certificate.unwrap().0).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let stranger = requests.get("stranger").await.unwrap().status.unwrap_or_default();
    assert!(stranger.conditions.is_none() && stranger.certificate.is_none());
}
