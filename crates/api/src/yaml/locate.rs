//! From a field path in an error to a place in the file.

use super::{Location, Node, Value};

#[derive(Debug, PartialEq)]
enum Step<'a> {
    Key(&'a str),
    Bracket(&'a str),
}

/// Splits `spec.containers[0].image`, `metadata.annotations[a.b/c]`.
fn steps(path: &str) -> Vec<Step<'_>> {
    let mut out = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').unwrap_or(inner.len());
            out.push(Step::Bracket(&inner[..end]));
            rest = inner.get(end + 1..).unwrap_or("");
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                out.push(Step::Key(&rest[..end]));
            }
            rest = &rest[end..];
            if end == 0 && !rest.starts_with(['.', '[']) {
                break;
            }
        }
    }
    out
}

pub(super) fn locate(root: &Node, path: &str) -> Location {
    let mut at = root.at;
    let mut node = root;
    for step in steps(path) {
        let next = match (&node.value, &step) {
            (Value::Map(_), Step::Key(key) | Step::Bracket(key)) => node
                .entry(key)
                .map(|e| (&e.value, if is_scalar(&e.value) { e.value.at } else { e.key_at })),
            (Value::List(items), Step::Bracket(index)) => index
                .parse::<usize>()
                .ok()
                .and_then(|i| items.get(i))
                .map(|n| (n, n.at)),
            _ => None,
        };
        let Some((found, found_at)) = next else { break };
        node = found;
        at = found_at;
    }
    at
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node.value, Value::List(_) | Value::Map(_))
}

#[cfg(test)]
mod tests {
    use crate::yaml::first_document_in;

    #[test]
    fn paths_find_their_line_or_the_nearest_parents() {
        let root = first_document_in(
            "kind: Pod\nmetadata:\n  labels:\n    a.b/c: x\nspec:\n  containers:\n  - name: a\n    ports:\n    - containerPort: 80\n",
        )
        .unwrap();
        for (path, line, column) in [
            ("kind", 1, 7),
            ("metadata.labels[a.b/c]", 4, 12),
            ("metadata.name", 2, 1),
            ("spec.containers[0].name", 7, 11),
            ("spec.containers[0].image", 7, 5),
            ("spec.containers[0].ports[0].containerPort", 9, 22),
            ("spec.containers[3].image", 6, 3),
            ("", 1, 1),
            ("..", 1, 1),
            ("[", 1, 1),
            ("spec[", 5, 1),
            ("nothing.at[all", 1, 1),
        ] {
            let at = root.locate(path);
            assert_eq!((at.line, at.column), (line, column), "{path}");
        }
    }
}
