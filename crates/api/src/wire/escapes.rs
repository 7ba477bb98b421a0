//! Texts as Go's encoder writes them.

use std::io::{self, Write};

use serde_json::ser::{CharEscape, Formatter};

/// Escapes what Go's encoder escapes besides what must be: `<`, `>`, `&`, U+2028 and U+2029. ControllerRevisions depend on
/// it: their bytes are compared.
pub struct GoEscapes<F>(pub F);

impl<F: Formatter> Formatter for GoEscapes<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut from = 0;
        while let Some(at) = special(fragment, from) {
            writer.write_all(&fragment.as_bytes()[from..at])?;
            let special = fragment[at..].chars().next().unwrap_or_default();
            write!(writer, "\\u{:04x}", special as u32)?;
            from = at + special.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[from..])
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// Where the next character from `from` on is that Go escapes besides those that must be.
#[inline]
fn special(text: &str, from: usize) -> Option<usize> {
    /// The first byte of U+2028 and U+2029, and of others.
    const SEPARATOR: u8 = 0xe2;
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += bytes[at..]
            .iter()
            .position(|byte| matches!(*byte, b'<' | b'>' | b'&' | SEPARATOR))?;
        if bytes[at] != SEPARATOR || text[at..].starts_with(['\u{2028}', '\u{2029}']) {
            return Some(at);
        }
        at += 1;
    }
}
