//! From the text of the field tables to [`Schema`].

use std::collections::HashMap;

use super::topology::{self, Topology};
use super::{Field, Merge, Message, MessageId, Other, Schema, Shape, Type};

/// The tables, in the order a bare kind name is looked up.
pub(super) const SOURCES: &[&str] = &[
    include_str!("core.schema"),
    include_str!("workloads.schema"),
    include_str!("cluster.schema"),
    include_str!("extensions.schema"),
    include_str!("network.schema"),
    include_str!("storage.schema"),
    include_str!("access.schema"),
    include_str!("control.schema"),
    include_str!("meta.schema"),
];

const META: &str = "meta.k8s.io/v1";
const CORE: &str = "v1";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken(String);

struct Draft {
    api_version: &'static str,
    name: &'static str,
    is_kind: bool,
    fields: Vec<&'static str>,
}

pub(super) fn parse(sources: &[&'static str]) -> Result<Schema, Broken> {
    let drafts = drafts(sources)?;
    let ids: HashMap<(&str, &str), MessageId> = drafts
        .iter()
        .enumerate()
        .map(|(i, d)| ((d.api_version, d.name), MessageId(i as u16)))
        .collect();
    let mut messages = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        let mut fields = Vec::with_capacity(draft.fields.len());
        for text in &draft.fields {
            fields.push(field(text, draft.api_version, &ids)?);
        }
        messages.push(Message {
            api_version: draft.api_version,
            name: draft.name,
            is_kind: draft.is_kind,
            atomic: topology::is_atomic(draft.api_version, draft.name),
            by_number: by_number(&fields),
            fields,
            json: Vec::new(),
            by_name: Vec::new(),
            always: Vec::new(),
        });
    }
    divide(&mut messages);
    for i in 0..messages.len() {
        let mut json = Vec::new();
        dissolve(&messages, i, &mut json, 0)?;
        let mut by_name: Vec<u16> = (0..json.len() as u16).collect();
        by_name.sort_by_key(|n| json[*n as usize].name);
        messages[i].always = (0..json.len() as u16)
            .filter(|n| json[*n as usize].always)
            .collect();
        messages[i].json = json;
        messages[i].by_name = by_name;
    }
    let kinds = drafts
        .iter()
        .filter(|d| d.is_kind)
        .map(|d| (d.api_version, d.name));
    let kinds = kinds.filter_map(|k| ids.get(&k).map(|id| (k, *id))).collect();
    Ok(Schema { messages, kinds })
}

fn by_number(fields: &[Field]) -> Vec<u16> {
    let mut order: Vec<u16> = (0..fields.len() as u16).collect();
    order.sort_by_key(|n| fields[*n as usize].number);
    order
}

/// Tells every field how server-side apply divides it, now that all messages are known.
fn divide(messages: &mut [Message]) {
    let atomic: Vec<bool> = messages.iter().map(|m| m.atomic).collect();
    for message in messages {
        for field in &mut message.fields {
            let whole = matches!(field.ty, Type::Message(id) if atomic.get(id.0 as usize) == Some(&true));
            field.topology = topology::of(message.api_version, message.name, field, whole);
        }
    }
}

fn drafts(sources: &[&'static str]) -> Result<Vec<Draft>, Broken> {
    let mut drafts: Vec<Draft> = Vec::new();
    for source in sources {
        let mut api_version = "";
        for line in source.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                api_version = section.trim_end_matches(']');
                continue;
            }
            let fields = if line.starts_with(' ') {
                line
            } else {
                let (head, fields) = line.split_once(':').ok_or_else(|| Broken(line.to_owned()))?;
                let (is_kind, name) = match head.strip_prefix("kind ") {
                    Some(name) => (true, name),
                    None => (false, head),
                };
                drafts.push(Draft {
                    api_version,
                    name,
                    is_kind,
                    fields: Vec::new(),
                });
                fields
            };
            let draft = drafts.last_mut().ok_or_else(|| Broken(line.to_owned()))?;
            draft
                .fields
                .extend(fields.split(',').map(str::trim).filter(|f| !f.is_empty()));
        }
    }
    Ok(drafts)
}

fn field(
    text: &'static str,
    api_version: &'static str,
    ids: &HashMap<(&str, &str), MessageId>,
) -> Result<Field, Broken> {
    let broken = || Broken(format!("{api_version}: {text}"));
    let mut words = text.split(' ');
    let number = words.next().and_then(|n| n.parse().ok()).ok_or_else(broken)?;
    let name = words.next().ok_or_else(broken)?;
    let mut ty = words.next().ok_or_else(broken)?;
    let mut shape = Shape::One;
    if ty == "map" {
        shape = Shape::Map;
        ty = words.next().ok_or_else(broken)?;
    } else if let Some(item) = ty.strip_prefix("[]") {
        shape = Shape::List;
        ty = item;
    }
    let presence = ty.ends_with('*');
    ty = ty.trim_end_matches('*');
    let always = ty.ends_with('!');
    ty = ty.trim_end_matches('!');
    let mark = words.next();
    let retain_keys = mark.is_some_and(|m| m.ends_with('~'));
    let merge = match mark {
        None | Some("~") => Merge::Plain,
        Some("@") => Merge::Set,
        Some("=") => Merge::Replace,
        Some(key) => Merge::Key(key.strip_prefix('@').ok_or_else(broken)?.trim_end_matches('~')),
    };
    let ty = match ty {
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "double" => Type::Double,
        "bool" => Type::Bool,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "quantity" => Type::Quantity,
        "int-or-string" => Type::IntOrString,
        "raw" => Type::Raw,
        "strings" => Type::Strings,
        other => {
            let (name, instead) = match other.split_once('|') {
                None => (other, None),
                Some((name, "list")) => (name, Some(Other::List)),
                Some((name, "bool")) => (name, Some(Other::Bool)),
                Some((name, "strings")) => (name, Some(Other::Strings)),
                Some(_) => return Err(broken()),
            };
            let id = match name.rsplit_once('.') {
                Some(("core", name)) => ids.get(&(CORE, name)),
                Some(section) => ids.get(&section),
                None => ids.get(&(api_version, name)).or_else(|| ids.get(&(META, name))),
            };
            let id = *id.ok_or_else(broken)?;
            instead.map_or(Type::Message(id), |other| Type::Either(id, other))
        }
    };
    let (inline, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name),
    };
    Ok(Field {
        number,
        name,
        // The tables live as long as the process.
        element: Box::leak(format!("f:{name}").into_boxed_str()),
        ty,
        shape,
        always,
        presence,
        inline,
        merge,
        retain_keys,
        topology: Topology::Granular,
    })
}

fn dissolve(messages: &[Message], at: usize, json: &mut Vec<Field>, depth: usize) -> Result<(), Broken> {
    let message = messages
        .get(at)
        .filter(|_| depth < 4)
        .ok_or_else(|| Broken("inlined too deep".to_owned()))?;
    for field in &message.fields {
        match field.ty {
            Type::Message(inner) if field.inline => dissolve(messages, inner.0 as usize, json, depth + 1)?,
            _ => json.push(field.clone()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_parses() {
        let schema = parse(SOURCES).unwrap();
        assert!(schema.messages.len() > 300, "{}", schema.messages.len());
        assert!(schema.kinds.len() >= 55, "{}", schema.kinds.len());
        for m in &schema.messages {
            let mut numbers: Vec<u32> = m.fields.iter().map(|f| f.number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), m.fields.len(), "{} uses a number twice", m.name);
            for pair in m.by_name.windows(2) {
                assert_ne!(
                    m.json[pair[0] as usize].name, m.json[pair[1] as usize].name,
                    "{}",
                    m.name
                );
            }
        }
    }

    #[test]
    fn broken_tables_are_named() {
        assert!(parse(&["[v1]\nPod: 1 metadata Nowhere"]).is_err());
        assert!(parse(&["[v1]\nPod: x metadata string"]).is_err());
    }

    #[test]
    fn inlined_fields_appear_at_the_parents_level() {
        let schema = Schema::builtin();
        let volume = schema.messages.iter().find(|m| m.name == "Volume").unwrap();
        assert!(volume.field("emptyDir").is_some());
        assert!(volume.field("volumeSource").is_none());
        assert_eq!(volume.json_fields()[0].name, "name");
    }
}
