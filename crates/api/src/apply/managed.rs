//! `metadata.managedFields`: who owns what.
use super::set::FieldSet;
use serde_json::{Map, Value, json};

/// Entries of updates beyond which the oldest are folded into one.
pub(super) const UPDATES_MAX: usize = 10;
/// The manager into which they are folded.
const ANCIENT: &str = "ancient-changes";

/// How a manager came by its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// RFC 3339; when its fields last changed.
    pub time: Option<String>,
    pub fields: FieldSet,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    pub entries: Vec<Entry>,
}

impl Entry {
    /// Whether both are of the same manager. One who applies is the same in every version.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As conflicts name it.
    pub(super) fn shown(&self) -> String {
        let mut text = json!(self.manager).to_string();
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {}", json!(self.subresource));
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let operation = match value["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if value["fieldsType"].as_str() != Some("FieldsV1") {
            return None;
        }
        Some(Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value["time"].as_str().map(str::to_owned),
            fields: FieldSet::parse(value.get("fieldsV1").unwrap_or(&json!({})))?,
        })
    }

    fn to_value(&self) -> Value {
        let mut entry = Map::new();
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        entry.insert("manager".to_owned(), json!(self.manager));
        entry.insert("operation".to_owned(), json!(operation));
        entry.insert("apiVersion".to_owned(), json!(self.api_version));
        if let Some(time) = &self.time {
            entry.insert("time".to_owned(), json!(time));
        }
        entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
        entry.insert("fieldsV1".to_owned(), self.fields.to_value());
        if !self.subresource.is_empty() {
            entry.insert("subresource".to_owned(), json!(self.subresource));
        }
        Value::Object(entry)
    }
}

impl Managed {
    /// Reads the list; `None` if it is malformed. Of several entries of one manager the last counts.
    pub fn parse(list: &Value) -> Option<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for entry in list.as_array()? {
            let entry = Entry::parse(entry)?;
            match entries.iter_mut().find(|before| before.is_of(&entry)) {
                Some(before) => *before = entry,
                None => entries.push(entry),
            }
        }
        Some(Self { entries })
    }

    /// What a client's list means to say "forget who owns what": an empty one, or one empty entry.
    pub fn is_reset(list: &Value) -> bool {
        list.as_array().is_some_and(|entries| {
            entries.is_empty() || matches!(entries.as_slice(), [Value::Object(only)] if only.is_empty())
        })
    }

    /// The list, appliers first, then by age.
    pub fn to_value(&self) -> Value {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|e| (e.operation, &e.time, &e.manager, &e.api_version, &e.subresource));
        Value::Array(entries.into_iter().map(Entry::to_value).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Folds the oldest updates into one entry when there are too many.
    pub(super) fn fold(&mut self) {
        while self.updates() > UPDATES_MAX {
            let old = self.entries.iter().enumerate();
            let oldest = old
                .filter(|(_, e)| e.operation == Operation::Update && e.manager != ANCIENT)
                .min_by_key(|(_, e)| (e.time.clone(), e.manager.clone()))
                .map(|(at, _)| at);
            let Some(at) = oldest else {
                return;
            };
            let mut folded = self.entries.remove(at);
            folded.manager = ANCIENT.to_owned();
            match self.entries.iter_mut().find(|e| e.is_of(&folded)) {
                Some(ancient) => {
                    ancient.fields.add(&folded.fields);
                    ancient.time = folded.time;
                }
                None => self.entries.push(folded),
            }
        }
    }

    fn updates(&self) -> usize {
        let update = |e: &&Entry| e.operation == Operation::Update;
        self.entries.iter().filter(update).count()
    }
}
