//! A KubeSchedulerConfiguration, as far as it is followed: how to reach the API server, the leader's election, whose pods
//! are scheduled, how long they wait between two attempts, what makes a node a good one for them, and who else is asked.
mod extender;
mod profile;

use self::extender::ExtenderConfig;
use self::profile::ProfileConfig;
use crate::cli::LeaderArgs;
use anyhow::{Context, Result, bail};
use orlop_api::duration::parse_go_duration;
use orlop_scheduler::{Options, Profile};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const API_VERSIONS: &str = "kubescheduler.config.k8s.io/";
const KIND: &str = "KubeSchedulerConfiguration";
/// The longest back-off that is followed: no clock tells more than a few centuries.
const BACKOFF_SECONDS_MAX: u64 = u32::MAX as u64;

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
        // What can't be meant is refused where the file is named.
        config.options()?;
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
    pub fn options(&self) -> Result<Options> {
        let usual = Options::default();
        let seconds = |given: Option<u64>, usual| {
            given.map_or(usual, |given| Duration::from_secs(given.min(BACKOFF_SECONDS_MAX)))
        };
        let backoff_min = seconds(self.pod_initial_backoff_seconds, usual.backoff_min);
        let backoff_max = seconds(self.pod_max_backoff_seconds, usual.backoff_max);
        // Without a pause a pod that cannot be placed would be tried without pause.
        if backoff_min.is_zero() {
            bail!("podInitialBackoffSeconds: 0: must be greater than 0");
        }
        if backoff_max < backoff_min {
            bail!(
                "podMaxBackoffSeconds: {}: must be greater than or equal to PodInitialBackoffSeconds",
                backoff_max.as_secs()
            );
        }
        Ok(Options {
            profiles: match self.profiles.is_empty() {
                true => usual.profiles,
                false => {
                    let profiles = self.profiles.iter().enumerate();
                    let profiles = profiles.map(|(number, profile)| {
                        profile.profile().with_context(|| format!("profiles[{number}]"))
                    });
                    let profiles = profiles.collect::<Result<Vec<_>>>()?;
                    refuse_twins(&profiles)?;
                    profiles
                }
            },
            extenders: self.extenders.iter().map(ExtenderConfig::extender).collect(),
            backoff_min,
            backoff_max,
            ..usual
        })
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

/// A pod is scheduled by one profile.
fn refuse_twins(profiles: &[Profile]) -> Result<()> {
    let mut names = HashSet::new();
    for (number, profile) in profiles.iter().enumerate() {
        if !names.insert(&profile.name) {
            bail!(
                "profiles[{number}].schedulerName: {:?}: duplicate value",
                profile.name
            );
        }
    }
    Ok(())
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
        let options = config.options().unwrap();
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
    fn a_file_of_another_kind_is_refused() {
        let error = SchedulerConfig::parse("apiVersion: v1\nkind: Pod\n").unwrap_err();
        assert!(
            error.to_string().contains("KubeSchedulerConfiguration"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (wrong, why) in [
            (
                "podInitialBackoffSeconds: 0",
                "podInitialBackoffSeconds: 0: must be greater than 0",
            ),
            (
                "podInitialBackoffSeconds: 9\npodMaxBackoffSeconds: 3",
                "podMaxBackoffSeconds: 3: must be greater than or equal to PodInitialBackoffSeconds",
            ),
            (
                "profiles: [{schedulerName: a}, {schedulerName: a}]",
                "profiles[1].schedulerName: \"a\": duplicate value",
            ),
            (
                "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]",
                "hardPodAffinityWeight: 101: not in valid range [0-100]",
            ),
            (
                "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: \
                 RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 0, score: 11}]}}}}]}]",
                "shape[0]: utilization 0 and score 11 must be in [0-100] and [0-10]",
            ),
        ] {
            let text = format!(
                "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{wrong}\n"
            );
            let error = format!("{:#}", SchedulerConfig::parse(&text).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
        let longest = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
                       podMaxBackoffSeconds: 9999999999999\n";
        let options = SchedulerConfig::parse(longest).unwrap().options().unwrap();
        assert_eq!(options.backoff_max, Duration::from_secs(BACKOFF_SECONDS_MAX));
    }
}
