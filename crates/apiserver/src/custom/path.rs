//! The JSON paths of definitions: members, indices, ranges, all items, and items picked by what is in them.
use super::filter::Filter;
use serde_json::Value;

/// What a filter begins with.
const FILTER: &str = "?(";

/// One step.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    /// From the end if negative.
    Index(i64),
    /// Items from a place up to another, each from the end if negative, and how far it is from one to the next.
    Slice(Option<i64>, Option<i64>, usize),
    All,
    /// Items of which something holds.
    Where(Box<Filter>),
}

/// A path, ready to be followed.
#[derive(Clone, Debug, PartialEq)]
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
            Self::Slice(from, to, step) => {
                let count = items().len();
                let place = |at: i64| match usize::try_from(at) {
                    Ok(at) => at.min(count),
                    Err(_) => count.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(count)),
                };
                let (from, to) = (from.map_or(0, place), to.map_or(count, place));
                let found = items().get(from..to).unwrap_or_default();
                found.iter().step_by(*step).collect()
            }
            Self::Where(filter) => items().iter().filter(|item| filter.holds_of(item)).collect(),
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

/// Where the bracket ends, outside of quotes and of brackets within.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut open) = (None, 0);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, ']') if open == 0 => return Some(at),
            (None, ']') => open -= 1,
            (None, '[') => open += 1,
            (None, '"' | '\'') => quote = Some(character),
            (Some(started), character) if started == character => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix(FILTER).and_then(|f| f.strip_suffix(')')) {
        // One within another has never been asked for, and whoever writes definitions says how deep.
        if filter.contains(FILTER) {
            return None;
        }
        return Some(Step::Where(Box::new(Filter::parse(filter)?)));
    }
    if let Some(name) = inner.strip_prefix('\'').and_then(|n| n.strip_suffix('\'')) {
        return Some(Step::Member(name.to_owned()));
    }
    let Some((from, rest)) = inner.split_once(':') else {
        return inner.trim().parse().ok().map(Step::Index);
    };
    let (to, step) = rest.split_once(':').unwrap_or((rest, ""));
    let place = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let step = match step.trim() {
        "" => 1,
        step => step.parse().ok().filter(|step| *step > 0)?,
    };
    Some(Step::Slice(place(from)?, place(to)?, step))
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
            (".spec.list[-1:].n", json!([2])),
            (".spec.list[:1].n", json!([1])),
            (".spec.list[::2].n", json!([1])),
            (".spec.list[-9:9].n", json!([1, 2])),
            (".spec.list[2:1].n", json!([])),
            (".spec.list[-9223372036854775808].n", json!([])),
            (".spec.list[-9223372036854775808:].n", json!([1, 2])),
            (".spec.list[?(@.n>1)].type", json!(["Other"])),
            (r#".spec.list[?(@.deep[0].x=="]")].n"#, json!([])),
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
        let deep = ".a[?(@".repeat(100_000) + &")]".repeat(100_000);
        assert_eq!(Path::parse(&deep), None);
        for path in [".a[?(x)]", ".a[b]", ".a[1:b]", ".a[::0]", ".a[0", "..a"] {
            assert_eq!(Path::parse(path), None, "{path}");
        }
        assert_eq!(pointer(".spec.replicas").as_deref(), Some("/spec/replicas"));
        assert_eq!(pointer(".spec[0]"), None);
    }
}
