//! The rules of ownership: a write takes over what it changes; an apply is refused where it would change what
//! others own, and drops what its manager no longer lists.
use super::compare::{Changes, compare};
use super::form::Type;
use super::last_applied::{self, KUBECTL};
use super::managed::{Entry, Managed, Operation};
use super::members::{check, members, with_parents};
use super::merge::{merge, remove};
use super::renew::{Renewed, renew};
use super::set::FieldSet;
use serde_json::{Value, json};

/// Who is credited with what was there before the first apply, when nobody kept track.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Metadata that belongs to the server or to the object's identity.
const UNTRACKED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "selfLink",
    "managedFields",
];

/// Who writes, and what of it counts.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'w> {
    pub manager: &'w str,
    /// Of the body.
    pub api_version: &'w str,
    /// Empty for the object itself.
    pub subresource: &'w str,
    /// Members of the object, and of those (`metadata.labels`), that this way of writing cannot change, and so never owns.
    pub ignored: &'w [&'w str],
    /// RFC 3339.
    pub now: &'w str,
}

/// What a configuration is applied to.
#[derive(Debug)]
pub struct Present<'o> {
    /// The empty one if there is none.
    pub object: &'o Value,
    /// An empty object of its kind.
    pub blank: &'o Value,
    pub managed: Managed,
    pub exists: bool,
}

/// An object with a configuration applied, and who owns it then.
#[derive(Debug)]
pub struct Applied {
    pub object: Value,
    pub managed: Managed,
}

/// A field that somebody else owns and the configuration would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, quoted, with what distinguishes it.
    pub manager: String,
    pub field: String,
}

/// Why a configuration was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It does not fit its type; the text names the path.
    #[error("{0}")]
    Malformed(String),
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
}

impl Writer<'_> {
    fn entry(&self, operation: Operation, fields: FieldSet) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            operation,
            api_version: self.api_version.to_owned(),
            subresource: self.subresource.to_owned(),
            time: Some(self.now.to_owned()),
            fields,
        }
    }

    /// Leaves the fields that anybody can own this way.
    fn track(&self, set: &mut FieldSet) {
        for element in ["f:apiVersion", "f:kind"] {
            set.cut(element);
        }
        for member in self.ignored {
            match member.split_once('.') {
                None => set.cut(&format!("f:{member}")),
                Some((member, within)) => {
                    if let Some(below) = set.below.get_mut(&*format!("f:{member}")) {
                        below.cut(&format!("f:{within}"));
                    }
                }
            }
        }
        if let Some(metadata) = set.below.get_mut("f:metadata") {
            metadata.member = false;
            for name in UNTRACKED {
                metadata.cut(&format!("f:{name}"));
            }
            if metadata.is_empty() {
                set.cut("f:metadata");
            }
        }
    }

    fn changes(&self, old: &Value, new: &Value, ty: Type<'_>) -> Changes {
        let mut changes = compare(old, new, ty);
        self.track(&mut changes.written);
        self.track(&mut changes.removed);
        changes
    }
}

/// Who owns what after `new` was written over `old` in any way but an apply. For a new object, `old` is an
/// empty one of its kind.
pub fn update(managed: Managed, old: &Value, new: &Value, ty: Type<'_>, writer: &Writer<'_>) -> Managed {
    take_over(managed, &writer.changes(old, new, ty), writer)
}

/// The same of a list as it is written: what it becomes, `None` if it stays. One that cannot be read manages nothing, and
/// becomes empty; an empty one stays so.
pub fn update_list(
    list: &[u8],
    old: &Value,
    new: &Value,
    ty: Type<'_>,
    writer: &Writer<'_>,
) -> Option<Vec<u8>> {
    let changes = writer.changes(old, new, ty);
    match renew(list, &changes, writer) {
        Renewed::Same => None,
        Renewed::Moved(list) => Some(list),
        Renewed::No => {
            let managed = Managed::parse(&serde_json::from_slice(list).unwrap_or_default());
            let managed = managed.unwrap_or_default();
            let list = match managed.is_empty() {
                true => json!([]),
                false => take_over(managed, &changes, writer).to_value(),
            };
            Some(list.to_string().into_bytes())
        }
    }
}

fn take_over(mut managed: Managed, changes: &Changes, writer: &Writer<'_>) -> Managed {
    let mut own = writer.entry(Operation::Update, FieldSet::default());
    let at = managed.entries.iter().position(|e| e.is_of(&own));
    let before = at.map(|at| managed.entries.remove(at));
    take_from_others(&mut managed, changes);
    if let Some(before) = &before {
        own.fields = before.fields.clone();
    }
    own.fields.subtract(&changes.removed);
    own.fields.add(&changes.written);
    let time = (!changes.written.is_empty()).then(|| writer.now.to_owned());
    settle(&mut managed, own, time, before);
    managed.fold();
    managed
}

/// Applies a configuration to what is there. `complete` gives the merged object its canonical form and its defaults: a
/// value that means the same as the one that is there changes nothing and conflicts with nobody.
///
/// # Errors
/// The configuration doesn't fit the type, or would change what others own and `force` isn't set.
pub fn apply(
    present: Present<'_>,
    config: &Value,
    ty: Type<'_>,
    writer: &Writer<'_>,
    force: bool,
    complete: impl FnOnce(Value) -> Result<Value, String>,
) -> Result<Applied, Refused> {
    let Present {
        object: live,
        blank,
        mut managed,
        exists,
    } = present;
    check(config, ty).map_err(Refused::Malformed)?;
    if exists && managed.is_empty() {
        let fields = writer.changes(blank, live, ty).written;
        if !fields.is_empty() {
            let before = Writer {
                manager: BEFORE_FIRST_APPLY,
                ..*writer
            };
            managed.entries.push(before.entry(Operation::Update, fields));
        }
    }
    let named = members(config, ty);
    let mut fields = named.clone();
    writer.track(&mut fields);
    let own = writer.entry(Operation::Apply, fields);
    let at = managed.entries.iter().position(|e| e.is_of(&own));
    let before = at.map(|at| managed.entries.remove(at));

    let merged = merge(live, config, ty);
    let object = match &before {
        Some(before) => {
            // What is never owned counts here: an object keeps its name when its last label goes.
            let mut owned = named;
            for entry in &managed.entries {
                owned.add(&entry.fields);
            }
            let mut doomed = with_parents(&before.fields, ty);
            doomed.subtract(&with_parents(&owned, ty));
            remove(&merged, &doomed, ty).unwrap_or(Value::Null)
        }
        None => merged,
    };

    let mut changes = writer.changes(live, &object, ty);
    let time = (!exists || object != *live).then(|| writer.now.to_owned());
    let object = complete(object).map_err(Refused::Malformed)?;
    // What the canonical form leaves out, such as false, is not what was there either.
    let completed = compare(live, &object, ty);
    let mut different = completed.written;
    different.add(&completed.removed);
    changes.written = changes.written.common(&different);
    if !force {
        let mut disputed = changes.written.clone();
        if writer.manager == KUBECTL {
            disputed.subtract(&last_applied::kept(live, writer.api_version, ty));
        }
        let conflicts = conflicts(&managed, &disputed);
        if !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
    }
    take_from_others(&mut managed, &changes);
    settle(&mut managed, own, time, before);
    Ok(Applied { object, managed })
}

fn take_from_others(managed: &mut Managed, changes: &Changes) {
    managed.entries.retain_mut(|entry| {
        entry.fields.subtract(&changes.written);
        entry.fields.subtract(&changes.removed);
        !entry.fields.is_empty()
    });
}

/// Puts the writer's entry back. `time`: it has written something; otherwise it has the time of its last write, if any.
fn settle(managed: &mut Managed, mut own: Entry, time: Option<String>, before: Option<Entry>) {
    if own.fields.is_empty() {
        return;
    }
    own.time = time.or_else(|| before.and_then(|before| before.time));
    managed.entries.push(own);
}

fn conflicts(managed: &Managed, disputed: &FieldSet) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for entry in &managed.entries {
        for field in entry.fields.common(disputed).paths() {
            conflicts.push(Conflict {
                manager: entry.shown(),
                field,
            });
        }
    }
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    conflicts
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.manager, only.field
        );
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    for (at, same) in conflicts.chunk_by(|a, b| a.manager == b.manager).enumerate() {
        let (newline, manager) = (if at > 0 { "\n" } else { "" }, &same[0].manager);
        text += &format!("{newline}conflicts with {manager}:");
        for conflict in same {
            text += &format!("\n- {}", conflict.field);
        }
    }
    text
}
