//! Memory of large answers, kept for those that come next: where it is mapped anew for each, to fill it with pages takes
//! as long as to write the answer.
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;

/// Shorter answers have their memory from the allocator, which keeps such pieces itself.
const BYTES_MIN: usize = 48 * 1024;
/// Longer ones give theirs back.
const BYTES_MAX: usize = 1024 * 1024;
/// As many as are on their way at a time.
const KEPT_MAX: usize = 8;
/// What nobody asks for in this time is given back.
const KEPT_FOR: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    free: Vec<Vec<u8>>,
    /// One was asked for since it was last looked at.
    is_asked: bool,
    /// Somebody looks.
    is_watched: bool,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffers {
    /// Makes room for so many bytes more.
    pub fn reserve(&self, bytes: &mut Vec<u8>, more: usize) {
        let length = bytes.len().saturating_add(more);
        if length <= bytes.capacity() {
            return;
        }
        let grown = length.max(2 * bytes.capacity());
        if grown > BYTES_MIN
            && bytes.capacity() <= BYTES_MIN
            && let Some(mut kept) = self.take()
        {
            kept.extend_from_slice(bytes);
            *bytes = kept;
        }
        bytes.reserve(more);
    }

    fn take(&self) -> Option<Vec<u8>> {
        let mut kept = lock(&self.0);
        kept.is_asked = true;
        kept.free.pop()
    }

    /// An answer that is written: its memory comes back when it has been sent.
    pub fn sent(&self, bytes: Vec<u8>) -> Bytes {
        if !(BYTES_MIN + 1..=BYTES_MAX).contains(&bytes.capacity()) {
            return bytes.into();
        }
        Bytes::from_owner(Lent {
            bytes,
            home: self.clone(),
        })
    }

    fn put(&self, mut bytes: Vec<u8>) {
        // Without a runtime nobody would give it back.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        bytes.clear();
        let mut kept = lock(&self.0);
        if kept.free.len() < KEPT_MAX {
            kept.free.push(bytes);
        }
        if !std::mem::replace(&mut kept.is_watched, true) {
            runtime.spawn(give_back(Arc::downgrade(&self.0)));
        }
    }
}

async fn give_back(home: Weak<Mutex<Kept>>) {
    loop {
        tokio::time::sleep(KEPT_FOR).await;
        let Some(home) = home.upgrade() else {
            return;
        };
        let mut kept = lock(&home);
        if !std::mem::take(&mut kept.is_asked) {
            *kept = Kept::default();
            return;
        }
    }
}

/// On its way to a client.
struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(buffers: &Buffers) -> Vec<usize> {
        lock(&buffers.0).free.iter().map(Vec::capacity).collect()
    }

    fn written(buffers: &Buffers, length: usize) -> Bytes {
        let mut bytes = Vec::new();
        for n in 0..length {
            buffers.reserve(&mut bytes, 1);
            bytes.push(n as u8);
        }
        buffers.sent(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_large_answers_is_used_again_and_given_back_when_there_are_none() {
        let buffers = Buffers::default();
        let answer = written(&buffers, 100_000);
        assert!(answer.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        let (place, rest) = (answer.as_ptr(), answer.slice(10..));
        drop(answer);
        assert_eq!(
            kept(&buffers),
            Vec::<usize>::new(),
            "a part of it is still to be sent"
        );
        drop(rest);
        assert_eq!(kept(&buffers).len(), 1);
        let again = written(&buffers, 60_000);
        assert!(again.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        assert_eq!(again.as_ptr(), place);
        drop(again);
        assert_eq!(kept(&buffers).len(), 1);
        tokio::time::sleep(KEPT_FOR * 3).await;
        assert_eq!(kept(&buffers), Vec::<usize>::new());
        drop(written(&buffers, 100_000));
        tokio::time::sleep(KEPT_FOR * 3).await;
        assert_eq!(kept(&buffers), Vec::<usize>::new(), "nor the next time");
    }

    #[tokio::test]
    async fn neither_short_nor_huge_answers_are_kept_and_only_so_many() {
        let buffers = Buffers::default();
        drop(written(&buffers, 1000));
        drop(buffers.sent(vec![0; BYTES_MAX + 1]));
        assert_eq!(kept(&buffers), Vec::<usize>::new());
        let many: Vec<Bytes> = (0..=KEPT_MAX).map(|_| buffers.sent(vec![0; 100_000])).collect();
        drop(many);
        assert_eq!(kept(&buffers).len(), KEPT_MAX);
    }

    #[test]
    fn without_a_runtime_nothing_is_kept() {
        let buffers = Buffers::default();
        drop(buffers.sent(vec![0; 100_000]));
        assert_eq!(kept(&buffers), Vec::<usize>::new());
    }
}
