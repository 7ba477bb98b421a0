//! What a watch has to tell its client. It is written when there is room to send it, and not before: what is written is one
//! watch's alone, while what waits for that is in the cache.
use crate::cache::{Change, Object};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;

/// Small events that come together are sent together, up to this: a frame and a record of every client's size.
const FRAME_BYTES: usize = 16 * 1024 - 256;

/// What has not been written yet.
pub enum Waiting {
    /// An object that was there when the watch began.
    Present(Arc<Object>),
    /// There are no more of those, at this revision.
    Whole(u64),
    Change(Arc<Change>),
}

/// Events in the client's form, and how many bytes they are.
#[derive(Default)]
pub struct Written {
    events: VecDeque<Bytes>,
    bytes: usize,
}

impl Written {
    pub fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let event = self.events.pop_front()?;
        self.bytes -= event.len();
        Some(event)
    }
}

impl Extend<Bytes> for Written {
    fn extend<I: IntoIterator<Item = Bytes>>(&mut self, events: I) {
        events.into_iter().for_each(|event| self.push(event));
    }
}

/// See the module.
#[derive(Default)]
pub struct Outgoing {
    waiting: VecDeque<Waiting>,
    /// Whoever writes an event puts it here.
    pub written: Written,
}

impl Outgoing {
    /// Takes what is to be told behind all that waits already.
    pub fn wait(&mut self, more: impl IntoIterator<Item = Waiting>) {
        self.waiting.extend(more);
    }

    /// What is to be written next; nothing while there is enough for a frame.
    pub fn next_to_write(&mut self) -> Option<Waiting> {
        if self.written.bytes >= FRAME_BYTES {
            return None;
        }
        let next = self.waiting.pop_front();
        if next.is_none() {
            // A watch that began with many objects waits as small as any other.
            self.waiting = VecDeque::new();
        }
        next
    }

    /// The next bytes to send: an event, or several small ones unless each is to be `apart`.
    pub fn frame(&mut self, apart: bool) -> Option<Bytes> {
        let first = self.written.pop()?;
        if apart {
            return Some(first);
        }
        if self.written.events.is_empty() {
            self.written = Written::default();
            return Some(first);
        }
        let mut size = first.len();
        let fitting = self.written.events.iter().take_while(|next| {
            size += next.len();
            size <= FRAME_BYTES
        });
        let count = fitting.count();
        if count == 0 {
            return Some(first);
        }
        let mut frame = BytesMut::with_capacity(FRAME_BYTES);
        frame.extend_from_slice(&first);
        let more = std::iter::from_fn(|| self.written.pop()).take(count);
        more.for_each(|next| frame.extend_from_slice(&next));
        Some(frame.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch of 100 events, each of that many bytes, which are its number; how many were written before each frame.
    fn sent(bytes: usize, apart: bool) -> Vec<(Bytes, usize)> {
        let mut outgoing = Outgoing::default();
        outgoing.wait((0..100).map(Waiting::Whole));
        let (mut frames, mut count) = (Vec::new(), 0);
        loop {
            while let Some(Waiting::Whole(number)) = outgoing.next_to_write() {
                outgoing.written.push(vec![number as u8; bytes].into());
                count += 1;
            }
            let Some(frame) = outgoing.frame(apart) else { break };
            frames.push((frame, count));
        }
        assert_eq!((outgoing.waiting.capacity(), outgoing.written.bytes), (0, 0));
        frames
    }

    #[test]
    fn events_are_written_a_frame_ahead_and_sent_in_their_order() {
        let all = |bytes: usize| {
            (0..100)
                .flat_map(|number| vec![number; bytes])
                .collect::<Vec<u8>>()
        };
        for (bytes, apart) in [(300, false), (300, true), (6000, false), (50_000, false)] {
            let frames = sent(bytes, apart);
            let mut before = 0;
            for (frame, written) in &frames {
                let ahead = written * bytes - before;
                assert!(ahead <= FRAME_BYTES + bytes, "{bytes} {ahead}");
                before += frame.len();
                assert!(frame.len() == bytes || !apart && frame.len() <= FRAME_BYTES);
            }
            let together: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.to_vec()).collect();
            assert_eq!(together, all(bytes));
        }
    }
}
