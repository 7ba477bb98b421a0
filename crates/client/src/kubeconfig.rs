//! Who a kubeconfig says its reader is, and kubeconfigs for others to read.
use crate::ConnectError;
use base64::Engine;
use kube::config::{AuthInfo, Kubeconfig};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The client certificate of a kubeconfig's current user.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM; whatever the file has.
    pub text: String,
    /// The file that it is in, if it isn't in the kubeconfig itself.
    pub file: Option<PathBuf>,
}

/// Reads a kubeconfig, with paths made absolute.
pub(crate) fn read(path: &Path) -> Result<Kubeconfig, ConnectError> {
    let mut file = Kubeconfig::read_from(path).map_err(|source| ConnectError::Kubeconfig {
        path: path.to_owned(),
        source,
    })?;
    file.auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
        .for_each(separate);
    Ok(file)
}

/// Certificate and key may lie in one file, as node agents' do: the certificate is taken out of it, lest it be shown
/// to servers twice.
fn separate(user: &mut AuthInfo) {
    if user.client_certificate.is_none() || user.client_certificate != user.client_key {
        return;
    }
    let text = user
        .client_certificate
        .as_ref()
        .and_then(|path| std::fs::read_to_string(path).ok());
    // What can't be read is told of by whoever needs it.
    let Some(blocks) = text.and_then(|text| pem::parse_many(text).ok()) else {
        return;
    };
    let certificates: Vec<_> = blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .collect();
    user.client_certificate_data = Some(engine().encode(pem::encode_many(&certificates)));
}

/// The certificate that a kubeconfig's current user shows; `None`: they are known by something else.
pub fn client_certificate(path: &Path) -> Result<Option<ClientCertificate>, ConnectError> {
    let config = read(path)?;
    let user = current_user(&config);
    let file = user.and_then(|user| user.client_certificate.as_ref().map(PathBuf::from));
    let embedded = user.and_then(|user| user.client_certificate_data.as_ref());
    let text = match (embedded, &file) {
        (Some(data), _) => engine()
            .decode(data)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok()),
        (None, Some(file)) => std::fs::read_to_string(file).ok(),
        (None, None) => return Ok(None),
    };
    Ok(Some(ClientCertificate {
        text: text.unwrap_or_default(),
        file,
    }))
}

/// Certificate and key of a kubeconfig's current user, PEM, if both are in the kubeconfig itself.
pub fn embedded_certificate(path: &Path) -> Result<Option<(String, String)>, ConnectError> {
    let config = read(path)?;
    // As it would be written: keys are told in no other way.
    let user = serde_json::to_value(current_user(&config)).unwrap_or_default();
    let text = |field: &str| {
        let bytes = engine().decode(user[field].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    Ok(text("client-certificate-data").zip(text("client-key-data")))
}

/// What the current user is called in a kubeconfig; for a node agent's that orlop wrote, `system:node:<name>`.
pub fn user_name(path: &Path) -> Result<Option<String>, ConnectError> {
    Ok(current_user_name(&read(path)?))
}

/// Puts another identity in the place of the current user's.
pub(crate) fn identify(config: &mut Kubeconfig, certificate: &str, key: &str) {
    let Some(name) = current_user_name(config) else {
        return;
    };
    let as_this = AuthInfo {
        client_certificate_data: Some(engine().encode(certificate)),
        client_key_data: Some(engine().encode(key).into()),
        ..AuthInfo::default()
    };
    for named in &mut config.auth_infos {
        if named.name == name {
            named.auth_info = Some(as_this.clone());
        }
    }
}

/// A kubeconfig for the server of `path`'s current context, whose user's certificate and key are in the file `pem`;
/// with the names in it that upstream's agent writes.
pub fn with_certificate_file(path: &Path, pem: &Path) -> Result<Value, ConnectError> {
    let config = read(path)?;
    let context = current_context(&config);
    let cluster = context
        .and_then(|context| config.clusters.iter().find(|named| named.name == context.cluster))
        .and_then(|named| named.cluster.as_ref());
    // A kubeconfig without a cluster can't be connected to, which whoever tries is told.
    let cluster = serde_json::to_value(cluster).unwrap_or_default();
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default-cluster", "cluster": cluster}],
        "contexts": [{"name": "default-context", "context": {
            "cluster": "default-cluster", "namespace": "default", "user": "default-auth"}}],
        "current-context": "default-context",
        "users": [{"name": "default-auth", "user": {"client-certificate": pem, "client-key": pem}}],
    }))
}

fn current_context(config: &Kubeconfig) -> Option<&kube::config::Context> {
    let name = config.current_context.as_ref()?;
    let named = config.contexts.iter().find(|named| named.name == *name)?;
    named.context.as_ref()
}

fn current_user_name(config: &Kubeconfig) -> Option<String> {
    current_context(config)?.user.clone()
}

fn current_user(config: &Kubeconfig) -> Option<&AuthInfo> {
    let name = current_user_name(config)?;
    let named = config.auth_infos.iter().find(|named| named.name == name)?;
    named.auth_info.as_ref()
}

fn engine() -> base64::engine::GeneralPurpose {
    base64::engine::general_purpose::STANDARD
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n";

    #[test]
    fn certificate_and_key_of_one_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let bootstrap = dir.path().join("bootstrap.conf");
        let text = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {"token": "a.b"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}"#;
        std::fs::write(&bootstrap, text).unwrap();
        assert_eq!(client_certificate(&bootstrap).unwrap(), None);

        let pem = dir.path().join("kubelet-client-current.pem");
        std::fs::write(&pem, format!("{CERTIFICATE}{KEY}")).unwrap();
        let written = with_certificate_file(&bootstrap, &pem).unwrap();
        assert_eq!(
            written["clusters"][0]["cluster"]["certificate-authority"],
            dir.path().join("ca.crt").display().to_string()
        );
        let path = dir.path().join("kubelet.conf");
        std::fs::write(&path, written.to_string()).unwrap();
        assert_eq!(embedded_certificate(&path).unwrap(), None);
        let found = client_certificate(&path).unwrap().unwrap();
        assert_eq!(found.file, Some(pem));
        assert_eq!(pem::parse_many(&found.text).unwrap().len(), 1, "{}", found.text);
    }

    #[test]
    fn certificate_and_key_are_read_out_of_a_kubeconfig_that_holds_both() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubelet.conf");
        let (certificate, key) = (engine().encode(CERTIFICATE), engine().encode(KEY));
        let write = |user: Value| {
            let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]});
            std::fs::write(&path, config.to_string()).unwrap();
        };
        write(json!({"client-certificate-data": certificate, "client-key-data": key}));
        let both = Some((CERTIFICATE.to_owned(), KEY.to_owned()));
        assert_eq!(embedded_certificate(&path).unwrap(), both);
        write(json!({"client-certificate-data": certificate, "client-key": "/elsewhere"}));
        assert_eq!(embedded_certificate(&path).unwrap(), None);
        write(json!({"token": "a.b"}));
        assert_eq!(embedded_certificate(&path).unwrap(), None);
    }

    #[test]
    fn another_identity_takes_the_place_of_the_users_own() {
        let mut config: Kubeconfig = serde_json::from_value(json!({"current-context": "c",
            "users": [{"name": "u", "user": {"token": "a.b"}}, {"name": "v", "user": {"token": "c.d"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}))
        .unwrap();
        identify(&mut config, CERTIFICATE, KEY);
        let user = current_user(&config).unwrap();
        assert!(user.token.is_none() && user.client_certificate_data.is_some());
        assert!(config.auth_infos[1].auth_info.as_ref().unwrap().token.is_some());
    }
}
