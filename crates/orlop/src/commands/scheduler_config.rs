//! A KubeSchedulerConfiguration, as far as it is followed: how to reach the API server, the leader's election, whose pods
//! are scheduled, how long they wait between two attempts, what makes a node a good one for them, and who else is asked.
use crate::cli::LeaderArgs;
use anyhow::{Context, Result, bail};
use orlop_api::duration::parse_go_duration;
use orlop_scheduler::{Extender, ExtenderTls, ManagedResource, Options, Profile, Room, Weights};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

const API_VERSIONS: &str = "kubescheduler.config.k8s.io/";
const KIND: &str = "KubeSchedulerConfiguration";

/// What is read of the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulerConfig {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    client_connection: ClientConnection,
    #[serde(default)]
    leader_election: LeaderElection,
    #[serde(default)]
    profiles: Vec<ProfileConfig>,
    #[serde(default)]
    extenders: Vec<ExtenderConfig>,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Somebody who is asked, too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExtenderConfig {
    #[serde(default)]
    url_prefix: String,
    #[serde(default)]
    filter_verb: String,
    #[serde(default)]
    prioritize_verb: String,
    #[serde(default)]
    bind_verb: String,
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
    others: Map<String, Value>,
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
    fn extender(&self) -> Extender {
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
            prioritize: verb(&self.prioritize_verb),
            weight: self.weight,
            bind: verb(&self.bind_verb),
            knows_nodes: self.node_cache_capable,
            resources: self.managed_resources.iter().map(managed).collect(),
            is_ignorable: self.ignorable,
        }
    }

    /// What can't be meant, at `field`.
    fn check(&self, field: &str) -> Result<()> {
        if self.url_prefix.is_empty() {
            bail!("{field}.urlPrefix: who is to be asked isn't said");
        }
        if !self.prioritize_verb.is_empty() && self.weight < 1 {
            bail!(
                "{field}.weight: {}: must have a positive weight applied to it",
                self.weight
            );
        }
        Ok(())
    }
}

/// Pods of one schedulerName.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileConfig {
    #[serde(default)]
    scheduler_name: String,
    #[serde(default)]
    plugins: Plugins,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Which plugins take part in what; only their part in the choice among nodes can be changed.
#[derive(Debug, Default, Deserialize)]
struct Plugins {
    #[serde(default)]
    score: PluginSet,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PluginSet {
    enabled: Vec<Plugin>,
    disabled: Vec<Plugin>,
}

#[derive(Debug, Deserialize)]
struct Plugin {
    name: String,
    weight: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct PluginConfig {
    name: String,
    #[serde(default)]
    args: Value,
}

/// All plugins.
const ALL: &str = "*";
const FIT: &str = "NodeResourcesFit";
const STRATEGY: &str = "/scoringStrategy/type";

impl ProfileConfig {
    fn profile(&self) -> Profile {
        let mut profile = Profile::default();
        if !self.scheduler_name.is_empty() {
            profile.name.clone_from(&self.scheduler_name);
        }
        for plugin in &self.plugins.score.disabled {
            if plugin.name == ALL {
                profile.weights = Weights::none();
            } else if let Some(weight) = profile.weights.of_plugin(&plugin.name) {
                *weight = 0.0;
            }
        }
        for plugin in &self.plugins.score.enabled {
            if let Some(weight) = profile.weights.of_plugin(&plugin.name) {
                // None at all means one.
                *weight = plugin.weight.map_or(1.0, |weight| f64::from(weight.max(1)));
            }
        }
        if self.strategy() == Some("MostAllocated") {
            profile.room = Room::Used;
        }
        profile
    }

    /// How room counts.
    fn strategy(&self) -> Option<&str> {
        let fit = self.plugin_config.iter().find(|config| config.name == FIT)?;
        fit.args.pointer(STRATEGY)?.as_str()
    }

    /// What of it isn't followed, by its place in the profile.
    fn unfollowed(&self) -> Vec<String> {
        let knows = |plugin: &str| plugin == ALL || Weights::default().of_plugin(plugin).is_some();
        let named = self
            .plugins
            .score
            .enabled
            .iter()
            .chain(&self.plugins.score.disabled);
        let unknown = named.filter(|plugin| !knows(&plugin.name));
        let unknown = unknown.map(|plugin| format!("plugins.score.{}", plugin.name));
        let points = self.plugins.others.keys().map(|point| format!("plugins.{point}"));
        let is_followed = |config: &&PluginConfig| {
            config.name == FIT && matches!(self.strategy(), Some("LeastAllocated" | "MostAllocated"))
        };
        let configs = self.plugin_config.iter().filter(|config| !is_followed(config));
        let configs = configs.map(|config| format!("pluginConfig.{}", config.name));
        let others = self.others.keys().cloned();
        unknown.chain(points).chain(configs).chain(others).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
struct ClientConnection {
    #[serde(default)]
    kubeconfig: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaderElection {
    leader_elect: Option<bool>,
    #[serde(deserialize_with = "duration")]
    lease_duration: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    renew_deadline: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    retry_period: Option<Duration>,
    resource_name: Option<String>,
    resource_namespace: Option<String>,
}

/// One of zero means: the usual.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let duration = parse_go_duration(&text)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is no duration such as 15s")))?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

impl SchedulerConfig {
    /// Reads it, and says in the log what of it is not followed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the scheduler's configuration {}", path.display()))?;
        let config = Self::parse(&text)
            .with_context(|| format!("the scheduler's configuration {}", path.display()))?;
        let unfollowed = config.unfollowed();
        if !unfollowed.is_empty() {
            tracing::warn!(
                fields = unfollowed.join(", "),
                "not followed in the scheduler's configuration"
            );
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self> {
        let config: Self = serde_saphyr::from_str(text)?;
        if !config.api_version.starts_with(API_VERSIONS) || config.kind != KIND {
            bail!(
                "apiVersion {:?}, kind {:?}: expected \"{API_VERSIONS}v1\" and {KIND:?}",
                config.api_version,
                config.kind
            );
        }
        let binders = config
            .extenders
            .iter()
            .filter(|extender| !extender.bind_verb.is_empty());
        if binders.count() > 1 {
            bail!("extenders: only one of them can implement bind");
        }
        for (number, extender) in config.extenders.iter().enumerate() {
            extender.check(&format!("extenders[{number}]"))?;
        }
        Ok(config)
    }

    /// What somebody may have meant something by.
    fn unfollowed(&self) -> Vec<String> {
        let usual = [
            "enableContentionProfiling",
            "enableProfiling",
            "metadata",
            "parallelism",
        ];
        let fields = self
            .others
            .keys()
            .filter(|field| !usual.contains(&field.as_str()));
        let profiles = self.profiles.iter().enumerate();
        let of_profiles = profiles.flat_map(|(number, profile)| {
            let fields = profile.unfollowed().into_iter();
            fields.map(move |field| format!("profiles[{number}].{field}"))
        });
        let extenders = self.extenders.iter().enumerate();
        let of_extenders = extenders.flat_map(|(number, extender)| {
            let fields = extender.others.keys();
            fields.map(move |field| format!("extenders[{number}].{field}"))
        });
        fields.cloned().chain(of_extenders).chain(of_profiles).collect()
    }

    /// How pods are scheduled, and whose.
    pub fn options(&self) -> Options {
        let usual = Options::default();
        let seconds = |given: Option<u64>, usual| given.map_or(usual, Duration::from_secs);
        Options {
            profiles: match self.profiles.is_empty() {
                true => usual.profiles,
                false => self.profiles.iter().map(ProfileConfig::profile).collect(),
            },
            extenders: self.extenders.iter().map(ExtenderConfig::extender).collect(),
            backoff_min: seconds(self.pod_initial_backoff_seconds, usual.backoff_min),
            backoff_max: seconds(self.pod_max_backoff_seconds, usual.backoff_max),
        }
    }

    pub fn kubeconfig(&self) -> Option<PathBuf> {
        let path = &self.client_connection.kubeconfig;
        (!path.as_os_str().is_empty()).then(|| path.clone())
    }

    /// What the flags leave open is as the file says.
    pub fn leader(self, flags: LeaderArgs) -> LeaderArgs {
        let of = self.leader_election;
        let named = |name: Option<String>| name.filter(|name| !name.is_empty());
        LeaderArgs {
            leader_elect: flags.leader_elect.or(of.leader_elect),
            leader_elect_lease_duration: flags.leader_elect_lease_duration.or(of.lease_duration),
            leader_elect_renew_deadline: flags.leader_elect_renew_deadline.or(of.renew_deadline),
            leader_elect_retry_period: flags.leader_elect_retry_period.or(of.retry_period),
            leader_elect_resource_lock: flags.leader_elect_resource_lock,
            leader_elect_resource_name: flags.leader_elect_resource_name.or(named(of.resource_name)),
            leader_elect_resource_namespace: flags
                .leader_elect_resource_namespace
                .or(named(of.resource_namespace)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As upstream's script for a cluster of one machine writes it, and as a whole one looks.
    #[test]
    fn a_file_says_whom_to_ask_and_how_to_lead_and_flags_say_it_better() {
        let config = SchedulerConfig::parse(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
             clientConnection:\n  kubeconfig: /c/scheduler.kubeconfig\n  qps: 50\n\
             leaderElection:\n  leaderElect: false\n  leaseDuration: 30s\n  renewDeadline: 0s\n  resourceName: \"\"\n\
             profiles:\n- schedulerName: mine\n- plugins: {}\nparallelism: 16\n",
        )
        .unwrap();
        assert_eq!(config.kubeconfig().unwrap(), Path::new("/c/scheduler.kubeconfig"));
        assert!(config.unfollowed().is_empty());
        let options = config.options();
        let names: Vec<&str> = options.profiles.iter().map(|profile| &*profile.name).collect();
        assert_eq!(names, ["mine", "default-scheduler"]);
        assert_eq!(options.profiles[1], Profile::default());
        let leader = config.leader(LeaderArgs {
            leader_elect: Some(true),
            ..LeaderArgs::default()
        });
        assert_eq!(leader.leader_elect, Some(true));
        assert_eq!(leader.leader_elect_lease_duration, Some(Duration::from_secs(30)));
        assert_eq!(leader.leader_elect_renew_deadline, None);
        assert_eq!(leader.leader_elect_resource_name, None);
    }

    #[test]
    fn a_file_says_what_makes_a_node_a_good_one() {
        let config = SchedulerConfig::parse(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
             podInitialBackoffSeconds: 3\npodMaxBackoffSeconds: 30\n\
             profiles:\n- plugins:\n    score:\n      disabled: [{name: PodTopologySpread}]\n\
             \u{20}     enabled: [{name: NodeResourcesFit, weight: 5}, {name: Mine}]\n    filter: {}\n\
             \u{20} pluginConfig:\n  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}\n\
             \u{20} - {name: InterPodAffinity, args: {hardPodAffinityWeight: 3}}\n\
             - plugins: {score: {disabled: [{name: '*'}], enabled: [{name: ImageLocality}]}}\n",
        )
        .unwrap();
        assert_eq!(
            config.unfollowed(),
            [
                "profiles[0].plugins.score.Mine",
                "profiles[0].plugins.filter",
                "profiles[0].pluginConfig.InterPodAffinity"
            ]
        );
        let options = config.options();
        assert_eq!(
            (options.backoff_min, options.backoff_max),
            (Duration::from_secs(3), Duration::from_secs(30))
        );
        let (packs, images) = (&options.profiles[0], &options.profiles[1]);
        let weights = Weights {
            room: 5.0,
            spread: 0.0,
            ..Weights::default()
        };
        assert_eq!((packs.room, packs.weights), (Room::Used, weights));
        let weights = Weights {
            images: 1.0,
            ..Weights::none()
        };
        assert_eq!((images.room, images.weights), (Room::Free, weights));
    }

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
        assert_eq!(config.unfollowed(), ["extenders[0].preemptVerb"]);
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
        assert_eq!(config.options().extenders, [extender]);
        let plain = parse("{urlPrefix: 'http://x'}")
            .unwrap()
            .options()
            .extenders
            .remove(0);
        assert_eq!((plain.timeout, plain.tls.insecure), (EXTENDER_PATIENCE, false));
        for (wrong, why) in [
            ("{filterVerb: f}", "urlPrefix"),
            ("{urlPrefix: 'http://x', prioritizeVerb: p}", "positive weight"),
            (
                "{urlPrefix: a, bindVerb: b}\n- {urlPrefix: b, bindVerb: b}",
                "only one",
            ),
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let error = SchedulerConfig::parse("apiVersion: v1\nkind: Pod\n").unwrap_err();
        assert!(
            error.to_string().contains("KubeSchedulerConfiguration"),
            "{error}"
        );
    }
}
