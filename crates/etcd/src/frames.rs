//! The frames of one direction of a connection of HTTP/2, met on their way past however they are cut.

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the payload behind it.
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

/// What the bytes are that were gone over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Of the preface or of a head, or nothing of HTTP/2.
    Other,
    /// The end of a head.
    Head(Head),
    /// Of the frame whose head was met last.
    Payload,
}

/// How far a direction has been followed.
#[derive(Debug)]
pub struct Frames {
    /// Bytes of the preface that have been seen, in the direction that begins with one.
    preface: Option<usize>,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    payload_left: u32,
    /// Something else than HTTP/2.
    is_other: bool,
}

impl Frames {
    /// What a client sends.
    pub fn of_client() -> Self {
        Self {
            preface: Some(0),
            ..Self::of_server()
        }
    }

    /// What a server sends, of which it is known that it is HTTP/2.
    pub fn of_server() -> Self {
        Self {
            preface: None,
            header: [0; HEADER_BYTES],
            header_len: 0,
            payload_left: 0,
            is_other: false,
        }
    }

    /// Whether the preface has been seen.
    pub fn is_http2(&self) -> bool {
        self.preface.is_none() && !self.is_other
    }

    /// Whether no frame has been begun and not ended.
    pub fn is_between(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0
    }

    /// Shows `meet` the frames that begin in these bytes.
    pub fn pass(&mut self, mut bytes: &[u8], mut meet: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let (passed, part) = self.step(bytes);
            bytes = bytes.get(passed..).unwrap_or_default();
            if let Part::Head(head) = part {
                meet(head);
            }
        }
    }

    /// Goes over the first of these bytes, at least one if there are any: how many, and what they are.
    pub fn step(&mut self, bytes: &[u8]) -> (usize, Part) {
        let Some(first) = bytes.first().filter(|_| !self.is_other) else {
            return (bytes.len(), Part::Other);
        };
        if let Some(seen) = self.preface {
            self.is_other = PREFACE.get(seen) != Some(first);
            self.preface = (seen + 1 < PREFACE.len()).then_some(seen + 1);
            return (1, Part::Other);
        }
        if self.payload_left > 0 {
            let passed = bytes.len().min(self.payload_left as usize);
            self.payload_left -= passed as u32;
            return (passed, Part::Payload);
        }
        self.header[self.header_len] = *first;
        self.header_len += 1;
        if self.header_len < HEADER_BYTES {
            return (1, Part::Other);
        }
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.header_len = 0;
        self.payload_left = u32::from_be_bytes([0, a, b, c]);
        let head = Head {
            length: self.payload_left,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        };
        (1, Part::Head(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_met_wherever_a_read_ends() {
        let mut sent = PREFACE.to_vec();
        let frames = [(4, 0, 0, 0), (1, 5, 3, 20), (6, 0, 0, 8), (0, 1, 3, 300)];
        for (kind, flags, stream, len) in frames {
            sent.extend([0, (len >> 8) as u8, len as u8, kind, flags, 0x80, 0, 0, stream]);
            sent.extend(vec![0x55; len]);
        }
        for size in 1..sent.len() {
            let (mut walk, mut met) = (Frames::of_client(), Vec::new());
            for piece in sent.chunks(size) {
                walk.pass(piece, |head| {
                    met.push((head.kind, head.flags, head.stream, head.length))
                });
            }
            let expected =
                frames.map(|(kind, flags, stream, len)| (kind, flags, u32::from(stream), len as u32));
            assert_eq!(met, expected, "pieces of {size}");
            assert!(walk.is_http2() && walk.is_between());
            walk.pass(&[0], |_| {});
            assert!(!walk.is_between());
        }
    }

    #[test]
    fn what_is_not_http_2_has_no_frames() {
        let mut walk = Frames::of_client();
        walk.pass(b"PRI * HTTP/1.1\r\n\r\n whatever else comes", |_| {
            panic!("a frame")
        });
        assert!(!walk.is_http2());
    }
}
