//! `traceparent`, as W3C Trace Context has it: version, trace, span and flags in hexadecimal digits.
use http::HeaderMap;

const HEADER: &str = "traceparent";
/// The bit of the flags that says that the caller's span is kept.
const SAMPLED: u8 = 1;

/// The span that a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub sampled: bool,
}

impl Parent {
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(HEADER)?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let [version] = bytes::<1>(parts.next()?)?;
        let (trace, span) = (bytes::<16>(parts.next()?)?, bytes::<8>(parts.next()?)?);
        let [flags] = bytes::<1>(parts.next()?)?;
        // Version 255 is none; the first one has nothing behind the flags.
        let fits = version != u8::MAX && (version != 0 || parts.next().is_none());
        let named = trace != [0; 16] && span != [0; 8];
        (fits && named).then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 2 * N || !digits.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::Parent;

    #[test]
    fn only_well_formed_parents_count() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{trace}-b7ad6b7169203331-01");
        let parent = Parent::parse(&good).unwrap();
        assert!(parent.sampled);
        assert_eq!(parent.span[7], 0x31);
        assert!(
            !Parent::parse(&format!("00-{trace}-b7ad6b7169203331-00"))
                .unwrap()
                .sampled
        );
        assert!(Parent::parse(&format!("01-{trace}-b7ad6b7169203331-01-more")).is_some());
        for bad in [
            "",
            "00",
            &format!("ff-{trace}-b7ad6b7169203331-01"),
            &format!("{good}-more"),
            &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{trace}-B7AD6B7169203331-01"),
            &format!("00-{trace}-b7ad6b71692033é-01"),
        ] {
            assert_eq!(Parent::parse(bad), None, "{bad}");
        }
    }
}
