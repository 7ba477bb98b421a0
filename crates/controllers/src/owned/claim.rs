//! Which pods and revisions belong to a DaemonSet (contract §3.3).

use std::collections::BTreeMap;

use orlop_api::selector::LabelSelector;

use crate::cache::ControllerRef;

/// What to do about one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is ours.
    Keep,
    /// It is nobody's and fits: make it ours.
    Adopt,
    /// It was ours and no longer fits: let go.
    Release,
    /// Not our business.
    Ignore,
}

/// The owner's side of the decision.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// uid of the DaemonSet.
    pub uid: &'a str,
    /// Its selector.
    pub selector: &'a LabelSelector,
    /// Whether it is being deleted: then it neither takes nor gives.
    pub terminating: bool,
}

impl Owner<'_> {
    /// Decides about an object with these labels and this controller.
    pub fn claim(
        &self,
        controller: Option<&ControllerRef>,
        labels: &BTreeMap<String, String>,
        terminating: bool,
    ) -> Claim {
        let matches = self.selector.matches(labels);
        match controller {
            Some(controller) if *controller.uid != *self.uid => Claim::Ignore,
            Some(_) if matches => Claim::Keep,
            Some(_) if self.terminating => Claim::Ignore,
            Some(_) => Claim::Release,
            None if matches && !terminating && !self.terminating => Claim::Adopt,
            None => Claim::Ignore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c10_pods_are_kept_adopted_released_or_ignored() {
        let selector = LabelSelector::parse("app=x").unwrap();
        let fits: BTreeMap<String, String> = [("app".to_owned(), "x".to_owned())].into();
        let other = BTreeMap::new();
        let by = |uid: &str| ControllerRef {
            kind: "DaemonSet".into(),
            name: "d".into(),
            uid: uid.into(),
        };
        let (ours, theirs) = (by("us"), by("them"));
        for (name, controller, labels, pod_terminating, set_terminating, want) in [
            ("ours", Some(&ours), &fits, false, false, Claim::Keep),
            ("ours, terminating", Some(&ours), &fits, true, false, Claim::Keep),
            (
                "ours, relabelled",
                Some(&ours),
                &other,
                false,
                false,
                Claim::Release,
            ),
            (
                "ours, relabelled, c09 set terminating",
                Some(&ours),
                &other,
                false,
                true,
                Claim::Ignore,
            ),
            ("theirs", Some(&theirs), &fits, false, false, Claim::Ignore),
            ("orphan", None, &fits, false, false, Claim::Adopt),
            ("orphan, other labels", None, &other, false, false, Claim::Ignore),
            ("orphan, terminating", None, &fits, true, false, Claim::Ignore),
            (
                "orphan, c09 set terminating",
                None,
                &fits,
                false,
                true,
                Claim::Ignore,
            ),
        ] {
            let owner = Owner {
                uid: "us",
                selector: &selector,
                terminating: set_terminating,
            };
            assert_eq!(owner.claim(controller, labels, pod_terminating), want, "{name}");
        }
    }
}
