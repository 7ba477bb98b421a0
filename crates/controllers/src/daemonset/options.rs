//! What a DaemonSet asks for beyond upstream, by annotations under the names that people know from OpenYurt and
//! OpenKruise. Without them: upstream's behaviour.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orlop_api::annotations::NODE_GATE;
use orlop_api::selector::{LabelSelector, Labels};

use super::strategy::{Limits, Strategy, resolve};

/// `AdvancedRollingUpdate`: nodes that aren't Ready don't hold an update up. `OTA`: pods are only told.
pub const UPDATE_STRATEGY: &str = "apps.openyurt.io/update-strategy";
/// How many nodes may lack an available pod during an advanced update; a tenth if it isn't given.
pub const MAX_UNAVAILABLE: &str = "apps.openyurt.io/max-unavailable";
/// How many nodes keep their old pod: a number or a percentage.
pub const PARTITION: &str = "apps.kruise.io/partition";
/// `true`: no pod is replaced for a newer one.
pub const PAUSED: &str = "apps.kruise.io/paused";
/// Labels of the nodes whose pods are replaced for newer ones.
pub const SELECTOR: &str = "apps.kruise.io/selector";
/// On how many nodes at a time the next images are pulled before old pods stop.
pub const PRE_PULL: &str = "apps.kruise.io/image-predownload-parallelism";
/// `true`: never more nodes being replaced than maxUnavailable, broken old pods included.
pub const STRICT_BUDGET: &str = "orlop.dev/strict-budget";

/// What of [`MAX_UNAVAILABLE`] isn't given.
const MAX_UNAVAILABLE_DEFAULT: &str = "10%";

/// Who replaces old pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Updates {
    /// As spec.updateStrategy says.
    #[default]
    AsSpecified,
    /// We do, and nodes that aren't Ready don't count.
    Advanced,
    /// Somebody on the node does; we say that there is something newer.
    OverTheAir,
}

/// The annotations, read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who replaces old pods.
    pub updates: Updates,
    /// [`MAX_UNAVAILABLE`], or its default for advanced updates.
    pub max_unavailable: Option<IntOrString>,
    /// [`PARTITION`].
    pub partition: Option<IntOrString>,
    /// [`PAUSED`], or an annotation that can't be read: it is safer to do nothing.
    pub paused: bool,
    /// [`SELECTOR`].
    pub selector: Option<LabelSelector>,
    /// [`PRE_PULL`].
    pub pre_pull: Option<usize>,
    /// [`STRICT_BUDGET`].
    pub strict: bool,
    /// New nodes stay tainted until the pod there is Ready.
    pub gate: bool,
    /// What is wrong with an annotation.
    pub complaint: Option<String>,
}

impl Options {
    /// Those of `set`.
    pub fn of(set: &DaemonSet) -> Self {
        set.metadata
            .annotations
            .as_ref()
            .map(Self::read)
            .unwrap_or_default()
    }

    /// Whether old pods are replaced by us.
    pub fn replaces(&self, strategy: &Strategy) -> bool {
        match self.updates {
            _ if self.paused => false,
            Updates::OverTheAir => false,
            Updates::Advanced => true,
            Updates::AsSpecified => *strategy != Strategy::OnDelete,
        }
    }

    /// Whether nodes that aren't Ready neither count nor lose their pod.
    pub fn skips_not_ready(&self) -> bool {
        self.updates == Updates::Advanced
    }

    /// Whether pods on a node with these labels may be replaced for newer ones.
    pub fn updates_node(&self, labels: &impl Labels) -> bool {
        self.selector
            .as_ref()
            .is_none_or(|selector| selector.matches(labels))
    }

    /// The limits when `desired` nodes should have a pod.
    pub fn limits(&self, strategy: &Strategy, desired: usize) -> Limits {
        let limits = strategy.limits(desired);
        match (&self.max_unavailable, self.updates) {
            // Otherwise the update could never proceed.
            (Some(given), Updates::Advanced) => Limits {
                max_unavailable: resolve(given, desired).max(usize::from(limits.max_surge == 0)),
                ..limits
            },
            _ => limits,
        }
    }

    /// How many old pods stay when `desired` nodes should have a pod.
    pub fn keeps(&self, desired: usize) -> usize {
        self.partition
            .as_ref()
            .map_or(0, |partition| resolve(partition, desired))
    }

    fn read(annotations: &BTreeMap<String, String>) -> Self {
        let mut options = Self::default();
        let mut complaint = None;
        let mut wrong = |name: &str, value: &str, wants: &str| {
            complaint.get_or_insert_with(|| {
                format!("annotation {name}={value} is not {wants}; no pod is updated until it is mended")
            });
        };
        let get = |name: &str| annotations.get(name).map(|value| value.trim());
        let mut flag = |name: &str| match get(name) {
            None | Some("" | "false") => false,
            Some("true") => true,
            Some(other) => {
                wrong(name, other, "true or false");
                false
            }
        };
        options.paused = flag(PAUSED);
        options.strict = flag(STRICT_BUDGET);
        options.gate = flag(NODE_GATE);
        options.updates = match get(UPDATE_STRATEGY) {
            None | Some("") => Updates::AsSpecified,
            Some("AdvancedRollingUpdate" | "advancedrollingupdate" | "Auto" | "auto") => Updates::Advanced,
            Some("OTA" | "ota") => Updates::OverTheAir,
            Some(other) => {
                wrong(UPDATE_STRATEGY, other, "AdvancedRollingUpdate or OTA");
                Updates::AsSpecified
            }
        };
        let mut amount = |name: &str| {
            let text = get(name).filter(|text| !text.is_empty())?;
            let amount = amount(text);
            if amount.is_none() {
                wrong(name, text, "a number or a percentage");
            }
            amount
        };
        options.max_unavailable = amount(MAX_UNAVAILABLE);
        options.partition = amount(PARTITION);
        if options.updates == Updates::Advanced && options.max_unavailable.is_none() {
            options.max_unavailable = Some(IntOrString::String(MAX_UNAVAILABLE_DEFAULT.to_owned()));
        }
        if let Some(text) = get(SELECTOR).filter(|text| !text.is_empty()) {
            match LabelSelector::parse(text) {
                Ok(selector) => options.selector = Some(selector),
                Err(_) => wrong(SELECTOR, text, "a label selector such as zone=a"),
            }
        }
        if let Some(text) = get(PRE_PULL).filter(|text| !text.is_empty()) {
            match text.parse::<usize>() {
                Ok(nodes) if nodes > 0 => options.pre_pull = Some(nodes),
                _ => wrong(PRE_PULL, text, "a number of nodes"),
            }
        }
        options.paused |= complaint.is_some();
        options.complaint = complaint;
        options
    }
}

/// `3` or `30%`.
fn amount(text: &str) -> Option<IntOrString> {
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: u32 = percent.parse().ok()?;
            (percent <= 100).then(|| IntOrString::String(format!("{percent}%")))
        }
        None => text
            .parse()
            .ok()
            .filter(|number| *number >= 0)
            .map(IntOrString::Int),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &[(&str, &str)]) -> Options {
        let annotations = annotations
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Options::read(&annotations.collect())
    }

    #[test]
    fn without_annotations_all_is_as_upstream() {
        let options = read(&[("other", "x")]);
        assert_eq!(options.updates, Updates::AsSpecified);
        assert!(!options.paused && !options.strict && !options.gate && options.complaint.is_none());
        assert!(
            options.max_unavailable.is_none() && options.selector.is_none() && options.pre_pull.is_none()
        );
    }

    #[test]
    fn names_of_openyurt_and_openkruise_are_known() {
        let options = read(&[
            (UPDATE_STRATEGY, "AdvancedRollingUpdate"),
            (PARTITION, "40%"),
            (PAUSED, "true"),
            (SELECTOR, "zone in (a,b)"),
            (PRE_PULL, "5"),
        ]);
        assert_eq!(options.updates, Updates::Advanced);
        assert_eq!(options.max_unavailable, Some(IntOrString::String("10%".into())));
        assert_eq!(options.partition, Some(IntOrString::String("40%".into())));
        assert!(options.paused && options.complaint.is_none());
        assert!(
            options
                .selector
                .unwrap()
                .matches(&BTreeMap::from([("zone".to_owned(), "b".to_owned())]))
        );
        assert_eq!(options.pre_pull, Some(5));
        assert_eq!(read(&[(UPDATE_STRATEGY, "OTA")]).updates, Updates::OverTheAir);
    }

    #[test]
    fn an_annotation_that_cannot_be_read_pauses_and_is_named() {
        for (name, value) in [
            (UPDATE_STRATEGY, "Sometimes"),
            (MAX_UNAVAILABLE, "-1"),
            (PARTITION, "140%"),
            (PAUSED, "yes"),
            (SELECTOR, "zone in"),
            (PRE_PULL, "0"),
        ] {
            let options = read(&[(name, value)]);
            assert!(options.paused, "{name}");
            assert!(options.complaint.unwrap().contains(name));
        }
    }
}
