//! ConfigMap `kube-system/extension-apiserver-authentication`: how extension servers recognise callers that this
//! server sends them, or that come by themselves. All servers of a cluster tell it in the same place: each adds what it
//! knows to what is there, and authorities go when they have ended.
use super::kubernetes::Wanted;
use crate::authn::{FrontProxyConfig, TrustedAuthorities};
use rustls::pki_types::UnixTime;
use serde_json::{Map, Value, json};

/// Namespace and name.
pub const PLACE: (&str, &str) = ("kube-system", "extension-apiserver-authentication");
const CLIENT_CA: &str = "client-ca-file";
const PROXY_CA: &str = "requestheader-client-ca-file";

/// What a server tells of its front proxies.
type Told = fn(&FrontProxyConfig) -> &[String];

const LISTS: [(&str, Told); 5] = [
    ("requestheader-allowed-names", |proxy| &proxy.allowed_names),
    ("requestheader-extra-headers-prefix", |proxy| {
        &proxy.extra_prefixes
    }),
    ("requestheader-group-headers", |proxy| &proxy.group_headers),
    ("requestheader-uid-headers", |proxy| &proxy.uid_headers),
    ("requestheader-username-headers", |proxy| &proxy.username_headers),
];

/// The ConfigMap as it is to be beside what is `stored`, unless this server has nothing to tell.
pub fn object(
    stored: Option<&Value>,
    client_ca: Option<&TrustedAuthorities>,
    front_proxy: Option<&FrontProxyConfig>,
    now: UnixTime,
) -> Option<Wanted> {
    if client_ca.is_none() && front_proxy.is_none() {
        return None;
    }
    let told = |key: &str| stored.and_then(|stored| stored["data"][key].as_str());
    let mut data = Map::new();
    let own = [
        (CLIENT_CA, client_ca),
        (PROXY_CA, front_proxy.map(|proxy| &proxy.ca)),
    ];
    for (key, own) in own {
        let own = own.map(TrustedAuthorities::pem);
        if own.is_some() || told(key).is_some() {
            let texts = [told(key).unwrap_or_default(), own.as_deref().unwrap_or_default()];
            data.insert(key.to_owned(), json!(orlop_pki::merged_certificates(&texts, now)));
        }
    }
    for (key, list) in LISTS {
        let own = front_proxy.map(list);
        if own.is_some() || told(key).is_some() {
            let merged = merged(told(key).unwrap_or_default(), own.unwrap_or_default());
            data.insert(key.to_owned(), json!(json!(merged).to_string()));
        }
    }
    Some(Wanted {
        group: "",
        plural: "configmaps",
        object: json!({"metadata": {"name": PLACE.1, "namespace": PLACE.0}, "data": data}),
        owned: &["data"],
    })
}

/// The names of a list in JSON, if it is one, and those of `own` that it lacks.
fn merged(told: &str, own: &[String]) -> Vec<String> {
    let mut names: Vec<String> = serde_json::from_str(told).unwrap_or_default();
    for name in own {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::kubernetes::corrected;
    use super::*;
    use orlop_pki::Authority;

    fn authority(name: &str) -> (String, TrustedAuthorities) {
        let authority = Authority::ephemeral(name).unwrap();
        let trusted = TrustedAuthorities::of_clients(authority.certificate()).unwrap();
        (authority.certificate().to_owned(), trusted)
    }

    #[test]
    fn lists_are_json_in_text() {
        let (pem, ca) = authority("kubernetes");
        let proxy = FrontProxyConfig::usual(ca.clone());
        let wanted = object(None, Some(&ca), Some(&proxy), UnixTime::now()).unwrap();
        let data = &wanted.object["data"];
        assert_eq!(data["client-ca-file"], pem);
        assert_eq!(data["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        assert_eq!(data["requestheader-username-headers"], r#"["X-Remote-User"]"#);
        assert!(object(None, None, None, UnixTime::now()).is_none());
    }

    #[test]
    fn servers_with_other_authorities_add_theirs_and_leave_each_other_alone() {
        let ((one, of_one), (two, of_two)) = (authority("one"), authority("two"));
        let proxies = FrontProxyConfig {
            allowed_names: vec!["other-proxy".to_owned()],
            ..FrontProxyConfig::usual(of_two.clone())
        };
        let now = UnixTime::now();
        let first = object(None, Some(&of_one), None, now).unwrap().object;
        assert!(first["data"].get("requestheader-client-ca-file").is_none());
        let second = object(Some(&first), Some(&of_two), Some(&proxies), now).unwrap();
        let both = corrected(&first, &second).unwrap();
        assert_eq!(both["data"]["client-ca-file"], format!("{one}{two}"));
        assert_eq!(both["data"]["requestheader-client-ca-file"], two);
        for (ca, proxy) in [(&of_one, None), (&of_two, Some(&proxies))] {
            let again = object(Some(&both), Some(ca), proxy, now).unwrap();
            assert!(corrected(&both, &again).is_none(), "nobody changes it any more");
        }
        let usual = FrontProxyConfig::usual(of_one.clone());
        let third = object(Some(&both), None, Some(&usual), now).unwrap().object;
        assert_eq!(third["data"]["client-ca-file"], both["data"]["client-ca-file"]);
        assert_eq!(
            third["data"]["requestheader-allowed-names"],
            r#"["other-proxy","front-proxy-client"]"#
        );
    }

    #[test]
    fn what_cannot_be_read_is_replaced() {
        let (pem, ca) = authority("kubernetes");
        let proxy = FrontProxyConfig::usual(ca.clone());
        let stored = json!({"data": {
            "client-ca-file": "nonsense", "requestheader-group-headers": "nonsense", "other": "x"}});
        let wanted = object(Some(&stored), Some(&ca), Some(&proxy), UnixTime::now()).unwrap();
        let data = &wanted.object["data"];
        assert_eq!(data["client-ca-file"], pem);
        assert_eq!(data["requestheader-group-headers"], r#"["X-Remote-Group"]"#);
    }
}
