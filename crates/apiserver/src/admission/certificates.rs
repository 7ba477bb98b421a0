//! Who may approve and sign certificate requests, and what nobody may ask for (contract §15.7).
use super::{Attempt, Operation};
use crate::authz::{self, Attributes, Decision};
use crate::status::ApiError;
use futures::future::{BoxFuture, ready};
use serde_json::Value;
use x509_parser::prelude::FromDer;

const GROUP: &str = "certificates.k8s.io";
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// `CertificateApproval`: whoever approves or denies has the verb `approve` for the signer.
pub fn approval<'b>(attempt: &'b Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    if !is_request(attempt, "approval") || attempt.operation != Operation::Update {
        return Box::pin(ready(Ok(())));
    }
    Box::pin(permitted(attempt, "approve"))
}

/// `CertificateSigning`: whoever writes the certificate or conditions has the verb `sign` for the signer.
pub fn signing<'b>(attempt: &'b Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    if !is_request(attempt, "status") || attempt.operation != Operation::Update {
        return Box::pin(ready(Ok(())));
    }
    let status = |object: Option<&Value>, member: &str| object.map(|o| o["status"][member].clone());
    let new = attempt.object.as_deref();
    let same = |member: &str| status(new, member) == status(attempt.old, member);
    if same("certificate") && same("conditions") {
        return Box::pin(ready(Ok(())));
    }
    Box::pin(permitted(attempt, "sign"))
}

/// `CertificateSubjectRestriction`: nobody gets to be an administrator by a certificate of the cluster's.
pub fn subject(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let Some(object) = attempt.object.as_deref() else {
        return Ok(());
    };
    if !is_request(attempt, "")
        || attempt.operation != Operation::Create
        || object["spec"]["signerName"] != CLIENTS
    {
        return Ok(());
    }
    let groups = organizations(object["spec"]["request"].as_str().unwrap_or_default());
    if groups.iter().any(|group| group == MASTERS) {
        return Err(attempt.forbidden(&format!(
            "use of {CLIENTS} signer with {MASTERS} group is not allowed"
        )));
    }
    Ok(())
}

/// Whoever asks for a certificate is named by the server, whatever the request says.
pub fn requestor(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !is_request(attempt, "") || attempt.operation != Operation::Create {
        return Ok(());
    }
    let user = attempt.user.to_value();
    let spec = attempt
        .object
        .as_deref_mut()
        .and_then(|object| object["spec"].as_object_mut());
    if let Some(spec) = spec {
        for member in ["username", "uid", "groups", "extra"] {
            spec.remove(member);
        }
        spec.extend(user.as_object().cloned().unwrap_or_default());
    }
    Ok(())
}

fn is_request(attempt: &Attempt<'_>, subresource: &str) -> bool {
    let resource = attempt.resource;
    (resource.group, resource.plural) == (GROUP, "certificatesigningrequests")
        && attempt.subresource == subresource
}

/// By the signer's name, or by all of its domain.
async fn permitted(attempt: &Attempt<'_>, verb: &str) -> Result<(), ApiError> {
    let signer = attempt
        .old
        .and_then(|old| old["spec"]["signerName"].as_str())
        .unwrap_or_default();
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
    for name in [Some(signer.to_owned()), domain].into_iter().flatten() {
        let asked = Attributes {
            is_resource: true,
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            resource: "signers".to_owned(),
            name,
            ..Attributes::default()
        };
        let decision = authz::decide(attempt.server, attempt.user, &asked).await;
        if matches!(decision, Decision::Allow(_)) {
            return Ok(());
        }
    }
    Err(attempt.forbidden(&format!(
        "user not permitted to {verb} requests with signerName {signer:?}"
    )))
}

/// The organizations of a request for a certificate, in base64 of PEM. What can't be read is refused elsewhere.
fn organizations(request: &str) -> Vec<String> {
    use base64::Engine;
    let pem = base64::engine::general_purpose::STANDARD
        .decode(request)
        .unwrap_or_default();
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else {
        return Vec::new();
    };
    let Ok((_, request)) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents)
    else {
        return Vec::new();
    };
    let subject = &request.certification_request_info.subject;
    subject
        .iter_organization()
        .filter_map(|name| Some(name.as_str().ok()?.to_owned()))
        .collect()
}
