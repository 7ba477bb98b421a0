//! The field tables: one line for each message of the API, from which everything about its *form* follows:
//! what JSON decoding accepts, drops and always writes, in which order, how it looks as protobuf, and how a
//! strategic merge patch treats its lists.
//!
//! Notation of the `.schema` files (a line starting with white space continues the one before):
//!
//! ```text
//! [apps/v1]                                  the apiVersion the following messages belong to
//! kind Pod: 1 metadata ObjectMeta!, …        "kind": can be the top of a body
//! ```
//!
//! and for a field, after its protobuf number and JSON name:
//!
//! | mark | meaning |
//! |---|---|
//! | `^name` | inlined in JSON: the message's own fields appear at the parent's level |
//! | `[]T`, `map T` | list; map with string keys |
//! | `T!` | written even when empty (upstream's type has no way to leave it out) |
//! | `T*` | optional with presence: `0`, `""` and `false` differ from absent |
//! | `@key`, `@` | strategic merge: list of objects merged by that key; list of scalars merged as a set |
//! | `~` | strategic merge: `$retainKeys` is meaningful here |
//! | `=` | strategic merge: replaced as a whole |
//! | `T|list`, `T|bool`, `T|strings` | a message, or in JSON that in its place |
//!
//! `core.X` names a message of `v1`, `some.group/v1.X` one of that section; other names are looked up in the same
//! section, then in `meta.k8s.io/v1`.

use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

mod parse;
mod topology;

pub use topology::Topology;

/// Index of a message in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(u16);

/// What a single value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    Bytes,
    Int32,
    Int64,
    Double,
    Bool,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339 with exactly six decimals.
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON, kept as it is.
    Raw,
    /// A list of strings that protobuf wraps in a message of its own.
    Strings,
    Message(MessageId),
    /// A message, or something else in its place, each in a field of its own in protobuf.
    Either(MessageId, Other),
}

impl Type {
    /// What stands for a value that isn't there, as far as that is not a message's affair: null for those.
    pub fn zero(self) -> Value {
        match self {
            Type::String | Type::Bytes => Value::from(""),
            Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => Value::from(0),
            Type::Bool => Value::from(false),
            Type::Quantity => Value::from("0"),
            Type::Time | Type::MicroTime | Type::Raw | Type::Strings => Value::Null,
            Type::Message(_) | Type::Either(..) => Value::Null,
        }
    }
}

/// What may stand in place of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A list of such messages.
    List,
    Bool,
    /// A list of strings.
    Strings,
}

/// How often a field's value occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    One,
    List,
    Map,
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Merge {
    /// Maps merge, lists and scalars are replaced.
    #[default]
    Plain,
    /// Objects in the list with the same value of this key are merged.
    Key(&'static str),
    /// The list of scalars is a set.
    Set,
    /// The whole value is replaced, maps included.
    Replace,
}

/// One field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    pub number: u32,
    pub name: &'static str,
    /// Its path element in `managedFields`: `f:` and the name.
    pub element: &'static str,
    pub ty: Type,
    pub shape: Shape,
    /// Written even when empty.
    pub always: bool,
    /// Zero values differ from absence.
    pub presence: bool,
    /// The fields of its message appear at this message's level in JSON.
    pub inline: bool,
    pub merge: Merge,
    /// Strategic merge: `$retainKeys` is meaningful here.
    pub retain_keys: bool,
    /// How server-side apply divides it.
    pub topology: Topology,
}

/// One message (object type) of the API.
#[derive(Clone, Debug)]
pub struct Message {
    pub api_version: &'static str,
    pub name: &'static str,
    /// Can be the top of a body, and so carries `kind` and `apiVersion` in JSON.
    pub is_kind: bool,
    /// Server-side apply owns it only as a whole.
    pub atomic: bool,
    /// As protobuf has them.
    pub fields: Vec<Field>,
    /// As JSON has them: inlined messages dissolved, in the order they are written.
    json: Vec<Field>,
    /// Positions in `json`, sorted by name.
    by_name: Vec<u16>,
    /// Positions in `json` of what is written even when it is empty.
    always: Vec<u16>,
    /// Positions in `fields`, sorted by number.
    by_number: Vec<u16>,
}

impl Message {
    /// The field JSON calls `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self
            .by_name
            .binary_search_by(|i| self.json.get(*i as usize).map_or("", |f| f.name).cmp(name))
            .ok()?;
        self.json.get(*self.by_name.get(at)? as usize)
    }

    /// The field protobuf numbers `number`.
    pub fn numbered(&self, number: u32) -> Option<&Field> {
        let at = self
            .by_number
            .binary_search_by_key(&number, |i| self.fields.get(*i as usize).map_or(0, |f| f.number))
            .ok()?;
        self.fields.get(*self.by_number.get(at)? as usize)
    }

    /// All fields in the order protobuf writes them.
    pub fn numbered_fields(&self) -> impl Iterator<Item = &Field> {
        self.by_number.iter().filter_map(|i| self.fields.get(*i as usize))
    }

    /// All fields at this level of JSON, in the order they are written.
    pub fn json_fields(&self) -> &[Field] {
        &self.json
    }

    /// Those of them that are written even when they are empty.
    pub fn always_fields(&self) -> impl Iterator<Item = &Field> {
        self.always.iter().filter_map(|i| self.json.get(*i as usize))
    }

    /// The name error messages use, as in `v1.PodSpec`.
    pub fn go_name(&self) -> String {
        let version = self.api_version.rsplit('/').next().unwrap_or(self.api_version);
        format!("{version}.{}", self.name)
    }
}

/// All field tables.
#[derive(Debug, Default)]
pub struct Schema {
    messages: Vec<Message>,
    kinds: HashMap<(&'static str, &'static str), MessageId>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    // The text is ours and `every_table_parses` reads it in the tests; a build with broken tables serves no kinds.
    parse::parse(parse::SOURCES).unwrap_or_default()
});

impl Schema {
    /// The tables of the built-in kinds.
    pub fn builtin() -> &'static Schema {
        &SCHEMA
    }

    /// The message of a kind, by the apiVersion and kind a body declares. Kinds that belong to no group (DeleteOptions,
    /// Status) are sent as `v1`, options also under the version of the resource they are about. Evictions go on being taken
    /// in the version that their group has lost.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<MessageId> {
        // HashMap keys are 'static; a scan over some sixty kinds would do as well, this keeps the lookup by hash.
        fn shorten<'a>(
            map: &'a HashMap<(&'static str, &'static str), MessageId>,
            key: (&'a str, &'a str),
        ) -> Option<&'a MessageId> {
            map.get(&key)
        }
        let found = shorten(&self.kinds, (api_version, kind));
        let shared = || {
            let anywhere = api_version == "v1" || kind == "DeleteOptions";
            anywhere
                .then(|| shorten(&self.kinds, ("meta.k8s.io/v1", kind)))
                .flatten()
        };
        let before = || {
            let eviction = (api_version, kind) == ("policy/v1beta1", "Eviction");
            eviction
                .then(|| shorten(&self.kinds, ("policy/v1", kind)))
                .flatten()
        };
        found.or_else(shared).or_else(before).copied()
    }

    /// The message of a kind whose group isn't known: the first section that has it.
    pub fn kind_by_name(&self, kind: &str) -> Option<MessageId> {
        self.messages
            .iter()
            .position(|m| m.is_kind && m.name == kind)
            .map(|i| MessageId(i as u16))
    }

    /// The message of that apiVersion and name.
    pub fn named(&self, api_version: &str, name: &str) -> Option<&Message> {
        self.messages
            .iter()
            .find(|m| m.api_version == api_version && m.name == name)
    }

    /// A message of the table.
    pub fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    /// apiVersion and kind of everything that can be the top of a body.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.messages
            .iter()
            .filter(|m| m.is_kind)
            .map(|m| (m.api_version, m.name))
    }
}
