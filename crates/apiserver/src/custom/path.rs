//! The JSON paths of definitions: members, indices, all items, and items picked by a member's value.
use serde_json::Value;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    /// From the end if negative.
    Index(i64),
    All,
    /// Items whose member has this text or number.
    Where(String, String),
}

/// A path, ready to be followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<Step>);

impl Path {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`; `None` if it is none that we know.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('{').trim_end_matches('}');
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let end = closing(inner)?;
                steps.push(bracket(&inner[..end])?);
                rest = &inner[end + 1..];
            } else {
                let (name, after) = member(rest.strip_prefix('.')?);
                if name == "*" {
                    steps.push(Step::All);
                } else if !name.is_empty() {
                    steps.push(Step::Member(name));
                } else if !after.is_empty() {
                    return None;
                }
                rest = after;
            }
        }
        Some(Self(steps))
    }

    /// The values at the path.
    pub fn find<'v>(&self, object: &'v Value) -> Vec<&'v Value> {
        self.0.iter().fold(vec![object], |found, step| {
            found.into_iter().flat_map(|value| step.follow(value)).collect()
        })
    }
}

/// A path of members alone, as a JSON pointer.
pub fn pointer(path: &str) -> Option<String> {
    let mut pointer = String::new();
    for step in Path::parse(path)?.0 {
        let Step::Member(name) = step else { return None };
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    }
    Some(pointer)
}

impl Step {
    fn follow<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let items = || value.as_array().map_or(&[][..], Vec::as_slice);
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => {
                let at = if *index < 0 {
                    items().len() as i64 + index
                } else {
                    *index
                };
                usize::try_from(at)
                    .ok()
                    .and_then(|at| items().get(at))
                    .into_iter()
                    .collect()
            }
            Self::All => match value {
                Value::Object(members) => members.values().collect(),
                _ => items().iter().collect(),
            },
            Self::Where(name, wanted) => items()
                .iter()
                .filter(|item| match item.get(name) {
                    Some(Value::String(text)) => text == wanted,
                    Some(other) => serde_json::from_str(wanted).is_ok_and(|wanted: Value| wanted == *other),
                    None => false,
                })
                .collect(),
        }
    }
}

/// A member's name up to the next step; a backslash takes the character after it as it is.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(characters.next().map(|(_, c)| c)),
            character => name.push(character),
        }
    }
    (name, "")
}

/// Where the bracket ends, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, ']') => return Some(at),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let (left, right) = filter.split_once("==")?;
        let name = left.trim().strip_prefix("@.")?.to_owned();
        let wanted = right.trim().trim_matches(['"', '\'']).to_owned();
        return Some(Step::Where(name, wanted));
    }
    if let Some(name) = inner.strip_prefix('\'').and_then(|n| n.strip_suffix('\'')) {
        return Some(Step::Member(name.to_owned()));
    }
    inner.parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_they_name() {
        let object =
            json!({"spec": {"a.b": 1, "list": [{"type": "Ready", "n": 1}, {"type": "Other", "n": 2}]}});
        for (path, found) in [
            (".spec.list[0].n", json!([1])),
            (".spec.list[-1].n", json!([2])),
            (".spec.list[*].n", json!([1, 2])),
            (r#".spec.list[?(@.type=="Ready")].n"#, json!([1])),
            (r".spec.a\.b", json!([1])),
            (".spec['a.b']", json!([1])),
            ("{.spec.list[1].type}", json!(["Other"])),
            (".spec.none.deeper", json!([])),
        ] {
            let values: Vec<Value> = Path::parse(path)
                .unwrap()
                .find(&object)
                .into_iter()
                .cloned()
                .collect();
            assert_eq!(json!(values), found, "{path}");
        }
        assert_eq!(Path::parse("spec"), None);
        assert_eq!(Path::parse(".a[?(x)]"), None);
        assert_eq!(pointer(".spec.replicas").as_deref(), Some("/spec/replicas"));
        assert_eq!(pointer(".spec[0]"), None);
    }
}
