//! Builds the tree from the parser's events, within a budget, without recursion.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::{DEPTH_MAX, Entry, Location, Node, VALUES_MAX, Value, YamlError, scalar};

fn location(span: &Span) -> Location {
    Location {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

fn fail<T>(at: Location, reason: impl Into<String>) -> Result<T, YamlError> {
    Err(YamlError {
        at,
        reason: reason.into(),
    })
}

/// Reads the first document of a file; whatever follows is not looked at. An empty document is `Null`.
pub fn first_document(bytes: &[u8]) -> Result<Node, YamlError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => first_document_in(text),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
            fail(Location { line, column }, "not UTF-8 text")
        }
    }
}

/// Reads every document of a file; empty ones are left out.
pub fn documents(bytes: &[u8]) -> Result<Vec<Node>, YamlError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        // Says where.
        return first_document(bytes).map(|only| vec![only]);
    };
    let (mut documents, mut builder) = (Vec::new(), Builder::default());
    for next in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) = next.map_err(|error| torn(&error))?;
        if matches!(event, Event::DocumentEnd) {
            let whole = std::mem::take(&mut builder).root;
            documents.extend(whole.filter(|node| node.value != Value::Null));
            continue;
        }
        builder.event(event, &span)?;
    }
    Ok(documents)
}

fn torn(error: &granit_parser::ScanError) -> YamlError {
    YamlError {
        at: Location {
            line: error.marker().line().max(1),
            column: error.marker().col() + 1,
        },
        reason: error.info(),
    }
}

/// As [`first_document`], for a text.
pub fn first_document_in(text: &str) -> Result<Node, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| torn(&error))?;
        if matches!(event, Event::DocumentEnd | Event::StreamEnd) {
            break;
        }
        builder.event(event, &span)?;
    }
    Ok(builder.root.unwrap_or(Node {
        value: Value::Null,
        at: Location { line: 1, column: 1 },
        written: None,
    }))
}

/// Where a second document begins, if there is one.
pub fn second_document(bytes: &[u8]) -> Option<Location> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut ended = false;
    for next in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) = next.ok()?;
        match event {
            Event::DocumentEnd => ended = true,
            Event::DocumentStart(..) if ended => return Some(location(&span)),
            _ => {}
        }
    }
    None
}

/// A collection whose end has not come yet.
struct Open {
    at: Location,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Location, bool)>,
        merges: Vec<Node>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        let at = location(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(1, at)?;
                let tag = tag
                    .as_ref()
                    .filter(|t| t.is_yaml_core_schema())
                    .map(|t| t.suffix());
                let plain = style == ScalarStyle::Plain && tag != Some("str");
                let value = if plain {
                    scalar::plain(&text)
                } else {
                    Value::Text(text.clone().into_owned())
                };
                let written = (plain && !matches!(value, Value::Text(_))).then(|| text.into_owned());
                self.complete(Node { value, at, written }, anchor, plain)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, anchor, Items::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.begin(
                at,
                anchor,
                Items::Map {
                    entries: Vec::new(),
                    key: None,
                    merges: Vec::new(),
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return fail(at, "unexpected end of a collection");
                };
                let value = match open.items {
                    Items::List(items) => Value::List(items),
                    Items::Map { entries, merges, .. } => Value::Map(merged(entries, merges)?),
                };
                self.complete(
                    Node {
                        value,
                        at: open.at,
                        written: None,
                    },
                    open.anchor,
                    false,
                )
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return fail(at, "alias to a value that is not complete yet");
                };
                self.spend(size, at)?;
                if self.open.len() + depth(&node) > DEPTH_MAX {
                    return fail(at, format!("nested deeper than {DEPTH_MAX} levels"));
                }
                self.complete(Node { at, ..node }, 0, false)
            }
            _ => Ok(()),
        }
    }

    fn spend(&mut self, values: usize, at: Location) -> Result<(), YamlError> {
        self.values = self.values.saturating_add(values);
        if self.values > VALUES_MAX {
            return fail(at, format!("more than {VALUES_MAX} values"));
        }
        Ok(())
    }

    fn begin(&mut self, at: Location, anchor: usize, items: Items) -> Result<(), YamlError> {
        self.spend(1, at)?;
        if self.open.len() >= DEPTH_MAX {
            return fail(at, format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.open.push(Open { at, anchor, items });
        Ok(())
    }

    fn complete(&mut self, node: Node, anchor: usize, plain: bool) -> Result<(), YamlError> {
        if anchor > 0 {
            // The copy kept for aliases is memory too.
            let size = size(&node);
            self.spend(size, node.at)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|o| &mut o.items) {
            None => {
                self.root.get_or_insert(node);
            }
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map { entries, key, merges }) => match key.take() {
                None => *key = Some(self::key(node, plain)?),
                Some((_, _, true)) => merges.push(node),
                Some((name, key_at, false)) => entries.push(Entry {
                    key: name,
                    key_at,
                    value: node,
                }),
            },
        }
        Ok(())
    }
}

/// A key's text, place, and whether it is the merge key `<<`. Keys are what they look like: a label `y` is not
/// turned into `true`.
fn key(node: Node, plain: bool) -> Result<(String, Location, bool), YamlError> {
    let text = match (node.value, node.written) {
        (Value::Text(text), _) => text,
        (Value::List(_) | Value::Map(_), _) => return fail(node.at, "a key must be a simple text"),
        (_, written) => written.unwrap_or_default(),
    };
    let is_merge = plain && text == "<<";
    Ok((text, node.at, is_merge))
}

/// Adds what `<<` refers to, under keys that are not there already.
fn merged(mut entries: Vec<Entry>, merges: Vec<Node>) -> Result<Vec<Entry>, YamlError> {
    for merge in merges {
        let sources = match merge.value {
            Value::List(items) => items,
            value => vec![Node {
                value,
                at: merge.at,
                written: None,
            }],
        };
        for source in sources {
            let Value::Map(more) = source.value else {
                return fail(source.at, "a merge key (<<) takes a map or a list of maps");
            };
            for entry in more {
                if !entries.iter().any(|e| e.key == entry.key) {
                    entries.push(entry);
                }
            }
        }
    }
    Ok(entries)
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|e| 1 + size(&e.value)).sum::<usize>(),
        _ => 1,
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|e| depth(&e.value)).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> serde_json::Value {
        first_document_in(text).unwrap().to_json()
    }

    #[test]
    fn yaml_and_json_give_the_same_values() {
        assert_eq!(
            read("a: [1, 'x', \"y\\n\"]\nb:\n  c: yes\n  d: |\n    text\n"),
            json!({"a": [1, "x", "y\n"], "b": {"c": true, "d": "text\n"}})
        );
        assert_eq!(
            read("{\n\t\"a\": [1, -2.5e1, \"\\u00e9\\ud83d\\ude00\\/\"],\n\t\"b\": null\n}\n"),
            json!({"a": [1, -25.0, "é😀/"], "b": null})
        );
        assert_eq!(
            read("1: a\ntrue: b\nx: !!str 5\n"),
            json!({"1": "a", "true": "b", "x": "5"})
        );
    }

    #[test]
    fn only_the_first_document_counts() {
        assert_eq!(read("# c\n---\na: 1\n---\n{[broken"), json!({"a": 1}));
        assert_eq!(read("---\n---\na: 1\n"), json!(null));
        assert_eq!(read(""), json!(null));
        assert_eq!(read("\u{feff}a: 1"), json!({"a": 1}));
    }

    #[test]
    fn anchors_aliases_and_merges() {
        assert_eq!(
            read("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nlist: [*b]\n"),
            json!({"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 3}, "list": [{"x": 1, "y": 2}]})
        );
    }

    #[test]
    fn positions_count_from_one() {
        let root = first_document_in("a:\n  b: [1, 2]\n").unwrap();
        let b = root.get("a").unwrap().get("b").unwrap();
        assert_eq!(b.at, Location { line: 2, column: 6 });
    }

    #[test]
    fn errors_have_positions() {
        let error = first_document_in("a: 1\nb: [1, 2\nc: }\n").unwrap_err();
        assert!(error.at.line >= 2, "{error}");
        assert_eq!(
            first_document(b"a: 1\nb: \xff").unwrap_err().to_string(),
            "line 2, column 4: not UTF-8 text"
        );
    }

    #[test]
    fn a_billion_laughs_and_deep_nesting_are_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(first_document_in(&text).unwrap_err().reason.contains("more than"));
        assert!(first_document_in(&"[".repeat(100_000)).is_err());
        assert!(first_document_in(&"- ".repeat(5_000)).is_err());
        assert!(first_document_in(&"{a: ".repeat(5_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = first_document(&bytes);
        }

        #[test]
        fn likely_text_is_read_or_refused(text in "([a-c]: |- |[\\[\\]{},&*!|>'\"#\n]|<<: | |\t|\\*a|&a|---\n|0x|yes){0,40}") {
            let _ = first_document_in(&text).map(|n| n.to_json());
        }
    }
}
