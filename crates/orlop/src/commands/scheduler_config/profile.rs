//! How pods of one schedulerName are placed.
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use orlop_scheduler::{Profile, Room, Rules, Spreading, Weights};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Pods of one schedulerName.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProfileConfig {
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
    #[serde(default, rename = "multiPoint")]
    multi_point: PluginSet,
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
const NODE_AFFINITY: &str = "NodeAffinity";
const COMPANY: &str = "InterPodAffinity";
const SPREAD: &str = "PodTopologySpread";
/// Plugins that do nothing but compare nodes: whoever turns them off everywhere turns off that.
const ONLY_COMPARE: [&str; 2] = ["NodeResourcesBalancedAllocation", "ImageLocality"];
/// What objects of plugins' arguments may say of themselves.
const TYPE_MEMBERS: [&str; 2] = ["apiVersion", "kind"];
/// How good a node is, at most, in a shape of `RequestedToCapacityRatio`.
const SHAPE_SCORE_MAX: f64 = 10.0;

/// Of `NodeResourcesFit`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FitArgs {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Strategy,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    #[serde(rename = "type")]
    kind: String,
    resources: Vec<WeighedResource>,
    requested_to_capacity_ratio: Ratio,
}

#[derive(Debug, Deserialize)]
struct WeighedResource {
    name: String,
    #[serde(default)]
    weight: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ratio {
    shape: Vec<Point>,
}

#[derive(Debug, Deserialize)]
struct Point {
    #[serde(default)]
    utilization: f64,
    #[serde(default)]
    score: f64,
}

impl Strategy {
    fn room(&self) -> Result<Room> {
        let field = "scoringStrategy";
        let shape = &self.requested_to_capacity_ratio.shape;
        let is_rising = shape
            .windows(2)
            .all(|pair| pair[0].utilization < pair[1].utilization);
        Ok(match self.kind.as_str() {
            "" | "LeastAllocated" => Room::Free,
            "MostAllocated" => Room::Used,
            "RequestedToCapacityRatio" if shape.is_empty() || !is_rising => {
                bail!("{field}.requestedToCapacityRatio.shape: points of rising utilization are needed")
            }
            "RequestedToCapacityRatio" => {
                let is_wrong = |point: &Point| {
                    !(0.0..=100.0).contains(&point.utilization)
                        || !(0.0..=SHAPE_SCORE_MAX).contains(&point.score)
                };
                if let Some(number) = shape.iter().position(is_wrong) {
                    let Point { utilization, score } = &shape[number];
                    bail!(
                        "{field}.requestedToCapacityRatio.shape[{number}]: utilization {utilization} and score {score} \
                         must be in [0-100] and [0-10]"
                    );
                }
                let point = |point: &Point| (point.utilization, point.score * 100.0 / SHAPE_SCORE_MAX);
                Room::Shaped(shape.iter().map(point).collect())
            }
            other => bail!(
                "{field}.type: {other:?} is none of LeastAllocated, MostAllocated, RequestedToCapacityRatio"
            ),
        })
    }
}

/// Of `NodeAffinity`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinityArgs {
    added_affinity: NodeAffinity,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Of `InterPodAffinity`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CompanyArgs {
    hard_pod_affinity_weight: Option<u32>,
    ignore_preferred_terms_of_existing_pods: bool,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Of `PodTopologySpread`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpreadArgs {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl SpreadArgs {
    /// How pods spread that say nothing about it; `None` if that is left to the scheduler.
    fn spreading(&self) -> Result<Option<Vec<Spreading>>> {
        let given = &self.default_constraints;
        match self.defaulting_type.as_str() {
            "" | "System" if given.is_empty() => return Ok(None),
            "" | "System" => bail!(r#"defaultingType: "System": when .defaultConstraints are not empty"#),
            "List" => {}
            other => bail!("defaultingType: {other:?} is none of System, List"),
        }
        for (number, constraint) in given.iter().enumerate() {
            let field = format!("defaultConstraints[{number}]");
            if constraint.label_selector.is_some() {
                bail!(
                    "{field}.labelSelector: constraint must not define a selector, as they deduced for each pod"
                );
            }
            if constraint.max_skew < 1 {
                bail!(
                    "{field}.maxSkew: {}: not in valid range 1 and above",
                    constraint.max_skew
                );
            }
            if constraint.topology_key.is_empty() {
                bail!("{field}.topologyKey: can not be empty");
            }
            if !["DoNotSchedule", "ScheduleAnyway"].contains(&&*constraint.when_unsatisfiable) {
                bail!(
                    "{field}.whenUnsatisfiable: {:?} is none of DoNotSchedule, ScheduleAnyway",
                    constraint.when_unsatisfiable
                );
            }
        }
        Ok(Some(given.iter().map(Spreading::of_copies).collect()))
    }
}

impl ProfileConfig {
    pub(super) fn profile(&self) -> Result<Profile> {
        let mut profile = Profile::default();
        if !self.scheduler_name.is_empty() {
            profile.name.clone_from(&self.scheduler_name);
        }
        let Plugins {
            multi_point, score, ..
        } = &self.plugins;
        for plugin in &multi_point.disabled {
            if let Some(weight) = profile.weights.of_plugin(&plugin.name)
                && ONLY_COMPARE.contains(&&*plugin.name)
            {
                *weight = 0.0;
            }
        }
        weigh(&mut profile, &multi_point.enabled);
        for plugin in &score.disabled {
            if plugin.name == ALL {
                profile.weights = Weights::none();
            } else if let Some(weight) = profile.weights.of_plugin(&plugin.name) {
                *weight = 0.0;
            }
        }
        weigh(&mut profile, &score.enabled);
        let fit: FitArgs = self.args(FIT)?;
        profile.room = fit.scoring_strategy.room().context(FIT)?;
        if !fit.scoring_strategy.resources.is_empty() {
            let resources = fit.scoring_strategy.resources.into_iter();
            // None at all means one.
            let weighed = resources.map(|resource| (resource.name, f64::from(resource.weight.max(1))));
            profile.resources = weighed.collect();
        }
        let company: CompanyArgs = self.args(COMPANY)?;
        if let Some(weight) = company.hard_pod_affinity_weight.filter(|weight| *weight > 100) {
            bail!("{COMPANY}: hardPodAffinityWeight: {weight}: not in valid range [0-100]");
        }
        let affinity: NodeAffinityArgs = self.args(NODE_AFFINITY)?;
        let spread: SpreadArgs = self.args(SPREAD)?;
        let usual = Rules::default();
        profile.rules = Rules {
            need: company.hard_pod_affinity_weight.map_or(usual.need, i64::from),
            ignores_others_preferences: company.ignore_preferred_terms_of_existing_pods,
            affinity: affinity.added_affinity,
            spreading: spread.spreading().context(SPREAD)?,
            ignored: fit.ignored_resources,
            ignored_groups: fit
                .ignored_resource_groups
                .iter()
                .map(|group| format!("{group}/"))
                .collect(),
        };
        Ok(profile)
    }

    /// A plugin's arguments.
    fn args<T: Default + DeserializeOwned>(&self, plugin: &str) -> Result<T> {
        let given = self.plugin_config.iter().find(|config| config.name == plugin);
        let args = given.map(|given| &given.args).filter(|args| !args.is_null());
        let args = args.map(|args| serde_json::from_value(args.clone()));
        let args = args.transpose();
        Ok(args
            .with_context(|| format!("pluginConfig of {plugin}"))?
            .unwrap_or_default())
    }

    /// What of it isn't followed, by its place in the profile.
    pub(super) fn unfollowed(&self) -> Vec<String> {
        let knows = |plugin: &str| Weights::default().of_plugin(plugin).is_some();
        let scores = |plugin: &str| plugin == ALL || knows(plugin);
        let compares = |plugin: &str| ONLY_COMPARE.contains(&plugin);
        let Plugins {
            multi_point,
            score,
            others,
        } = &self.plugins;
        type Set<'a> = (&'a str, &'a [Plugin], &'a dyn Fn(&str) -> bool);
        let sets: [Set<'_>; 4] = [
            ("score", &score.enabled, &scores),
            ("score", &score.disabled, &scores),
            ("multiPoint", &multi_point.enabled, &knows),
            ("multiPoint", &multi_point.disabled, &compares),
        ];
        let mut all = Vec::new();
        for (point, plugins, is_followed) in sets {
            let unknown = plugins.iter().filter(|plugin| !is_followed(&plugin.name));
            all.extend(unknown.map(|plugin| format!("plugins.{point}.{}", plugin.name)));
        }
        all.extend(others.keys().map(|point| format!("plugins.{point}")));
        for config in &self.plugin_config {
            // What can't be read was refused before.
            let others = match config.name.as_str() {
                FIT => self.args::<FitArgs>(FIT).map(|args| args.others),
                SPREAD => self.args::<SpreadArgs>(SPREAD).map(|args| args.others),
                COMPANY => self.args::<CompanyArgs>(COMPANY).map(|args| args.others),
                NODE_AFFINITY => self
                    .args::<NodeAffinityArgs>(NODE_AFFINITY)
                    .map(|args| args.others),
                other => {
                    all.push(format!("pluginConfig.{other}"));
                    continue;
                }
            };
            let others = others.unwrap_or_default();
            let meant = others
                .keys()
                .filter(|member| !TYPE_MEMBERS.contains(&member.as_str()));
            all.extend(meant.map(|member| format!("pluginConfig.{}.{member}", config.name)));
        }
        all.extend(self.others.keys().cloned());
        all
    }
}

/// How much plugins count.
fn weigh(profile: &mut Profile, plugins: &[Plugin]) {
    for plugin in plugins {
        if let Some(weight) = profile.weights.of_plugin(&plugin.name) {
            // None at all means one.
            *weight = plugin.weight.map_or(1.0, |weight| f64::from(weight.max(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SchedulerConfig;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_file_says_what_makes_a_node_a_good_one() {
        let config = SchedulerConfig::parse(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
             podInitialBackoffSeconds: 3\npodMaxBackoffSeconds: 30\n\
             profiles:\n- plugins:\n    score:\n      disabled: [{name: PodTopologySpread}]\n\
             \u{20}     enabled: [{name: NodeResourcesFit, weight: 5}, {name: Mine}]\n    filter: {}\n\
             \u{20} pluginConfig:\n  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}\n\
             \u{20} - {name: InterPodAffinity, args: {hardPodAffinityWeight: 3, more: 1}}\n\
             \u{20} - {name: PodTopologySpread, args: {defaultingType: List}}\n\
             - schedulerName: other\n\
             \u{20} plugins: {score: {disabled: [{name: '*'}], enabled: [{name: ImageLocality}]}}\n",
        )
        .unwrap();
        assert_eq!(
            config.unfollowed(),
            [
                "profiles[0].plugins.score.Mine",
                "profiles[0].plugins.filter",
                "profiles[0].pluginConfig.InterPodAffinity.more"
            ]
        );
        let options = config.options().unwrap();
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
        assert_eq!((&packs.room, packs.weights), (&Room::Used, weights));
        assert_eq!(packs.rules.need, 3);
        assert_eq!(
            (&packs.rules.spreading, &images.rules.spreading),
            (&Some(Vec::new()), &None)
        );
        let weights = Weights {
            images: 1.0,
            ..Weights::none()
        };
        assert_eq!((&images.room, images.weights), (&Room::Free, weights));
    }

    #[test]
    fn a_file_says_what_plugins_go_by() {
        let parse = |profile: &str| {
            SchedulerConfig::parse(&format!(
                "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- {profile}\n"
            ))
        };
        let config = parse(
            "{plugins: {multiPoint: {enabled: [{name: ImageLocality, weight: 4}], disabled: [{name: NodeName}, \
             {name: NodeResourcesBalancedAllocation}]}}, pluginConfig: [{name: NodeResourcesFit, args: {kind: \
             NodeResourcesFitArgs, ignoredResources: [a.com/x], ignoredResourceGroups: [b.com], scoringStrategy: {type: \
             RequestedToCapacityRatio, resources: [{name: a.com/gpu, weight: 5}, {name: cpu}], requestedToCapacityRatio: \
             {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}}}}, {name: InterPodAffinity, args: \
             {ignorePreferredTermsOfExistingPods: true}}, {name: NodeAffinity, args: {addedAffinity: \
             {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: \
             Exists}]}]}}}}]}",
        )
        .unwrap();
        assert_eq!(config.unfollowed(), ["profiles[0].plugins.multiPoint.NodeName"]);
        let profile = config.options().unwrap().profiles.remove(0);
        assert_eq!((profile.weights.images, profile.weights.balance), (4.0, 0.0));
        assert_eq!(profile.room, Room::Shaped(vec![(0.0, 0.0), (100.0, 100.0)]));
        let resources = [("a.com/gpu".to_owned(), 5.0), ("cpu".to_owned(), 1.0)];
        assert_eq!(profile.resources, resources);
        let rules = &profile.rules;
        assert!(rules.ignores("a.com/x") && rules.ignores("b.com/y") && !rules.ignores("a.com/y"));
        assert!(rules.ignores_others_preferences && rules.need == 1);
        let required = &rules.affinity.required_during_scheduling_ignored_during_execution;
        assert_eq!(required.as_ref().unwrap().node_selector_terms.len(), 1);
        let spread =
            |args: &str| format!("{{pluginConfig: [{{name: PodTopologySpread, args: {{{args}}}}}]}}");
        let by_zone =
            "defaultConstraints: [{topologyKey: zone, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}]";
        let config = parse(&spread(&format!("defaultingType: List, {by_zone}"))).unwrap();
        let spreading = config
            .options()
            .unwrap()
            .profiles
            .remove(0)
            .rules
            .spreading
            .unwrap();
        assert_eq!((&*spreading[0].topology_key, spreading[0].max_skew), ("zone", 2));
        for (wrong, why) in [
            (&*spread(by_zone), "when .defaultConstraints are not empty"),
            (
                &*spread(
                    "defaultingType: List, defaultConstraints: [{topologyKey: z, maxSkew: 1, \
                     whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]",
                ),
                "defaultConstraints[0].labelSelector: constraint must not define a selector",
            ),
            (
                "{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Most}}}]}",
                "Most",
            ),
            (
                "{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio}}}]}",
                "shape",
            ),
            (
                "{pluginConfig: [{name: NodeAffinity, args: {addedAffinity: 7}}]}",
                "NodeAffinity",
            ),
        ] {
            let error = format!("{:#}", parse(wrong).unwrap_err());
            assert!(error.contains("profiles[0]") && error.contains(why), "{error}");
        }
    }
}
