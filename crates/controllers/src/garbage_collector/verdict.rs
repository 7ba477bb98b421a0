//! What becomes of an object, given how its owners are.

/// How an owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerIs {
    /// There, and staying.
    Solid,
    /// Being deleted in the foreground: it waits for its dependents.
    Waiting,
    /// Not there.
    Gone,
}

/// What to do about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Strip the references to these owners; another one holds it.
    Strip(Vec<String>),
    /// Delete it; its own dependents follow.
    Delete,
    /// Delete it after its own dependents.
    DeleteForeground,
}

/// Judges an object by its owners (uid and state).
pub fn judge(owners: &[(String, OwnerIs)], has_dependents: bool) -> Verdict {
    let is = |state: OwnerIs| owners.iter().any(|(_, owner)| *owner == state);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if is(OwnerIs::Solid) {
        let strip: Vec<String> = owners
            .iter()
            .filter(|(_, owner)| *owner != OwnerIs::Solid)
            .map(|(uid, _)| uid.clone())
            .collect();
        return if strip.is_empty() {
            Verdict::Keep
        } else {
            Verdict::Strip(strip)
        };
    }
    if is(OwnerIs::Waiting) && has_dependents {
        Verdict::DeleteForeground
    } else {
        Verdict::Delete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_goes_once_none_of_its_owners_exists() {
        use OwnerIs::{Gone, Solid, Waiting};
        for (owners, has_dependents, want) in [
            (vec![], false, Verdict::Keep),
            (vec![Solid], false, Verdict::Keep),
            (vec![Solid, Gone], false, Verdict::Strip(vec!["1".into()])),
            (vec![Waiting, Solid], false, Verdict::Strip(vec!["0".into()])),
            (vec![Gone], false, Verdict::Delete),
            (vec![Gone, Gone], true, Verdict::Delete),
            (vec![Waiting], false, Verdict::Delete),
            (vec![Waiting, Gone], true, Verdict::DeleteForeground),
        ] {
            let owners: Vec<(String, OwnerIs)> = owners
                .into_iter()
                .enumerate()
                .map(|(n, owner)| (n.to_string(), owner))
                .collect();
            assert_eq!(judge(&owners, has_dependents), want, "{owners:?}");
        }
    }
}
