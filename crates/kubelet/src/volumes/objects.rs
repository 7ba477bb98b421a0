//! The objects volumes are made of: read now, watched from then on.
use super::watched::Watched;
use crate::environment::objects::{Content, FetchError, ObjectKind, Shelf, fetch};

/// Reads objects for one pod.
pub struct Objects<'a> {
    pub shelf: Shelf<'a>,
    pub watched: &'a Watched,
    pub uid: &'a str,
    pub namespace: &'a str,
}

impl Objects<'_> {
    /// What is in an object. Optional ones that are not there are empty.
    pub async fn content(&self, kind: ObjectKind, name: &str, optional: bool) -> Result<Content, FetchError> {
        let answer = fetch(self.shelf, kind, self.namespace, name).await;
        match &answer {
            Ok(content) if content.immutable => {}
            Ok(content) => self.watch(kind, name, content.resource_version.clone()),
            // Waiting for it to appear is what a watch does best.
            Err(FetchError::NotFound { .. }) => self.watch(kind, name, None),
            Err(_) => {}
        }
        match answer {
            Err(error) if optional && error.is_absent() => Ok(Content::default()),
            other => other,
        }
    }

    fn watch(&self, kind: ObjectKind, name: &str, seen: Option<String>) {
        match self.shelf {
            Shelf::Api(_) => self.watched.watch(self.uid, kind, self.namespace, name, seen),
            Shelf::Node(local) => {
                self.watched
                    .watch_local(local, self.uid, (kind, self.namespace, name), seen)
            }
        }
    }
}
