//! Query strings.

/// Decoded parameters, in order.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(key), unescape(value))
    })
}

/// `%3A` and `+` as in query strings.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |rest: &std::str::Bytes<'_>| {
            let digits: Vec<u8> = rest.clone().take(2).collect();
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16)
                .ok()
                .filter(|_| digits.len() == 2)
        };
        match byte {
            b'%' if let Some(decoded) = hex(&rest) => {
                bytes.push(decoded);
                rest.nth(1);
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_repeat_and_are_decoded() {
        let found: Vec<_> = pairs("command=sh&command=-c&command=echo+a%3B%20b&&tty").collect();
        let expected = [
            ("command", "sh"),
            ("command", "-c"),
            ("command", "echo a; b"),
            ("tty", ""),
        ];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }
}
