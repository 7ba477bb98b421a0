//! ConfigMap `kube-system/extension-apiserver-authentication`: how extension servers recognise callers that this
//! server sends them, or that come by themselves.
use super::kubernetes::Wanted;
use crate::authn::{FrontProxyConfig, TrustedAuthorities};
use serde_json::{Map, Value, json};

/// The ConfigMap, unless there is nothing to tell.
pub fn object(
    client_ca: Option<&TrustedAuthorities>,
    front_proxy: Option<&FrontProxyConfig>,
) -> Option<Wanted> {
    let mut data = Map::new();
    if let Some(ca) = client_ca {
        data.insert("client-ca-file".to_owned(), json!(ca.pem()));
    }
    if let Some(proxy) = front_proxy {
        data.insert("requestheader-client-ca-file".to_owned(), json!(proxy.ca.pem()));
        for (key, names) in [
            ("allowed-names", &proxy.allowed_names),
            ("extra-headers-prefix", &proxy.extra_prefixes),
            ("group-headers", &proxy.group_headers),
            ("uid-headers", &proxy.uid_headers),
            ("username-headers", &proxy.username_headers),
        ] {
            data.insert(
                format!("requestheader-{key}"),
                json!(Value::from(names.clone()).to_string()),
            );
        }
    }
    (!data.is_empty()).then(|| Wanted {
        group: "",
        plural: "configmaps",
        object: json!({
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": data,
        }),
        owned: &["data"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_json_in_text() {
        let authority = orlop_pki::Authority::ephemeral("kubernetes").unwrap();
        let ca = TrustedAuthorities::of_clients(authority.certificate()).unwrap();
        let proxy = FrontProxyConfig::usual(ca.clone());
        let wanted = object(Some(&ca), Some(&proxy)).unwrap();
        let data = &wanted.object["data"];
        assert_eq!(data["client-ca-file"], authority.certificate());
        assert_eq!(data["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        assert_eq!(data["requestheader-username-headers"], r#"["X-Remote-User"]"#);
        assert!(object(None, None).is_none());
    }
}
