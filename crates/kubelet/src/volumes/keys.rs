//! Which keys of an object become which files.
use super::Fault;
use super::atomic::{File, Files};
use crate::environment::objects::{Content, ObjectKind};
use k8s_openapi::api::core::v1::KeyToPath;

/// The mode of files when nothing says otherwise.
pub const MODE_DEFAULT: i32 = 0o644;

/// A file with a mode as manifests give it.
pub fn file(data: Vec<u8>, mode: i32) -> File {
    File {
        data,
        mode: u32::try_from(mode).unwrap_or(0o644) & 0o777,
        owner: None,
    }
}

/// All keys, or those `items` names.
pub fn files(
    kind: ObjectKind,
    content: &Content,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<Files, Fault> {
    let mode = default_mode.unwrap_or(MODE_DEFAULT);
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(content
            .data
            .iter()
            .map(|(key, data)| (key.clone(), file(data.clone(), mode)))
            .collect());
    };
    let mut files = Files::new();
    for item in items {
        match content.data.get(&item.key) {
            Some(data) => {
                files.insert(item.path.clone(), file(data.clone(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(Fault::Invalid(missing_text(kind, &item.key))),
        }
    }
    Ok(files)
}

fn missing_text(kind: ObjectKind, key: &str) -> String {
    match kind {
        ObjectKind::ConfigMap => format!("configmap references non-existent config key: {key}"),
        ObjectKind::Secret => format!("references non-existent secret key: {key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e13_items_modes_and_missing_keys() {
        let data = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())].into();
        let content = Content {
            data,
            ..Content::default()
        };
        let all = files(ObjectKind::Secret, &content, None, Some(0o400), false).unwrap();
        assert_eq!(all["a"].mode, 0o400);
        assert_eq!(all.len(), 2);
        let item = |key: &str, mode| KeyToPath {
            key: key.into(),
            path: format!("d/{key}"),
            mode,
        };
        let some = files(
            ObjectKind::Secret,
            &content,
            Some(&[item("b", Some(0o440))]),
            None,
            false,
        )
        .unwrap();
        assert_eq!(some["d/b"], file(b"2".to_vec(), 0o440));
        for (kind, want) in [
            (
                ObjectKind::ConfigMap,
                "configmap references non-existent config key: k",
            ),
            (ObjectKind::Secret, "references non-existent secret key: k"),
        ] {
            let items = [item("k", None)];
            let fault = files(kind, &content, Some(&items), None, false).unwrap_err();
            assert_eq!(fault.to_string(), want);
            assert!(
                files(kind, &content, Some(&items), None, true)
                    .unwrap()
                    .is_empty()
            );
        }
    }
}
