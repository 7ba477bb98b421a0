//! Paths that name a place of a schema: `.spec.a['b']`.
use serde_json::Value;

/// The names on the way and the schema they lead to.
///
/// # Errors
/// Why it leads nowhere, in upstream's words.
pub fn field_path<'s>(
    path: &str,
    schema: &'s Value,
    with_brackets: bool,
) -> Result<(Vec<String>, &'s Value), String> {
    const END: &str = "unexpected end of JSON path";
    let (mut names, mut at, mut rest) = (Vec::new(), schema, path);
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix('.') {
            let end = end_of_word(after);
            if end == 0 && after.is_empty() {
                return Err(END.to_owned());
            }
            // A delimiter in place of a name is a name that nothing has.
            let end = end.max(after.chars().next().map_or(0, char::len_utf8));
            name = after[..end].to_owned();
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            if !with_brackets {
                return Err("array notation is not allowed".to_owned());
            }
            let token = token(after).ok_or(END)?;
            let quoted = token.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
            let quoted = quoted.ok_or_else(|| format!("expected single quoted string but got {token}"))?;
            name = quoted.replace("\\'", "'").replace("\\\\", "\\");
            let after = &after[token.len()..];
            rest = match after.strip_prefix(']') {
                Some(rest) => rest,
                None if after.is_empty() => return Err(END.to_owned()),
                None => {
                    let found = self::token(after).unwrap_or_default();
                    return Err(format!("expected ] but got {found}"));
                }
            };
        } else {
            let found = token(rest).unwrap_or_default();
            return Err(format!("expected [ or . but got: {found}"));
        }
        at = step(at, &name).ok_or("does not refer to a valid field")?;
        names.push(name);
    }
    Ok((names, at))
}

fn step<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    if schema["properties"].is_object() {
        return schema["properties"].get(name);
    }
    schema.get("additionalProperties").filter(|each| each.is_object())
}

fn end_of_word(text: &str) -> usize {
    text.find(['.', '[', ']']).unwrap_or(text.len())
}

/// A delimiter, a quoted text, or everything up to the next delimiter.
fn token(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    let end = match first {
        '.' | '[' | ']' => 1,
        '\'' => {
            let bytes = text.as_bytes();
            let close = (1..bytes.len()).find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\');
            close.map_or(text.len(), |at| at + 1)
        }
        _ => end_of_word(text),
    };
    text.get(..end)
}
