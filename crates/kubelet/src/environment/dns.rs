//! The resolver configuration of a pod (contract, node agent §13.3).
use super::Settings;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::{is_host_network, name, namespace};
use orlop_cri::v1;

/// Limits of what resolvers read.
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_LETTERS_MAX: usize = 2048;

/// Something the pod's owner should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The event's reason.
    pub reason: &'static str,
    pub message: String,
}

/// The configuration for the pod's sandbox, and what its owner should hear of.
pub fn config(pod: &Pod, settings: &Settings) -> (v1::DnsConfig, Vec<Notice>) {
    let node = std::fs::read_to_string(&settings.resolv_conf).unwrap_or_default();
    form(pod, settings, &node)
}

/// The configuration, and what was wrong with the wish, from the node's resolver file `node`.
fn form(pod: &Pod, settings: &Settings, node: &str) -> (v1::DnsConfig, Vec<Notice>) {
    let mut notices = Vec::new();
    let spec = pod.spec.as_ref();
    let policy = spec
        .and_then(|spec| spec.dns_policy.as_deref())
        .unwrap_or("ClusterFirst");
    let wants_cluster = match policy {
        "ClusterFirst" => !spec.is_some_and(is_host_network),
        other => other == "ClusterFirstWithHostNet",
    };
    if wants_cluster && settings.cluster_dns.is_empty() {
        let message = format!(
            "pod: \"{}_{}({})\". kubelet does not have ClusterDNS IP configured and cannot create Pod using \"{policy}\" \
             policy. Falling back to \"Default\" policy.",
            name(pod),
            namespace(pod),
            orlop_api::pod::uid(pod)
        );
        notices.push(Notice {
            reason: "MissingClusterDNS",
            message,
        });
    }
    let mut config = if policy == "None" {
        v1::DnsConfig::default()
    } else if wants_cluster && !settings.cluster_dns.is_empty() {
        cluster_first(namespace(pod), settings, parse(node))
    } else {
        parse(node)
    };
    if let Some(own) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        append_new(&mut config.servers, own.nameservers.iter().flatten().cloned());
        append_new(&mut config.searches, own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let Some(name) = option.name.as_deref() else {
                continue;
            };
            config.options.retain(|old| old.split(':').next() != Some(name));
            let value = option.value.as_deref().filter(|value| !value.is_empty());
            config
                .options
                .push(value.map_or_else(|| name.to_owned(), |value| format!("{name}:{value}")));
        }
    }
    cut(&mut config, &mut notices);
    (config, notices)
}

fn cluster_first(namespace: &str, settings: &Settings, node: v1::DnsConfig) -> v1::DnsConfig {
    let domain = &settings.cluster_domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches = vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ];
    }
    append_new(&mut searches, node.searches);
    v1::DnsConfig {
        servers: settings.cluster_dns.clone(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn append_new(list: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn cut(config: &mut v1::DnsConfig, notices: &mut Vec<Notice>) {
    if config.servers.len() > SERVERS_MAX {
        config.servers.truncate(SERVERS_MAX);
        let message = format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            config.servers.join(" ")
        );
        notices.push(Notice {
            reason: "DNSConfigForming",
            message,
        });
    }
    let wanted = config.searches.len();
    config.searches.truncate(SEARCHES_MAX);
    while config.searches.join(" ").len() > SEARCH_LETTERS_MAX {
        config.searches.pop();
    }
    if config.searches.len() < wanted {
        let message = format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            config.searches.join(" ")
        );
        notices.push(Notice {
            reason: "DNSConfigForming",
            message,
        });
    }
}

/// Reads a resolver file: the last `search` line counts.
fn parse(text: &str) -> v1::DnsConfig {
    let mut config = v1::DnsConfig::default();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
    {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                // A lone dot ends the search list with the root, which resolvers do anyway.
                let names = words.map(|name| {
                    if name == "." {
                        name
                    } else {
                        name.trim_end_matches('.')
                    }
                });
                config.searches = names.map(str::to_owned).collect();
            }
            Some("options") => append_new(&mut config.options, words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub fn settings(root: &std::path::Path) -> Settings {
        Settings {
            node: Default::default(),
            root: root.to_owned(),
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            resolv_conf: root.join("resolv.conf"),
        }
    }

    const NODE: &str =
        "# head\nnameserver 1.1.1.1\nsearch old\nsearch corp.example. lab\noptions edns0 timeout:2\n";

    fn formed(spec: Value, dns: &[&str]) -> (v1::DnsConfig, Vec<Notice>) {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}))
                .unwrap();
        let mut settings = settings(std::path::Path::new("/nowhere"));
        settings.cluster_dns = dns.iter().map(|ip| (*ip).to_owned()).collect();
        form(&pod, &settings, NODE)
    }

    #[test]
    fn policies() {
        let dns = ["10.96.0.10"];
        let cluster = [
            "ns.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
            "corp.example",
            "lab",
        ];
        let (first, notices) = formed(json!({"containers": []}), &dns);
        assert_eq!(first.servers, dns);
        assert_eq!(first.searches, cluster);
        assert_eq!(first.options, ["ndots:5"]);
        assert!(notices.is_empty());
        let (host, _) = formed(
            json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirst"}),
            &dns,
        );
        assert_eq!(host.servers, ["1.1.1.1"]);
        assert_eq!(host.searches, ["corp.example", "lab"]);
        assert_eq!(host.options, ["edns0", "timeout:2"]);
        let with = json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"});
        assert_eq!(formed(with, &dns).0.searches, cluster);
        let (fallback, notices) = formed(json!({"containers": []}), &[]);
        assert_eq!(fallback.servers, ["1.1.1.1"]);
        assert_eq!(notices[0].reason, "MissingClusterDNS");
    }

    #[test]
    fn own_configuration_is_appended_and_its_options_win() {
        let spec = json!({"containers": [], "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["lab", "x"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]}});
        let (config, _) = formed(spec, &["10.96.0.10"]);
        assert_eq!(config.servers, ["10.96.0.10", "9.9.9.9"]);
        assert_eq!(config.searches.last().map(String::as_str), Some("x"));
        assert_eq!(config.options, ["ndots:2", "rotate"]);
        let none = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}});
        let (config, _) = formed(none, &["10.96.0.10"]);
        assert_eq!(
            config,
            v1::DnsConfig {
                servers: vec!["9.9.9.9".into()],
                ..Default::default()
            }
        );
    }

    #[test]
    fn limits_are_told() {
        let spec = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4"],
            "searches": (0..33).map(|i| format!("d{i}")).collect::<Vec<_>>()}});
        let (config, notices) = formed(spec, &[]);
        assert_eq!(config.servers.len(), 3);
        assert_eq!(config.searches.len(), 32);
        assert_eq!(
            notices[0].message,
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
             1.0.0.1 1.0.0.2 1.0.0.3"
        );
        assert_eq!(notices.len(), 2);
    }
}
