//! Programs that are asked, too.
use super::duration;
use anyhow::{Result, bail};
use orlop_api::names::is_qualified_name;
use orlop_api::quota::is_extended;
use orlop_scheduler::{Extender, ExtenderTls, ManagedResource};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Somebody who is asked, too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExtenderConfig {
    #[serde(default)]
    url_prefix: String,
    #[serde(default)]
    filter_verb: String,
    #[serde(default)]
    preempt_verb: String,
    #[serde(default)]
    prioritize_verb: String,
    #[serde(default)]
    pub(super) bind_verb: String,
    #[serde(default)]
    weight: i64,
    #[serde(default, rename = "enableHTTPS")]
    enable_https: bool,
    #[serde(default)]
    tls_config: TlsConfig,
    #[serde(default, rename = "httpTimeout", deserialize_with = "duration")]
    http_timeout: Option<Duration>,
    #[serde(default)]
    node_cache_capable: bool,
    #[serde(default)]
    managed_resources: Vec<ManagedResourceConfig>,
    #[serde(default)]
    ignorable: bool,
    #[serde(flatten)]
    pub(super) others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TlsConfig {
    insecure: bool,
    server_name: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    ca_file: Option<String>,
    cert_data: Option<String>,
    key_data: Option<String>,
    ca_data: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedResourceConfig {
    name: String,
    #[serde(default)]
    ignored_by_scheduler: bool,
}

/// How long an extender may take if nothing else is said.
const EXTENDER_PATIENCE: Duration = Duration::from_secs(5);

impl ExtenderConfig {
    pub(super) fn extender(&self) -> Extender {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let verb = |verb: &String| (!verb.is_empty()).then(|| verb.clone());
        let tls = &self.tls_config;
        let ca = [given(&tls.ca_file), given(&tls.ca_data)];
        let managed = |resource: &ManagedResourceConfig| ManagedResource {
            name: resource.name.clone(),
            is_only_its: resource.ignored_by_scheduler,
        };
        Extender {
            url: self.url_prefix.trim_end_matches('/').to_owned(),
            tls: ExtenderTls {
                // Without an authority nobody could be recognised.
                insecure: tls.insecure || self.enable_https && ca.iter().all(Option::is_none),
                server_name: given(&tls.server_name),
                ca,
                certificate: [given(&tls.cert_file), given(&tls.cert_data)],
                key: [given(&tls.key_file), given(&tls.key_data)],
            },
            timeout: self.http_timeout.unwrap_or(EXTENDER_PATIENCE),
            filter: verb(&self.filter_verb),
            preempt: verb(&self.preempt_verb),
            prioritize: verb(&self.prioritize_verb),
            weight: self.weight,
            bind: verb(&self.bind_verb),
            knows_nodes: self.node_cache_capable,
            resources: self.managed_resources.iter().map(managed).collect(),
            is_ignorable: self.ignorable,
        }
    }

    /// What can't be meant, at `field`.
    pub(super) fn check(&self, field: &str) -> Result<()> {
        if self.url_prefix.is_empty() {
            bail!("{field}.urlPrefix: who is to be asked isn't said");
        }
        if !self.prioritize_verb.is_empty() && self.weight < 1 {
            bail!(
                "{field}.weight: {}: must have a positive weight applied to it",
                self.weight
            );
        }
        for (number, ManagedResourceConfig { name, .. }) in self.managed_resources.iter().enumerate() {
            if !is_extended(name) || !is_qualified_name(name) {
                bail!(
                    "{field}.managedResources[{number}].name: {name:?}: is an invalid extended resource name"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerConfig;
    use super::*;

    #[test]
    fn a_file_says_who_else_is_asked() {
        let parse = |extender: &str| {
            SchedulerConfig::parse(&format!(
                "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders:\n- {extender}\n"
            ))
        };
        let config = parse(
            "{urlPrefix: 'https://gpu:1/scheduler/', filterVerb: filter, prioritizeVerb: sort, weight: 2, enableHTTPS: true, \
             preemptVerb: p, httpTimeout: 30s, nodeCacheCapable: true, ignorable: true, \
             managedResources: [{name: example.com/gpu, ignoredByScheduler: true}], tlsConfig: {certFile: /c, keyFile: /k}}",
        )
        .unwrap();
        assert!(config.unfollowed().is_empty());
        let extender = Extender {
            url: "https://gpu:1/scheduler".to_owned(),
            tls: ExtenderTls {
                insecure: true,
                certificate: [Some("/c".to_owned()), None],
                key: [Some("/k".to_owned()), None],
                ..ExtenderTls::default()
            },
            timeout: Duration::from_secs(30),
            filter: Some("filter".to_owned()),
            preempt: Some("p".to_owned()),
            prioritize: Some("sort".to_owned()),
            weight: 2,
            bind: None,
            knows_nodes: true,
            resources: vec![ManagedResource {
                name: "example.com/gpu".to_owned(),
                is_only_its: true,
            }],
            is_ignorable: true,
        };
        assert_eq!(config.options().unwrap().extenders, [extender]);
        let plain = parse("{urlPrefix: 'http://x'}")
            .unwrap()
            .options()
            .unwrap()
            .extenders
            .remove(0);
        assert_eq!((plain.timeout, plain.tls.insecure), (EXTENDER_PATIENCE, false));
        for (wrong, why) in [
            ("{filterVerb: f}", "urlPrefix"),
            ("{urlPrefix: 'http://x', prioritizeVerb: p}", "positive weight"),
            (
                "{urlPrefix: 'http://x', managedResources: [{name: cpu}]}",
                "extenders[0].managedResources[0].name: \"cpu\": is an invalid extended resource name",
            ),
            (
                "{urlPrefix: a, bindVerb: b}\n- {urlPrefix: b, bindVerb: b}",
                "only one",
            ),
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
