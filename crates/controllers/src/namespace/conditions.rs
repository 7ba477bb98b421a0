//! What a terminating namespace says about its progress.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What was found in a namespace after its contents were asked to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Objects left, by `<plural>.<group>`.
    pub objects: BTreeMap<String, usize>,
    /// Objects with each finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// What went wrong while deleting.
    pub failures: Vec<String>,
    /// Group versions of which nobody could say what is in them.
    pub undiscovered: Vec<String>,
}

impl Remaining {
    /// Whether nothing is left.
    pub fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty() && self.undiscovered.is_empty()
    }

    /// Whether nothing has gone since, or come.
    pub fn is_as_much_as(&self, later: &Self) -> bool {
        self.objects == later.objects
            && self.finalizers == later.finalizers
            && self.undiscovered == later.undiscovered
    }

    /// The conditions to show.
    pub fn conditions(&self, now: Timestamp) -> Vec<NamespaceCondition> {
        let condition = |type_: &str, is: bool, reason: &str, message: String| NamespaceCondition {
            type_: type_.to_owned(),
            status: if is { "True" } else { "False" }.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        let list = |counts: &BTreeMap<String, usize>, what: &str| {
            let parts: Vec<String> = counts
                .iter()
                .map(|(name, count)| format!("{name}{what}{count} resource instances"))
                .collect();
            parts.join(", ")
        };
        vec![
            self.discovery(condition),
            condition(
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed".to_owned(),
            ),
            if self.failures.is_empty() {
                condition(
                    "NamespaceDeletionContentFailure",
                    false,
                    "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization".to_owned(),
                )
            } else {
                let mut failures = self.failures.clone();
                failures.sort_unstable();
                let message = format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    failures.len(),
                    failures.join(", ")
                );
                condition(
                    "NamespaceDeletionContentFailure",
                    true,
                    "ContentDeletionFailed",
                    message,
                )
            },
            if self.objects.is_empty() {
                condition(
                    "NamespaceContentRemaining",
                    false,
                    "ContentRemoved",
                    "All content successfully removed".to_owned(),
                )
            } else {
                let message = format!("Some resources are remaining: {}", list(&self.objects, " has "));
                condition("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
            },
            if self.finalizers.is_empty() {
                condition(
                    "NamespaceFinalizersRemaining",
                    false,
                    "ContentHasNoFinalizers",
                    "All content-preserving finalizers finished".to_owned(),
                )
            } else {
                let message = format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    list(&self.finalizers, " in ")
                );
                condition(
                    "NamespaceFinalizersRemaining",
                    true,
                    "SomeFinalizersRemain",
                    message,
                )
            },
        ]
    }

    fn discovery(
        &self,
        condition: impl Fn(&str, bool, &str, String) -> NamespaceCondition,
    ) -> NamespaceCondition {
        let sort = "NamespaceDeletionDiscoveryFailure";
        if self.undiscovered.is_empty() {
            let message = "All resources successfully discovered".to_owned();
            return condition(sort, false, "ResourcesDiscovered", message);
        }
        let each = |version: &String| format!("{version}: stale GroupVersion discovery: {version}");
        let all: Vec<String> = self.undiscovered.iter().map(each).collect();
        let message = format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            all.len(),
            all.join(", ")
        );
        condition(sort, true, "DiscoveryFailed", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_told() {
        let remaining = Remaining {
            objects: [("pods.".to_owned(), 2)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            failures: vec!["b: no".to_owned(), "a: no".to_owned()],
            undiscovered: vec!["metrics.example.com/v1".to_owned()],
        };
        assert!(!remaining.is_nothing());
        let told: Vec<String> = remaining
            .conditions(Timestamp::from_second(1).unwrap())
            .into_iter()
            .filter(|condition| condition.status == "True")
            .map(|condition| {
                format!(
                    "{}: {}",
                    condition.reason.unwrap_or_default(),
                    condition.message.unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "DiscoveryFailed: Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server \
                 APIs: metrics.example.com/v1: stale GroupVersion discovery: metrics.example.com/v1",
                "ContentDeletionFailed: Failed to delete all resource types, 2 remaining: a: no, b: no",
                "SomeResourcesRemain: Some resources are remaining: pods. has 2 resource instances",
                "SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
            ]
        );
        assert!(Remaining::default().is_nothing());
    }
}
