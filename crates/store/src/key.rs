//! Keys: any bytes, in the order of their bytes.
use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// A key of the store: bytes of any kind. Kubernetes' are ASCII paths; etcd's clients may use others.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// As the end of a range: there is none. A single NUL, as in etcd's protocol; since an end is
    /// exclusive and no key is empty, no range needs it in its own meaning.
    pub const UNBOUNDED: Self = Self(Bytes::from_static(&[0]));

    /// The key as text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The first key behind this one.
    pub fn next(&self) -> Self {
        [self, [0].as_slice()].concat().into()
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// The exclusive end of the range of all keys that begin with `prefix`.
pub fn prefix_end(prefix: impl AsRef<[u8]>) -> Key {
    let mut end = prefix.as_ref().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Key::UNBOUNDED
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) if !text.contains(char::is_control) => f.write_str(text),
            _ => self.0.escape_ascii().fmt(f),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        key.as_bytes().into()
    }
}

impl From<&String> for Key {
    fn from(key: &String) -> Self {
        key.as_bytes().into()
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        key.into_bytes().into()
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(key))
    }
}

impl From<Vec<u8>> for Key {
    fn from(key: Vec<u8>) -> Self {
        Self(key.into())
    }
}

impl From<Bytes> for Key {
    fn from(key: Bytes) -> Self {
        Self(key)
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_of_its_length() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"/a", b"/b"),
            (b"/a/", b"/a0"),
            (b"a\xff", b"b"),
            (b"\xff\xff", b"\0"),
            (b"", b"\0"),
        ];
        for (prefix, end) in cases {
            assert_eq!(&*prefix_end(prefix), end, "{prefix:?}");
        }
    }

    #[test]
    fn a_key_is_shown_as_text_if_it_can_be() {
        assert_eq!(Key::from("/registry/pods/a").to_string(), "/registry/pods/a");
        assert_eq!(Key::from("k\u{e9}").to_string(), "k\u{e9}");
        assert_eq!(Key::from(b"a\xff\n".as_slice()).to_string(), "a\\xff\\n");
    }
}
