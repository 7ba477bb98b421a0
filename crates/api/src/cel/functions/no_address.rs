//! Why a text is no IP address or range of them, in upstream's words.
use std::net::IpAddr;

/// What a conversion says.
pub fn ip(text: &str) -> String {
    match (text.parse::<IpAddr>(), without_zone(text)) {
        (Ok(_), _) => format!("IPv4-mapped IPv6 address {text:?} is not allowed"),
        (Err(_), Some(_)) => format!("IP address {text:?} with zone value is not allowed"),
        (Err(_), None) => format!(
            "IP Address {text:?} parse error during conversion from string: {}",
            parsed(text)
        ),
    }
}

/// The address in front of a zone, if the text is one with a zone.
fn without_zone(text: &str) -> Option<IpAddr> {
    let (address, zone) = text.split_once('%')?;
    let address: IpAddr = address.parse().ok()?;
    (address.is_ipv6() && !zone.is_empty()).then_some(address)
}

/// What is wrong with a range.
pub fn cidr(text: &str) -> String {
    let Some((address, bits)) = text.rsplit_once('/') else {
        return unreadable(text, "no '/'");
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        return match without_zone(address) {
            Some(_) => unreadable(text, "IPv6 zones cannot be present in a prefix"),
            None => unreadable(text, &parsed(address)),
        };
    };
    let is_plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() < 2 || !bits.starts_with('0'));
    match bits.parse::<u16>() {
        Ok(bits) if is_plain && bits > if ip.is_ipv4() { 32 } else { 128 } => {
            unreadable(text, "prefix length out of range")
        }
        Ok(_) if is_plain => format!("IPv4-mapped IPv6 address {text:?} is not allowed"),
        _ => unreadable(text, &format!("bad bits after slash: {bits:?}")),
    }
}

fn unreadable(text: &str, why: &str) -> String {
    format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}")
}

/// What is wrong with an address: its first mark says of which kind it would be.
fn parsed(text: &str) -> String {
    let (why, at) = match text.find(['.', ':', '%']).map(|at| &text[at..=at]) {
        Some(".") => v4(text),
        Some(":") => v6(text),
        Some(_) => ("missing IPv6 address", ""),
        None => ("unable to parse IP", ""),
    };
    match at {
        "" => format!("ParseAddr({text:?}): {why}"),
        at => format!("ParseAddr({text:?}): {why} (at {at:?})"),
    }
}

/// The reason, and what stands from there on.
fn v4(text: &str) -> (&'static str, &str) {
    let (mut value, mut digits, mut dots) = (0_u32, 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '0'..='9' if digits == 1 && value == 0 => return ("IPv4 field has octet with leading zero", ""),
            '0'..='9' => {
                value = value * 10 + u32::from(c) - u32::from('0');
                digits += 1;
                if value > 255 {
                    return ("IPv4 field has value >255", "");
                }
            }
            '.' if digits == 0 || at + 1 == text.len() => {
                return ("IPv4 field must have at least one digit", &text[at..]);
            }
            '.' if dots == 3 => return ("IPv4 address too long", ""),
            '.' => (value, digits, dots) = (0, 0, dots + 1),
            _ => return ("unexpected character", &text[at..]),
        }
    }
    ("IPv4 address too short", "")
}

fn v6(text: &str) -> (&'static str, &str) {
    let (address, zone) = text.split_once('%').map_or((text, None), |(a, z)| (a, Some(z)));
    if zone == Some("") {
        return ("zone must be a non-empty string", "");
    }
    let mut rest = address;
    let mut has_gap = false;
    if let Some(after) = rest.strip_prefix("::") {
        (rest, has_gap) = (after, true);
    }
    let mut groups = 0;
    while groups < 8 && !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        match digits {
            0 => return ("each colon-separated field must have at least one digit", rest),
            5.. => return ("each group must have 4 or less digits", rest),
            _ => {}
        }
        if rest[digits..].starts_with('.') {
            if !has_gap && groups != 6 {
                return (
                    "embedded IPv4 address must replace the final 2 fields of the address",
                    rest,
                );
            }
            return v4(rest);
        }
        groups += 1;
        rest = &rest[digits..];
        let Some(after) = rest.strip_prefix(':') else {
            if rest.is_empty() {
                break;
            }
            return ("unexpected character, want colon", rest);
        };
        if after.is_empty() {
            return ("colon must be followed by more characters", rest);
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if has_gap {
                return ("multiple :: in address", rest);
            }
            (rest, has_gap) = (after, true);
        }
    }
    match rest {
        "" => ("address string too short", ""),
        rest => ("trailing garbage after address", rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_upstreams() {
        const START: &str = "parse error during conversion from string: ParseAddr";
        for (text, why) in [
            ("", "IP Address \"\" #(\"\"): unable to parse IP"),
            (
                "256.1.1.1",
                "IP Address \"256.1.1.1\" #(\"256.1.1.1\"): IPv4 field has value >255",
            ),
            (
                "1.2.3.a",
                "IP Address \"1.2.3.a\" #(\"1.2.3.a\"): unexpected character (at \"a\")",
            ),
            (
                "1::2::3",
                "IP Address \"1::2::3\" #(\"1::2::3\"): multiple :: in address (at \":3\")",
            ),
            (
                "::1%",
                "IP Address \"::1%\" #(\"::1%\"): zone must be a non-empty string",
            ),
            (
                "fe80::1%a",
                "IP address \"fe80::1%a\" with zone value is not allowed",
            ),
            (
                "::ffff:1.2.3.4",
                "IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed",
            ),
        ] {
            assert_eq!(ip(text), why.replace('#', START), "{text}");
        }
        const RANGE: &str = "network address parse error during conversion from string: netip.ParsePrefix";
        for (text, why) in [
            ("a/24", "#(\"a/24\"): ParseAddr(\"a\"): unable to parse IP"),
            ("1.2.3.4/024", "#(\"1.2.3.4/024\"): bad bits after slash: \"024\""),
            ("1.2.3.4/33", "#(\"1.2.3.4/33\"): prefix length out of range"),
            (
                "::1%a/64",
                "#(\"::1%a/64\"): IPv6 zones cannot be present in a prefix",
            ),
        ] {
            assert_eq!(cidr(text), why.replace('#', RANGE), "{text}");
        }
    }
}
