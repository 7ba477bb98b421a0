//! A snapshot of whoever serves etcd's API.
use super::EtcdStore;
use crate::snapshot::{SnapshotError, SnapshotFile};
use std::io::Write;
use std::path::Path;

impl EtcdStore {
    /// Saves what the member has now.
    pub async fn snapshot(&self, file: &mut SnapshotFile) -> Result<(), SnapshotError> {
        let mut client = self.client.read().maintenance_client();
        let fail = |error| SnapshotError::from(self.fail(error));
        let mut stream = client.snapshot().await.map_err(fail)?;
        while let Some(part) = stream.message().await.map_err(fail)? {
            file.write_all(part.blob()).map_err(|source| SnapshotError::Io {
                path: Path::new("the snapshot").to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}
