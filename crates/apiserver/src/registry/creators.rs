//! What creators of objects like the last ones own: controllers make thousands that differ in names alone, and taking each
//! apart for the list of who owns its fields is a fifth of the work of making it.
use crate::resources::Resource;
use bytes::Bytes;
use orlop_api::apply::{self, Type};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

/// Creators of different kinds that are remembered; those that were met last.
const REMEMBERED_MAX: usize = 32;
/// Lists longer than this are of objects too large to keep another of.
const LIST_BYTES_MAX: usize = 8 * 1024;
/// A creator whose objects weren't like the last one for so long …
const UNLIKE_MAX: u32 = 4;
/// … is looked at anew only each so many objects: keeping one costs a copy of it.
const LOOK_AGAIN: u32 = 16;
/// What a list of one entry ends with: its time.
const TIME: &str = r#""time":""#;
const END: &str = r#""}]"#;

/// The last object that a manager made of a kind.
struct Last {
    resource: &'static Resource,
    manager: Box<str>,
    /// The object, and its list up to the time, unless that is not worth it.
    made: Option<Arc<(Value, Box<str>)>>,
    /// How many since then were not like it.
    unlike: u32,
}

/// By when they were met, the latest first.
static LAST: LazyLock<Mutex<VecDeque<Last>>> = LazyLock::new(Mutex::default);

/// The list of a new object of a built-in kind as it is written; `make` makes it where none is known.
pub fn list(
    resource: &'static Resource,
    manager: &str,
    object: &Value,
    ty: Type<'_>,
    now: &str,
    make: impl FnOnce() -> Option<Bytes>,
) -> Option<Bytes> {
    let known = note(resource, manager, |last| last.made.clone());
    if let Some(known) = known
        && apply::alike(&known.0, object, ty)
    {
        note(resource, manager, |last| last.unlike = 0);
        return Some([&*known.1, now, END].concat().into());
    }
    let list = make()?;
    note(resource, manager, |last| {
        last.unlike = last.unlike.saturating_add(1);
        if last.unlike <= UNLIKE_MAX || last.unlike.is_multiple_of(LOOK_AGAIN) {
            let before = before_time(&list, now.len()).filter(|before| before.len() <= LIST_BYTES_MAX);
            last.made = before.map(|before| Arc::new((object.clone(), before.into())));
        }
    });
    Some(list)
}

/// What `note` makes of the memory of a creator; the one that was met longest ago is forgotten if there are too many.
fn note<T>(resource: &'static Resource, manager: &str, note: impl FnOnce(&mut Last) -> T) -> T {
    let mut all = LAST.lock();
    let is_of = |last: &Last| std::ptr::eq(last.resource, resource) && *last.manager == *manager;
    let known = all.iter().position(is_of).and_then(|at| all.remove(at));
    let mut last = known.unwrap_or_else(|| Last {
        resource,
        manager: manager.into(),
        made: None,
        unlike: 0,
    });
    let noted = note(&mut last);
    all.push_front(last);
    all.truncate(REMEMBERED_MAX);
    noted
}

/// What stands before the time of a list's only entry, which is so long and comes last.
fn before_time(list: &[u8], length: usize) -> Option<&str> {
    let list = std::str::from_utf8(list).ok()?.strip_suffix(END)?;
    let before = list.get(..list.len().checked_sub(length)?)?;
    before.ends_with(TIME).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use serde_json::json;

    fn made(object: &Value, manager: &str, now: &str, fields: &str) -> (String, bool) {
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let mut asked = false;
        let make = || {
            asked = true;
            Some(Bytes::from(format!(
                r#"[{{"fieldsV1":{fields},"time":"{now}"}}]"#
            )))
        };
        let ty = Type::of_kind("v1", "ConfigMap").unwrap();
        let list = list(resource, manager, object, ty, now, make).unwrap();
        (String::from_utf8(list.to_vec()).unwrap(), asked)
    }

    #[test]
    fn the_list_of_an_object_like_the_last_is_that_with_another_time() {
        let map =
            |name: &str, key: &str, value: &str| json!({"metadata": {"name": name}, "data": {key: value}});
        let first = made(&map("a", "k", "1"), "alike", "2026-01-01T00:00:00Z", "{1}");
        assert_eq!(
            first,
            (
                r#"[{"fieldsV1":{1},"time":"2026-01-01T00:00:00Z"}]"#.to_owned(),
                true
            )
        );
        let second = made(&map("b", "k", "2"), "alike", "2026-01-01T00:00:05Z", "{2}");
        assert_eq!(
            second,
            (
                r#"[{"fieldsV1":{1},"time":"2026-01-01T00:00:05Z"}]"#.to_owned(),
                false
            )
        );
        assert!(
            made(&map("b", "l", "2"), "alike", "2026-01-01T00:00:05Z", "{3}").1,
            "another key"
        );
        assert!(
            made(&map("b", "l", "2"), "other", "2026-01-01T00:00:05Z", "{3}").1,
            "another manager"
        );
        assert!(
            made(&map("b", "l", ""), "other", "2026-01-01T00:00:05Z", "{3}").1,
            "nothing in it"
        );
    }

    #[test]
    fn only_one_entry_with_its_time_at_the_end_is_known_again() {
        let now = "2026-01-01T00:00:00Z";
        let before = |list: &str| before_time(list.as_bytes(), now.len()).map(str::to_owned);
        let list = format!(r#"[{{"manager":"m","time":"{now}"}}]"#);
        assert_eq!(before(&list).as_deref(), Some(r#"[{"manager":"m","time":""#));
        assert_eq!(before(r#"[{"manager":"2026-01-01T00:00:00Z"}]"#), None);
        assert_eq!(before("[]"), None);
    }
}
