//! Texts that many objects have in common, each once for the whole process, as long as anybody has it.
use parking_lot::Mutex;
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

static ALL: LazyLock<Mutex<HashSet<Arc<[u8]>>>> = LazyLock::new(Mutex::default);

/// One of them; there is always one, until it is dropped.
#[derive(Debug, Clone)]
pub struct Common(Option<Arc<[u8]>>);

impl Common {
    /// The one that reads so.
    pub fn of(text: &[u8]) -> Self {
        let mut all = ALL.lock();
        if let Some(known) = all.get(text) {
            return Self(Some(known.clone()));
        }
        let new: Arc<[u8]> = text.into();
        all.insert(new.clone());
        Self(Some(new))
    }

    /// Whether nobody else has it now.
    pub fn is_alone(&self) -> bool {
        // The table has it as well.
        self.0.as_ref().is_some_and(|text| Arc::strong_count(text) <= 2)
    }
}

impl Deref for Common {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        let Some(text) = self.0.take() else { return };
        // It goes while nobody else can get it from the table.
        let mut all = ALL.lock();
        if Arc::strong_count(&text) == 2 {
            all.remove(&*text);
            if all.len() < all.capacity() / 8 {
                all.shrink_to_fit();
            }
        }
        drop(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_as_long_as_it_is_used() {
        let text = b"a text that no other test has in common with this one";
        let is_known = || ALL.lock().contains(text.as_slice());
        let one = Common::of(text);
        assert!(one.is_alone());
        let two = Common::of(text);
        assert!(!one.is_alone() && !two.is_alone());
        assert!(std::ptr::eq(&*one, &*two));
        let three = two.clone();
        drop(one);
        drop(two);
        assert!(is_known() && *three == *text);
        drop(three);
        assert!(!is_known());
    }
}
