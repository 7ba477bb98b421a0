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
    /// Not there, and what it owned was to stay: the object was there when it went, and only seen later.
    LetGo,
}

/// How an object's dependents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// There are none.
    None,
    /// Some are there.
    There,
    /// One of them is being deleted in the foreground itself, and may wait for the object in a circle.
    Waiting,
}

/// What to do about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Strip the references to these owners; another one holds it, or they let it go.
    Strip(Vec<String>),
    /// Delete it; its own dependents follow.
    Delete,
    /// Delete it after its own dependents.
    DeleteForeground,
    /// The same, and its owners are not to wait for it: it may wait for them.
    UnblockAndDeleteForeground,
}

/// Judges an object by its owners (uid and state) and its dependents.
pub fn judge(owners: &[(String, OwnerIs)], dependents: Dependents) -> Verdict {
    let is = |state: OwnerIs| owners.iter().any(|(_, owner)| *owner == state);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let held = is(OwnerIs::Solid);
    let strip: Vec<String> = owners
        .iter()
        .filter(|(_, owner)| *owner == OwnerIs::LetGo || (held && *owner != OwnerIs::Solid))
        .map(|(uid, _)| uid.clone())
        .collect();
    if !strip.is_empty() {
        return Verdict::Strip(strip);
    }
    if held {
        return Verdict::Keep;
    }
    match dependents {
        Dependents::There if is(OwnerIs::Waiting) => Verdict::DeleteForeground,
        Dependents::Waiting if is(OwnerIs::Waiting) => Verdict::UnblockAndDeleteForeground,
        _ => Verdict::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_goes_once_none_of_its_owners_exists() {
        use Dependents::{None, There};
        use OwnerIs::{Gone, LetGo, Solid, Waiting};
        for (owners, dependents, want) in [
            (vec![], None, Verdict::Keep),
            (vec![Solid], None, Verdict::Keep),
            (vec![Solid, Gone], None, Verdict::Strip(vec!["1".into()])),
            (vec![Waiting, Solid], None, Verdict::Strip(vec!["0".into()])),
            (vec![Gone], None, Verdict::Delete),
            (vec![Gone, Gone], There, Verdict::Delete),
            (vec![Waiting], None, Verdict::Delete),
            (vec![Waiting, Gone], There, Verdict::DeleteForeground),
            (vec![Gone], Dependents::Waiting, Verdict::Delete),
            (vec![Solid], Dependents::Waiting, Verdict::Keep),
            (vec![LetGo], None, Verdict::Strip(vec!["0".into()])),
            (vec![Gone, LetGo], There, Verdict::Strip(vec!["1".into()])),
            (
                vec![LetGo, Solid, Gone],
                None,
                Verdict::Strip(vec!["0".into(), "2".into()]),
            ),
            (
                vec![Waiting],
                Dependents::Waiting,
                Verdict::UnblockAndDeleteForeground,
            ),
        ] {
            let owners: Vec<(String, OwnerIs)> = owners
                .into_iter()
                .enumerate()
                .map(|(n, owner)| (n.to_string(), owner))
                .collect();
            assert_eq!(judge(&owners, dependents), want, "{owners:?}");
        }
    }
}
