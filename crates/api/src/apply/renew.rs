//! The usual write of a manager who has written before: the fields are its own already, and nobody else's. Then only its
//! time moves, and the list needn't be taken apart for that: heartbeats and statuses are most of what is written.
use super::compare::Changes;
use super::managed::UPDATES_MAX;
use super::ownership::Writer;
use super::set::FieldSet;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What is to become of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    /// It stays as it is.
    Same,
    /// A time has moved.
    Moved(Vec<u8>),
    /// More is to be done, so that it has to be taken apart.
    No,
}

/// An entry as it is written, in the order in which it is.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text<'t> {
    #[serde(borrow, default)]
    api_version: Cow<'t, str>,
    #[serde(borrow)]
    fields_type: Cow<'t, str>,
    #[serde(borrow)]
    fields_v1: &'t RawValue,
    #[serde(borrow, default)]
    manager: Cow<'t, str>,
    #[serde(borrow)]
    operation: Cow<'t, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    subresource: Cow<'t, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    time: Option<Cow<'t, str>>,
}

impl Text<'_> {
    fn is_of(&self, writer: &Writer<'_>) -> bool {
        self.operation == "Update"
            && self.manager == writer.manager
            && self.subresource == writer.subresource
            && self.api_version == writer.api_version
    }

    /// The order of the list: appliers first, then by age.
    fn rank(&self) -> (&str, Option<&str>, [&str; 3]) {
        let names = [&*self.manager, &*self.api_version, &*self.subresource];
        (&self.operation, self.time.as_deref(), names)
    }
}

/// Brings a list up to date, if no more than that is to be done.
pub(super) fn renew(list: &[u8], changes: &Changes, writer: &Writer<'_>) -> Renewed {
    let Ok(mut entries) = serde_json::from_slice::<Vec<Text<'_>>>(list) else {
        return Renewed::No;
    };
    if !changes.removed.is_empty() || entries.len() > UPDATES_MAX {
        return Renewed::No;
    }
    let mut own = None;
    for (at, entry) in entries.iter().enumerate() {
        let usual = matches!(&*entry.operation, "Apply" | "Update") && entry.fields_type == "FieldsV1";
        let Ok(found) = Search(&changes.written).deserialize(entry.fields_v1) else {
            return Renewed::No;
        };
        if !usual || found.is_empty {
            return Renewed::No;
        }
        if changes.written.is_empty() {
            continue;
        }
        if entry.is_of(writer) {
            if own.replace(at).is_some() || !found.all {
                return Renewed::No;
            }
        } else if found.any {
            return Renewed::No;
        }
    }
    if changes.written.is_empty() {
        return Renewed::Same;
    }
    let Some(own) = own else {
        return Renewed::No;
    };
    entries[own].time = Some(writer.now.into());
    entries.sort_by(|a, b| a.rank().cmp(&b.rank()));
    serde_json::to_vec(&entries).map_or(Renewed::No, Renewed::Moved)
}

/// Looks for members of a set in a node of `fieldsV1`.
struct Search<'s>(&'s FieldSet);

/// What was found of them.
struct Found {
    /// Nothing stands below the node.
    is_empty: bool,
    /// The node is a member itself.
    is_member: bool,
    /// All members of the set are there.
    all: bool,
    /// Some member is.
    any: bool,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, node: D) -> Result<Found, D::Error> {
        node.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = Found;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a node of fieldsV1")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut node: A) -> Result<Found, A::Error> {
        #[derive(Deserialize)]
        struct Element<'e>(#[serde(borrow)] Cow<'e, str>);

        let mut found = Found {
            is_empty: true,
            is_member: false,
            all: true,
            any: false,
        };
        let mut met = 0;
        while let Some(Element(element)) = node.next_key()? {
            found.is_empty = false;
            if element == "." {
                found.is_member = true;
                node.next_value::<IgnoredAny>()?;
                continue;
            }
            let Some(below) = self.0.below.get(&*element) else {
                node.next_value::<IgnoredAny>()?;
                continue;
            };
            let inner = node.next_value_seed(Search(below))?;
            met += 1;
            found.all &= inner.all && (inner.is_member || !below.member);
            found.any |= inner.any || (inner.is_member && below.member);
        }
        if met > self.0.below.len() {
            return Err(A::Error::custom("an element stands there twice"));
        }
        found.all &= met == self.0.below.len();
        found.is_member |= found.is_empty;
        Ok(found)
    }
}
