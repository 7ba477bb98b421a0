//! What comes through a proxy and says where to go on, redirections and links in pages, leads back through the proxy
//! (contract §14).
use crate::http::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use futures::{Stream, StreamExt, future, stream};
use std::io::{self, Write};
use std::mem;

/// Attributes that hold links, by element; upstream's.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// Elements whose content is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];
/// A longer tag or comment passes as it is.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Where links of one answer lead.
#[derive(Clone, Debug)]
pub struct Links {
    /// The path of the proxy.
    pub before: String,
    /// The host that the client knows.
    pub asked: String,
    /// The one that has answered.
    pub answered: String,
}

impl Links {
    /// A link that would lead beside the proxy, through it; `None`: it leads elsewhere, or is fine.
    pub fn led_back(&self, link: &str) -> Option<String> {
        let (scheme, rest) = match link.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), Some(rest)),
            _ => (None, link.strip_prefix("//")),
        };
        let (host, path) = match rest {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", link),
        };
        let is_own = host.is_empty() || host == self.asked || host == self.answered;
        if !is_own || !path.starts_with('/') || path.starts_with(&self.before) {
            return None;
        }
        let origin = match (scheme, host == self.asked && !host.is_empty()) {
            (_, false) => String::new(),
            (Some(scheme), true) => format!("{scheme}://{host}"),
            (None, true) => format!("//{host}"),
        };
        Some(format!("{origin}{}{path}", self.before))
    }
}

/// A page on its way, of which as much is kept back as a tag needs to be whole.
struct Page {
    links: Links,
    pending: Vec<u8>,
    /// Inside of an element without markup: how it ends.
    raw: Option<&'static str>,
}

impl Page {
    /// What can go on. `last`: nothing more comes.
    fn take(&mut self, data: &[u8], last: bool) -> Vec<u8> {
        self.pending.extend_from_slice(data);
        let all = mem::take(&mut self.pending);
        let mut out = Vec::with_capacity(all.len());
        let mut at = 0;
        while at < all.len() {
            let rest = &all[at..];
            let step = match self.raw {
                Some(element) => self.raw_text(element, rest, last),
                None => self.token(rest, last, &mut out),
            };
            match step {
                Step::Plain(bytes) => {
                    out.extend_from_slice(&rest[..bytes]);
                    at += bytes;
                }
                Step::Done(bytes) => at += bytes,
                Step::Wait(bytes) => {
                    out.extend_from_slice(&rest[..bytes]);
                    at += bytes;
                    break;
                }
            }
        }
        self.pending = all[at..].to_vec();
        out
    }

    fn raw_text(&mut self, element: &'static str, rest: &[u8], last: bool) -> Step {
        let end = format!("</{element}");
        match find_ignoring_case(rest, end.as_bytes()) {
            Some(at) => {
                self.raw = None;
                Step::Plain(at)
            }
            None if last => Step::Plain(rest.len()),
            None => Step::Wait(rest.len().saturating_sub(end.len())),
        }
    }

    fn token(&mut self, rest: &[u8], last: bool, out: &mut Vec<u8>) -> Step {
        let text = rest.iter().position(|byte| *byte == b'<');
        let Some(0) = text else {
            return Step::Plain(text.unwrap_or(rest.len()));
        };
        let is_whole = |bytes: Option<usize>| match bytes {
            None if !last && rest.len() < TOKEN_BYTES_MAX => Err(Step::Wait(0)),
            None => Err(Step::Plain(rest.len())),
            Some(bytes) => Ok(bytes),
        };
        if rest.starts_with(b"<!--") {
            let end = find_ignoring_case(&rest[4..], b"-->").map(|at| at + 7);
            return is_whole(end).map_or_else(|step| step, Step::Plain);
        }
        match rest.get(1) {
            Some(first) if first.is_ascii_alphabetic() => {}
            // The beginning of a comment, perhaps.
            None | Some(b'!') if !last && rest.len() < 4 => return Step::Wait(0),
            _ => return Step::Plain(1),
        }
        let bytes = match is_whole(tag_end(rest)) {
            Ok(bytes) => bytes,
            Err(step) => return step,
        };
        let tag = &rest[..bytes];
        let name = tag_name(tag);
        self.raw = RAW.iter().find(|raw| **raw == name).copied();
        let attributes = LINKS.iter().find(|(element, _)| *element == name);
        match attributes {
            Some((_, attributes)) => {
                self.write(tag, name.len() + 1, attributes, out);
                Step::Done(bytes)
            }
            None => Step::Plain(bytes),
        }
    }

    /// Writes a tag with its links led back; what else is in it stays byte for byte.
    fn write(&self, tag: &[u8], attributes_at: usize, wanted: &[&str], out: &mut Vec<u8>) {
        let mut written = 0;
        let mut at = attributes_at;
        while let Some((name, value)) = next_attribute(tag, &mut at) {
            let is_wanted = std::str::from_utf8(&tag[name])
                .is_ok_and(|name| wanted.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)));
            let link = std::str::from_utf8(&tag[value.clone()])
                .ok()
                .filter(|_| is_wanted);
            if let Some(link) = link.and_then(|link| self.links.led_back(link)) {
                out.extend_from_slice(&tag[written..value.start]);
                out.extend_from_slice(link.as_bytes());
                written = value.end;
            }
        }
        out.extend_from_slice(&tag[written..]);
    }
}

enum Step {
    /// So many bytes go on as they are.
    Plain(usize),
    /// So many have been written.
    Done(usize),
    /// So many go on; more is needed for the rest.
    Wait(usize),
}

fn find_ignoring_case(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window.eq_ignore_ascii_case(wanted))
}

/// The bytes of a tag, by its end outside of quotes.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

fn tag_name(tag: &[u8]) -> String {
    let name = tag.iter().skip(1).take_while(|byte| !ends_name(**byte));
    name.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'=')
}

/// The places of the next attribute's name and value; of one without a value, an empty place.
fn next_attribute(tag: &[u8], at: &mut usize) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let skip = |at: &mut usize, is: &dyn Fn(u8) -> bool| {
        while tag.get(*at).is_some_and(|byte| is(*byte)) {
            *at += 1;
        }
    };
    skip(at, &|byte| byte.is_ascii_whitespace() || byte == b'/');
    let name = *at;
    skip(at, &|byte| !ends_name(byte));
    let name = name..*at;
    if name.is_empty() {
        return None;
    }
    skip(at, &|byte| byte.is_ascii_whitespace());
    if tag.get(*at) != Some(&b'=') {
        return Some((name, *at..*at));
    }
    *at += 1;
    skip(at, &|byte| byte.is_ascii_whitespace());
    let value = match tag.get(*at) {
        Some(quote @ (b'"' | b'\'')) => {
            let start = *at + 1;
            *at = start;
            skip(at, &|byte| byte != *quote);
            let value = start..*at;
            *at += 1;
            value
        }
        _ => {
            let start = *at;
            skip(at, &|byte| !byte.is_ascii_whitespace() && byte != b'>');
            start..*at
        }
    };
    Some((name, value))
}

/// What unpacks a page, and packs it again.
struct Gzip {
    packed: MultiGzDecoder<Vec<u8>>,
    packing: GzEncoder<Vec<u8>>,
}

/// How a page is packed.
enum Coding {
    Plain,
    Gzip(Box<Gzip>),
}

/// The page with its links led back, as it comes; unchanged if it is packed in a way that isn't known.
pub fn led_back(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    coding: Option<&str>,
    links: Links,
) -> Body {
    let mut coding = match coding {
        None | Some("identity") => Coding::Plain,
        Some("gzip") => Coding::Gzip(Box::new(Gzip {
            packed: MultiGzDecoder::new(Vec::new()),
            packing: GzEncoder::new(Vec::new(), Compression::fast()),
        })),
        Some(_) => return Body::from_stream(pieces),
    };
    let mut page = Page {
        links,
        pending: Vec::new(),
        raw: None,
    };
    let pieces = pieces.map(Some).chain(stream::once(future::ready(None)));
    let changed = pieces.filter_map(move |piece| {
        let changed = match piece {
            Some(Ok(piece)) => coding.take(&mut page, &piece, false),
            Some(Err(error)) => Err(error),
            None => coding.take(&mut page, &[], true),
        };
        let is_some = changed.as_ref().map_or(true, |bytes| !bytes.is_empty());
        future::ready(is_some.then(|| changed.map(Bytes::from)))
    });
    Body::from_stream(changed)
}

impl Coding {
    fn take(&mut self, page: &mut Page, piece: &[u8], last: bool) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(page.take(piece, last)),
            Self::Gzip(gzip) => {
                let Gzip { packed, packing } = &mut **gzip;
                packed.write_all(piece)?;
                if last {
                    packed.try_finish()?;
                }
                let plain = mem::take(packed.get_mut());
                packing.write_all(&page.take(&plain, last))?;
                if last {
                    packing.try_finish()?;
                }
                Ok(mem::take(packing.get_mut()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn links() -> Links {
        Links {
            before: "/api/v1/namespaces/n/pods/p/proxy".to_owned(),
            asked: "api:6443".to_owned(),
            answered: "10.1.0.9:8080".to_owned(),
        }
    }

    #[test]
    fn links_of_ones_own_stay_behind_the_proxy() {
        let back = |link: &str| links().led_back(link);
        let behind = |path: &str| Some(format!("/api/v1/namespaces/n/pods/p/proxy{path}"));
        assert_eq!(back("/home?a=b#c"), behind("/home?a=b#c"));
        assert_eq!(back("http://10.1.0.9:8080/x"), behind("/x"));
        assert_eq!(
            back("https://api:6443/x"),
            behind("/x").map(|path| format!("https://api:6443{path}"))
        );
        assert_eq!(
            back("//api:6443/x"),
            behind("/x").map(|path| format!("//api:6443{path}"))
        );
        for elsewhere in [
            "https://example.com/x",
            "//example.com/x",
            "sibling",
            "#there",
            "?a=/b",
            "",
            "mailto:a@b",
            "http://10.1.0.9:8080",
            "/api/v1/namespaces/n/pods/p/proxy/x",
        ] {
            assert_eq!(back(elsewhere), None, "{elsewhere}");
        }
    }

    const PAGE: &str = r##"<!DOCTYPE html><html><!-- <a href="/no"> --><title><a href="/no"></title>
<script src=/s.js>var a = '<a href="/no">' </script><A class="x>y" HREF='/a'>a < b</A><img src="/i" alt='/no'><br/>
<a data-href="/no" href = "/b" download>b</a><p href="/no"><a href="http://example.com/no">c</a></html>"##;
    const LED: &str = r##"<!DOCTYPE html><html><!-- <a href="/no"> --><title><a href="/no"></title>
<script src=PROXY/s.js>var a = '<a href="/no">' </script><A class="x>y" HREF='PROXY/a'>a < b</A><img src="PROXY/i" alt='/no'><br/>
<a data-href="/no" href = "PROXY/b" download>b</a><p href="/no"><a href="http://example.com/no">c</a></html>"##;

    async fn through(packed: &[u8], size: usize, coding: Option<&str>) -> Vec<u8> {
        let pieces: Vec<_> = packed
            .chunks(size)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let body = led_back(stream::iter(pieces), coding, links());
        http_body_util::BodyExt::collect(body)
            .await
            .unwrap()
            .to_bytes()
            .to_vec()
    }

    #[tokio::test]
    async fn pages_lead_back_however_they_are_cut() {
        let expected = LED.replace("PROXY", &links().before);
        for size in [1, 2, 3, 7, 64, PAGE.len()] {
            let out = through(PAGE.as_bytes(), size, None).await;
            assert_eq!(String::from_utf8(out).unwrap(), expected, "pieces of {size}");
        }
        for odd in [
            "<",
            "a <",
            "<a href=\"/x",
            "<!-",
            "<script>",
            "<a href=>",
            "<a =\"/x\">",
            "a<1",
        ] {
            assert_eq!(through(odd.as_bytes(), 1, None).await, odd.as_bytes(), "{odd}");
        }
    }

    #[tokio::test]
    async fn packed_pages_lead_back_too() {
        let mut packing = GzEncoder::new(Vec::new(), Compression::best());
        packing.write_all(PAGE.as_bytes()).unwrap();
        let packed = packing.finish().unwrap();
        let out = through(&packed, 50, Some("gzip")).await;
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&out[..])
            .read_to_string(&mut plain)
            .unwrap();
        assert_eq!(plain, LED.replace("PROXY", &links().before));
        let unknown = through(PAGE.as_bytes(), 50, Some("br")).await;
        assert_eq!(unknown, PAGE.as_bytes());
    }
}
