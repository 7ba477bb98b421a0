//! What the cache shows of an object that is to be written is a hint: with several servers on one store, it may be behind
//! what a client has learnt from another one. Nothing is refused by a hint alone.
use crate::ApiServer;
use crate::cache::{Object, StorageId};
use crate::status::ApiError;

/// How sure it is that the cache shows what is stored.
#[derive(Debug, Default)]
pub struct Hint {
    is_sure: bool,
}

impl Hint {
    /// Whether what was seen may have been old: then the cache has seen meanwhile all that was stored when this was called,
    /// and it is worth looking again. Once is enough.
    pub async fn may_be_old(&mut self, server: &ApiServer) -> Result<bool, ApiError> {
        if std::mem::replace(&mut self.is_sure, true) {
            return Ok(false);
        }
        server.reach_now().await?;
        Ok(true)
    }

    /// Whether there is another version by now, or nothing, where what was seen may have been old.
    pub async fn was_old(
        &mut self,
        server: &ApiServer,
        storage: StorageId,
        seen: &Object,
    ) -> Result<bool, ApiError> {
        Ok(self.may_be_old(server).await? && !server.cache.is_at(storage, &seen.key, seen.revision))
    }
}
