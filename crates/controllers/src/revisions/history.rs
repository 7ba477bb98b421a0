//! Which revision is current, which number it gets and which old ones go (contract §4.4).

use crate::cache::Revision;

/// What the revisions at hand mean for a template with certain bytes.
#[derive(Debug)]
pub struct History {
    /// The number of a current revision that is not the newest yet.
    pub next: i64,
    /// The current revision; the highest of several.
    pub current: Option<Revision>,
    /// Other revisions with the same bytes: to be deleted after their pods got the current's hash.
    pub duplicates: Vec<Revision>,
    /// The others, lowest number first.
    pub old: Vec<Revision>,
}

impl History {
    /// Sorts `revisions`, all owned, for the template with `bytes`. Of those with the same number the younger is the newer.
    pub fn new(mut revisions: Vec<Revision>, bytes: &str) -> Self {
        revisions.sort_by(|a, b| {
            a.revision
                .cmp(&b.revision)
                .then(a.created.cmp(&b.created))
                .then_with(|| a.key.name.cmp(&b.key.name))
        });
        let (mut same, old): (Vec<_>, Vec<_>) = revisions
            .into_iter()
            .partition(|revision| *revision.bytes == *bytes.as_bytes());
        let next = old.last().map_or(0, |highest| highest.revision).saturating_add(1);
        let current = same.pop();
        Self {
            next,
            current,
            duplicates: same,
            old,
        }
    }

    /// Old revisions beyond `limit`, lowest number first, sparing those in use.
    pub fn surplus(&self, limit: usize, in_use: impl Fn(&Revision) -> bool) -> Vec<Revision> {
        let mut surplus = self.old.len().saturating_sub(limit);
        let mut prune = Vec::new();
        for revision in &self.old {
            if surplus == 0 {
                break;
            }
            if in_use(revision) {
                continue;
            }
            surplus -= 1;
            prune.push(revision.clone());
        }
        prune
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::RevisionView;
    use orlop_client::informer::{Cached, ObjectKey};
    use std::sync::Arc;

    fn revision(number: i64, bytes: &str) -> Revision {
        let name = format!("d-{number}");
        Arc::new(Cached {
            key: ObjectKey::new("ns", name.as_str()),
            uid: name.as_str().into(),
            resource_version: 1,
            object: RevisionView {
                labels: [(
                    orlop_api::annotations::CONTROLLER_REVISION_HASH.to_owned(),
                    format!("h{number}"),
                )]
                .into(),
                controller: None,
                terminating: false,
                created: None,
                revision: number,
                bytes: bytes.as_bytes().into(),
            },
        })
    }

    fn numbers(revisions: &[Revision]) -> Vec<i64> {
        revisions.iter().map(|revision| revision.revision).collect()
    }

    #[test]
    fn u01_a_new_template_gets_the_next_number() {
        assert_eq!(History::new(vec![], "t").next, 1);
        let history = History::new(vec![revision(2, "b"), revision(1, "a")], "t");
        assert!(history.current.is_none());
        assert_eq!((history.next, numbers(&history.old)), (3, vec![1, 2]));
    }

    #[test]
    fn u17_rolling_back_reuses_the_old_revision_under_the_highest_number() {
        let history = History::new(vec![revision(1, "t"), revision(2, "b"), revision(3, "c")], "t");
        assert_eq!(history.current.as_ref().map(|current| current.revision), Some(1));
        assert_eq!(history.next, 4, "1,2,3 becomes 2,3,4");
        let again = History::new(vec![revision(4, "t"), revision(2, "b"), revision(3, "c")], "t");
        assert_eq!(again.next, 4, "and stays so");
    }

    #[test]
    fn of_several_current_revisions_the_highest_stays() {
        let history = History::new(vec![revision(1, "t"), revision(5, "t"), revision(3, "b")], "t");
        assert_eq!(history.current.as_ref().map(|current| current.revision), Some(5));
        assert_eq!((numbers(&history.duplicates), history.next), (vec![1], 4));
    }

    #[test]
    fn of_revisions_with_the_same_number_the_younger_is_the_newer() {
        let made = |name: &str, second: i64, bytes: &str| {
            let mut made = revision(3, bytes);
            let view = Arc::get_mut(&mut made).unwrap();
            view.key = ObjectKey::new("ns", name);
            view.object.created = Some(jiff::Timestamp::from_second(second).unwrap());
            made
        };
        let all = vec![
            made("d-a", 20, "t"),
            made("d-b", 10, "t"),
            made("d-c", 40, "b"),
            made("d-d", 30, "c"),
        ];
        let history = History::new(all, "t");
        let names = |revisions: &[Revision]| -> Vec<String> {
            let names = revisions.iter().map(|revision| revision.key.name.to_string());
            names.collect()
        };
        assert_eq!(
            history
                .current
                .map(|current| current.key.name.to_string())
                .as_deref(),
            Some("d-a")
        );
        assert_eq!(
            (names(&history.duplicates), names(&history.old)),
            (vec!["d-b".into()], vec!["d-d".into(), "d-c".into()])
        );
    }

    #[test]
    fn u16_the_lowest_unused_revisions_beyond_the_limit_go() {
        let revisions = (1..=5)
            .map(|number| revision(number, &format!("t{number}")))
            .chain([revision(6, "t")]);
        let history = History::new(revisions.collect(), "t");
        assert_eq!(
            numbers(&history.surplus(2, |_| false)),
            [1, 2, 3],
            "limit + 1 remain"
        );
        assert_eq!(
            numbers(&history.surplus(2, |revision| revision.revision == 1)),
            [2, 3, 4]
        );
        assert!(history.surplus(5, |_| false).is_empty());
    }
}
