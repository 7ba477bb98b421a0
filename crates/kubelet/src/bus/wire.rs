//! Messages of D-Bus, as far as the agent says and hears any: strings, numbers and properties out; a number, a truth or an
//! error's text in. Little-endian, as every machine is that this runs on.
use std::ops::Range;

/// A message's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
    /// To be ignored.
    Other,
}

/// What a call says.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    Text(&'a str),
    Number(i32),
    Truth(bool),
    /// `a(sv)`.
    Properties(&'a [(&'a str, Value)]),
    /// `a(sa(sv))`, of which there is never one.
    NoUnits,
}

/// What a property is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Truth(bool),
    Number(u64),
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Messages of those that the agent talks with are short.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SIGNATURE: u8 = 8;
    pub const UNIX_FDS: u8 = 9;
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub serial: u32,
    /// Of the call that this answers.
    pub reply_to: u32,
    pub interface: String,
    pub member: String,
    /// Descriptors that came with it.
    pub fds: usize,
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// The first value, a truth.
    pub fn boolean(&self) -> Result<bool, Malformed> {
        Ok(Reader::new(&self.0).u32()? != 0)
    }

    /// The first value, a text.
    pub fn text(&self) -> Result<String, Malformed> {
        Reader::new(&self.0).text()
    }

    /// The second value, a text after another.
    #[cfg(test)]
    pub fn second_text(&self) -> Result<String, Malformed> {
        let mut reader = Reader::new(&self.0);
        reader.text()?;
        reader.text()
    }

    /// The first value, a variant of type `b`.
    pub fn variant_boolean(&self) -> Result<bool, Malformed> {
        let mut reader = Reader::new(&self.0);
        if reader.signature()? != "b" {
            return Err(Malformed("expected a truth"));
        }
        Ok(reader.u32()? != 0)
    }

    /// The first value, a variant of type `t`.
    pub fn variant_u64(&self) -> Result<u64, Malformed> {
        let mut reader = Reader::new(&self.0);
        if reader.signature()? != "t" {
            return Err(Malformed("expected a number"));
        }
        reader.u64()
    }
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
}

/// A call with its arguments.
pub fn call(serial: u32, target: Target<'_>, arguments: &[Arg<'_>]) -> Vec<u8> {
    let mut body = Writer::default();
    let mut signature = String::new();
    for argument in arguments {
        match argument {
            Arg::Text(text) => {
                signature.push('s');
                body.text(text);
            }
            Arg::Number(number) => {
                signature.push('i');
                body.align(4);
                body.0.extend(number.to_le_bytes());
            }
            Arg::Truth(truth) => {
                signature.push('b');
                body.u32(u32::from(*truth));
            }
            Arg::Properties(properties) => {
                signature.push_str("a(sv)");
                body.structures(properties, |body, (name, value)| {
                    body.text(name);
                    body.variant(*value);
                });
            }
            Arg::NoUnits => {
                signature.push_str("a(sa(sv))");
                body.structures(&[(); 0], |_, ()| {});
            }
        }
    }
    message(Kind::Call, serial, None, target, &signature, 0, &body.0)
}

/// Any message.
pub(super) fn message(
    kind: Kind,
    serial: u32,
    reply_to: Option<u32>,
    target: Target<'_>,
    signature: &str,
    fds: u32,
    body: &[u8],
) -> Vec<u8> {
    let kind = match kind {
        Kind::Call => 1,
        Kind::Return => 2,
        Kind::Error => 3,
        Kind::Signal => 4,
        Kind::Other => 0,
    };
    let mut fields = Writer::default();
    for (code, sign, text) in [
        (field::PATH, "o", target.path),
        (field::INTERFACE, "s", target.interface),
        (field::MEMBER, "s", target.member),
        (field::DESTINATION, "s", target.destination),
    ] {
        if !text.is_empty() {
            fields.field(code, sign);
            fields.text(text);
        }
    }
    if let Some(serial) = reply_to {
        fields.field(field::REPLY_SERIAL, "u");
        fields.u32(serial);
    }
    if !signature.is_empty() {
        fields.field(field::SIGNATURE, "g");
        fields.signature(signature);
    }
    if fds > 0 {
        fields.field(field::UNIX_FDS, "u");
        fields.u32(fds);
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut whole = Writer(vec![b'l', kind, 0, 1]);
    whole.u32(length(body));
    whole.u32(serial);
    whole.u32(length(&fields.0));
    whole.0.extend(fields.0);
    whole.align(8);
    whole.0.extend(body);
    whole.0
}

/// The first message of `bytes` and how long it is; `None`: it has not come whole yet.
pub fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, Malformed> {
    let Some(head) = bytes.get(..16) else {
        return Ok(None);
    };
    if head[0] != b'l' || head[3] != 1 {
        return Err(Malformed("a message of another byte order or version"));
    }
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let size = |at: usize| usize::try_from(number(at)).unwrap_or(usize::MAX);
    let (body_length, fields_length) = (size(4), size(12));
    if body_length.saturating_add(fields_length) > MESSAGE_BYTES_MAX {
        return Err(Malformed("a message that is too long"));
    }
    let begin = (16 + fields_length).next_multiple_of(8);
    let end = begin + body_length;
    if bytes.len() < end {
        return Ok(None);
    }
    let kind = match head[1] {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Other,
    };
    let mut message = Message {
        kind,
        serial: number(8),
        reply_to: 0,
        interface: String::new(),
        member: String::new(),
        fds: 0,
        body: Body(bytes[begin..end].to_vec()),
    };
    let mut reader = Reader {
        bytes,
        range: 16..16 + fields_length,
    };
    while !reader.range.is_empty() {
        reader.align(8)?;
        let code = reader.byte()?;
        let sign = reader.signature()?;
        match (code, sign.as_str()) {
            (field::REPLY_SERIAL, "u") => message.reply_to = reader.u32()?,
            (field::UNIX_FDS, "u") => message.fds = usize::try_from(reader.u32()?).unwrap_or(usize::MAX),
            (field::INTERFACE, "s") => message.interface = reader.text()?,
            (field::MEMBER, "s") => message.member = reader.text()?,
            (_, "s" | "o") => {
                reader.text()?;
            }
            (_, "g") => {
                reader.signature()?;
            }
            (_, "u") => {
                reader.u32()?;
            }
            _ => return Err(Malformed("a header field of an unknown type")),
        }
    }
    Ok(Some((message, end)))
}

#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn variant(&mut self, value: Value) {
        match value {
            Value::Truth(truth) => {
                self.signature("b");
                self.u32(u32::from(truth));
            }
            Value::Number(number) => {
                self.signature("t");
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
        }
    }

    /// An array of structures. What it is long does not count the padding before the first.
    fn structures<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u32(0);
        let at = self.0.len();
        self.align(8);
        let begin = self.0.len();
        for item in items {
            self.align(8);
            write(self, item);
        }
        let length = u32::try_from(self.0.len() - begin).unwrap_or(u32::MAX);
        self.0[at - 4..at].copy_from_slice(&length.to_le_bytes());
    }

    /// The beginning of a header field: a structure of its code and a variant. Fields begin 16 bytes into the message.
    fn field(&mut self, code: u8, signature: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(signature);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// What is left; alignment counts from the beginning of `bytes`.
    range: Range<usize>,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            range: 0..bytes.len(),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.range.start.saturating_add(count);
        if end > self.range.end {
            return Err(Malformed("a message that ends early"));
        }
        let taken = &self.bytes[self.range.start..end];
        self.range.start = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let start = self.range.start;
        self.take(start.next_multiple_of(to) - start).map(drop)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        let taken = self.take(4)?;
        Ok(u32::from_le_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.align(8)?;
        let taken = self.take(8)?;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(taken);
        Ok(u64::from_le_bytes(bytes))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_is_laid_out_as_the_protocol_says() {
        let target = Target {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        let bytes = call(1, target, &[]);
        assert_eq!(bytes[..12], [b'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes.len() % 8, 0);
        // PATH, a variant of type `o`, 21 bytes long.
        assert_eq!(bytes[16..24], [1, 1, b'o', 0, 21, 0, 0, 0]);
        let (message, used) = parse(&bytes).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        assert_eq!((message.kind, message.serial), (Kind::Call, 1));
        assert_eq!(
            (message.interface.as_str(), message.member.as_str()),
            (target.interface, "Hello")
        );
    }

    #[test]
    fn values_come_back_and_torn_messages_wait_for_their_rest() {
        let target = Target {
            interface: "i",
            member: "m",
            path: "/p",
            ..Target::default()
        };
        let mut body = Writer::default();
        body.signature("t");
        body.align(8);
        body.0.extend(30_000_000u64.to_le_bytes());
        let bytes = message(Kind::Return, 3, Some(7), target, "v", 1, &body.0);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]).unwrap(), None, "{cut}");
        }
        let (read, _) = parse(&bytes).unwrap().unwrap();
        assert_eq!((read.reply_to, read.fds), (7, 1));
        assert_eq!(read.body.variant_u64().unwrap(), 30_000_000);
        assert!(read.body.text().is_err());
        let said = call(2, target, &[Arg::Text("some text"), Arg::Number(-1)]);
        let (read, _) = parse(&said).unwrap().unwrap();
        assert_eq!(read.body.text().unwrap(), "some text");
    }

    #[test]
    fn properties_are_laid_out_as_the_protocol_says() {
        let properties = [("A", Value::Number(7)), ("Bcd", Value::Truth(true))];
        let arguments = [Arg::Text("x"), Arg::Properties(&properties), Arg::NoUnits];
        let (read, _) = parse(&call(1, Target::default(), &arguments)).unwrap().unwrap();
        let expected: [&[u8]; 7] = [
            &[1, 0, 0, 0, b'x', 0, 0, 0],
            // How long the array is, and where its first structure begins.
            &[40, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0],
            &[7, 0, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, b'B', b'c', b'd', 0, 1, b'b', 0, 0, 1, 0, 0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0],
        ];
        assert_eq!(read.body.0, expected.concat());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse(&[b'B'; 16]).is_err());
        let mut huge = call(1, Target::default(), &[]);
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse(&huge).is_err());
        assert!(Body(vec![1, 2]).boolean().is_err());
    }
}
