//! Why a text is no pattern, in upstream's words.
use regex::Error;

/// What an error of reading `pattern` says; one that has no words there keeps its own.
pub fn told(pattern: &str, error: &Error) -> String {
    let text = error.to_string();
    let has = |what: &str| text.contains(what);
    let from = |mark: char| pattern.rfind(mark).map_or(pattern, |at| &pattern[at..]);
    let (why, shown) = if has("unclosed group") {
        ("missing closing )", pattern)
    } else if has("unopened group") {
        ("unexpected )", pattern)
    } else if has("unclosed character class") {
        ("missing closing ]", from('['))
    } else if has("repetition operator missing expression") {
        ("missing argument to repetition operator", marked(pattern, &text))
    } else if has("look-around") {
        ("invalid or unsupported Perl syntax", look_around(pattern))
    } else if has("incomplete escape sequence") {
        ("trailing backslash at end of expression", "")
    } else if has("unrecognized escape sequence") || has("backreferences are not supported") {
        ("invalid escape sequence", marked(pattern, &text))
    } else if has("invalid character class range") {
        ("invalid character class range", marked(pattern, &text))
    } else {
        return format!("error parsing regexp: {text}");
    };
    format!("error parsing regexp: {why}: `{shown}`")
}

/// What the error's second line of marks points at.
fn marked<'p>(pattern: &'p str, text: &str) -> &'p str {
    let marks = text.lines().find(|line| line.trim_start().starts_with('^'));
    let Some(marks) = marks else { return pattern };
    // The pattern is shown four blanks from the left.
    let start = marks.find('^').map_or(0, |at| at.saturating_sub(4));
    let count = marks.chars().filter(|c| *c == '^').count();
    let mut chars = pattern
        .char_indices()
        .map(|(at, _)| at)
        .chain([pattern.len()])
        .skip(start);
    let first = chars.next().unwrap_or(0);
    let last = chars.nth(count.saturating_sub(1)).unwrap_or(pattern.len());
    pattern.get(first..last).unwrap_or(pattern)
}

/// The three characters that begin a look around.
fn look_around(pattern: &str) -> &str {
    let found = ["(?=", "(?!", "(?<"]
        .iter()
        .filter_map(|start| pattern.find(start))
        .min();
    found.and_then(|at| pattern.get(at..at + 3)).unwrap_or(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn reasons_are_upstreams() {
        for (pattern, why) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
        ] {
            let error = Regex::new(pattern).unwrap_err();
            assert_eq!(told(pattern, &error), format!("error parsing regexp: {why}"));
        }
    }
}
