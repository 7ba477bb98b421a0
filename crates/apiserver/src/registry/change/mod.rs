//! What every write to an existing object shares: restore what the part may not touch, admit, validate,
//! write only what differs, and only over the version that was read (contract §6, §7.3).
mod parts;

use super::hint::Hint;
use super::identity::{self, Repeated};
use super::{allocation, get, ownership, quota, scale};
use crate::admission::{self, Admission, Attempt, Operation};
use crate::cache::{Object, StorageId};
use crate::custom;
use crate::encode;
use crate::http::Call;
use crate::resources::Resource;
use crate::status::{ApiError, cause};
use bytes::Bytes;
use orlop_store::{Compare, Op, Revision, Txn};
use parts::{restore_metadata, spec_differs};
use serde_json::{Value, json};
use std::sync::Arc;

/// Attempts against concurrent writers before the client is told of the conflict. Of N writers at once
/// one wins each round, so this is also how many may collide without anybody noticing.
const ATTEMPTS_MAX: usize = 32;

/// Which part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
    /// `spec.finalizers` of a namespace.
    Finalize,
    /// Conditions of a certificate signing request.
    Approval,
    EphemeralContainers,
    /// Processor time and memory of a pod's containers.
    Resize,
    /// `spec.replicas`, through a Scale.
    Scale,
    /// `spec.nodeName`, through a Binding.
    Binding,
}

impl Part {
    pub fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
            Self::Scale => "scale",
            Self::Binding => "binding",
        }
    }
}

/// How a change tells who owns the fields it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// By comparing before and after.
    Update,
    /// The new object brings its managed fields.
    Applied,
}

/// One change to an existing object.
pub struct Change<'c> {
    pub call: &'c Call,
    pub part: Part,
    pub name: &'c str,
    pub dry_run: bool,
    /// PUTs name a foreign uid as a conflict, patches as an invalid value.
    pub is_put: bool,
    pub tracking: Tracking,
    pub admission: Admission,
    /// Whether `make` looks at who owns the fields of the present object: what it makes of the rest of it doesn't depend on
    /// that otherwise.
    pub sees_owners: bool,
}

/// What a change came to.
pub enum Outcome {
    /// The object as it is now.
    Stored(Arc<Object>),
    /// What it would be, had this not been a dry run.
    Would(Value),
}

impl Change<'_> {
    /// Applies `make` to the present object until it could be written. `Ok(None)`: there is no object.
    pub async fn apply(
        &self,
        make: impl Fn(&Value) -> Result<Value, ApiError>,
    ) -> Result<Option<Outcome>, ApiError> {
        let server = &self.call.server;
        let storage = get::storage(self.call)?;
        let stored_as = server.cache.resource(storage);
        let namespace = if stored_as.namespaced {
            &self.call.info.namespace
        } else {
            ""
        };
        let key = stored_as.key(namespace, self.name);
        let store_key = stored_as.store_key(&key);
        let mut hint = Hint::default();
        for _ in 0..ATTEMPTS_MAX {
            let Some(current) = server.cache.get(storage, &key) else {
                if hint.may_be_old(server).await? {
                    continue;
                }
                get::readable(self.call, storage, &key)?;
                return Ok(None);
            };
            let seen = custom::one_in_form(server, self.call.resource, current.clone()).await?;
            let apart = self.keeps_owners_apart() && current.is_seen_as(stored_as);
            let (old, stored_list) = match apart {
                true => seen.value_and_managed(),
                false => (seen.value(), None),
            };
            let mut managed = stored_list.clone();
            let prepared = match make(&old) {
                Ok(new) => {
                    let owners = apart.then_some(&mut managed);
                    self.prepare(new, &old, &current, owners).await
                }
                Err(error) => Err(error),
            };
            let mut new = match prepared {
                Ok(new) => new,
                Err(error) => {
                    if hint.was_old(server, storage, &current).await? {
                        continue;
                    }
                    return Err(error);
                }
            };
            let guards = allocation::allocate(self.call, &mut new).await?;
            self.admit_final(&mut new, &old).await?;
            let subresource = self.part.subresource();
            let charge = quota::charge(self.call, Operation::Update, subresource, &new, Some(&old)).await?;
            if self.dry_run {
                return Ok(Some(Outcome::Would(new)));
            }
            let gone = is_finished(self.call.resource, &new);
            let head = encode::head(stored_as);
            let stored = |new: &Value, managed: Option<&Bytes>| {
                encode::stored_managed(&head, new, managed.map(AsRef::as_ref))
            };
            let is_same = new == old && managed == stored_list && current.is_seen_as(stored_as);
            let bytes = if !gone && is_same {
                None
            } else {
                new = custom::converted(server, stored_as, new).await?;
                Some(stored(&new, managed.as_ref()))
            };
            let same = bytes.as_ref().is_none_or(|bytes| current.is_stored_as(bytes));
            if !gone && same && !server.is_stale(&store_key).await? {
                return Ok(Some(Outcome::Stored(current)));
            }
            let mut bytes = bytes.unwrap_or_else(|| stored(&new, managed.as_ref()));
            let lease = match gone {
                true => None,
                false => server.lease_for(stored_as).await?,
            };
            let guards: Vec<_> = guards.into_iter().chain(charge.guards).collect();
            let write = |bytes: &Bytes| {
                let when = Txn::when(Compare::mod_revision(&store_key, Revision(current.revision)));
                let mut txn = when.without_previous().then(match gone {
                    true => Op::delete(&store_key),
                    false => Op::put(&store_key, bytes.clone(), lease),
                });
                for guard in &guards {
                    txn.compare.push(guard.compare.clone());
                    txn.success.push(guard.put.clone());
                }
                server.store.txn(txn)
            };
            let answer = match write(&bytes).await.map_err(ApiError::from) {
                // The object is worth more than the list of who made it.
                Err(error)
                    if error.is_too_large_to_store()
                        && self.tracking == Tracking::Update
                        && (managed.take().is_some() || ownership::take(&mut new).is_some()) =>
                {
                    bytes = stored(&new, None);
                    write(&bytes).await?
                }
                answer => answer?,
            };
            server.cache.reach(answer.revision.0).await;
            if !answer.succeeded {
                // Somebody else wrote meanwhile; a version the client named fails in `prepare`.
                continue;
            }
            let object = written(
                self.call,
                storage,
                stored_as,
                &key,
                &bytes,
                answer.revision.0,
                false,
            )?;
            return Ok(Some(Outcome::Stored(object)));
        }
        Err(ApiError::stale(self.call.resource, self.name))
    }

    /// Whether nobody looks at who owns the fields while the object is changed.
    fn keeps_owners_apart(&self) -> bool {
        let is_usual = matches!(self.part, Part::Main | Part::Status)
            && self.tracking == Tracking::Update
            && !self.sees_owners
            && !self.dry_run
            && !(self.admission == Admission::Due && admission::asks_others(self.call));
        // A binding makes nobody the owner of anything.
        self.part == Part::Binding || is_usual
    }

    /// The new object as it is written. `owners`: the list of who owns which field as it is written, where it is in neither
    /// tree: it is about half of a pod, and most writes only copy it.
    async fn prepare(
        &self,
        mut new: Value,
        old: &Value,
        current: &Object,
        owners: Option<&mut Option<Bytes>>,
    ) -> Result<Value, ApiError> {
        let resource = self.call.resource;
        let rules = &resource.rules;
        let version = identity::text(&new, "resourceVersion");
        if !version.is_empty() && version != "0" {
            let version: u64 = version.parse().map_err(|_| {
                ApiError::untyped(format!("strconv.ParseUint: parsing {version:?}: invalid syntax"))
            })?;
            if version != current.revision {
                return Err(ApiError::stale(resource, self.name));
            }
        }
        self.check_uid(&new, old)?;
        let managed = ownership::take(&mut new);
        restore_metadata(&mut new, old);
        if self.is_put
            && let Some(warning) = identity::single_owners(&mut new, Repeated::Given)
        {
            self.call.warn(warning);
        }
        self.restore_parts(&mut new, old);
        match (self.tracking, managed) {
            // A binding makes nobody the owner of anything.
            (Tracking::Update, Some(managed)) if self.part == Part::Binding => {
                identity::metadata(&mut new).insert("managedFields".to_owned(), managed);
            }
            (Tracking::Update, _) if self.part == Part::Binding => {}
            (Tracking::Update, given) => match owners {
                None => ownership::updated(self.call, self.part, given, old, &mut new),
                Some(list) => {
                    *list = ownership::updated_list(self.call, self.part, given, list.take(), old, &new);
                }
            },
            (Tracking::Applied, Some(managed)) => {
                identity::metadata(&mut new).insert("managedFields".to_owned(), managed);
            }
            (Tracking::Applied, None) => {}
        }
        self.admit(&mut new, old).await?;
        if let Some(warning) = identity::single_owners(&mut new, Repeated::Admitted) {
            self.call.warn(warning);
        }
        match self.part {
            Part::Main => (rules.prepare_update)(&mut new, old),
            Part::Status => (rules.prepare_status)(&mut new, old),
            Part::Approval => crate::resources::stamp_decision(&mut new, old),
            _ => {}
        }
        if rules.generation && !matches!(self.part, Part::Status | Part::Binding) && spec_differs(&new, old) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
            new["metadata"]["generation"] = json!(generation);
        }
        let mut causes = identity::validate_change(resource, &new, old);
        causes.extend(match self.part {
            Part::Main | Part::Scale => (rules.validate_update)(&new, old),
            Part::Status => (rules.validate_status)(&new, old),
            Part::EphemeralContainers => crate::resources::pod_ephemeral(&new, old),
            Part::Resize => crate::resources::pod_resize(&new, old),
            Part::Approval => crate::resources::validate_approval(&new, old),
            Part::Finalize | Part::Binding => Vec::new(),
        });
        let written = match self.part {
            Part::Status => custom::Written::Status,
            _ => custom::Written::Whole,
        };
        causes.extend(custom::violations(resource, &new, Some(old), written));
        // Of kinds with generations, what was warned about when it was written is not warned about again.
        if self.part == Part::Main && (!rules.generation || spec_differs(&new, old)) {
            for warning in (rules.warnings)(&new) {
                self.call.warn(warning);
            }
        }
        if self.part == Part::Main {
            for warning in identity::warnings(resource, &new, Some(old)) {
                self.call.warn(warning);
            }
        }
        if !causes.is_empty() {
            return Err(ApiError::invalid(resource, self.name, causes));
        }
        Ok(new)
    }

    /// The mutating phase of admission.
    async fn admit(&self, new: &mut Value, old: &Value) -> Result<(), ApiError> {
        if self.admission == Admission::Passed {
            return Ok(());
        }
        if self.part != Part::Scale {
            let restore = |changed: &mut Value| self.restore(changed, old);
            let mut attempt = Attempt {
                restores: Some(&restore),
                ..self.attempt(new, old)
            };
            return admission::mutate(&mut attempt).await;
        }
        let (mut scale, old) = (scale::of(self.call, new), scale::of(self.call, old));
        admission::mutate(&mut self.attempt(&mut scale, &old)).await?;
        scale::set_replicas(self.call, new, scale::replicas(&scale));
        Ok(())
    }

    /// Puts back what others may not change either, when they changed something.
    fn restore(&self, new: &mut Value, old: &Value) {
        let managed = ownership::take(new);
        restore_metadata(new, old);
        self.restore_parts(new, old);
        if let Some(managed) = managed {
            identity::metadata(new).insert("managedFields".to_owned(), managed);
        }
    }

    /// The validating phase, once nothing more changes.
    async fn admit_final(&self, new: &mut Value, old: &Value) -> Result<(), ApiError> {
        if self.admission == Admission::Passed {
            return Ok(());
        }
        if self.part != Part::Scale {
            return admission::validate(&self.attempt(new, old)).await;
        }
        let (mut scale, old) = (scale::of(self.call, new), scale::of(self.call, old));
        admission::validate(&self.attempt(&mut scale, &old)).await
    }

    fn attempt<'a>(&'a self, new: &'a mut Value, old: &'a Value) -> Attempt<'a> {
        Attempt {
            subresource: self.part.subresource(),
            object: Some(new),
            old: Some(old),
            ..Attempt::new(self.call, Operation::Update, self.name, self.dry_run)
        }
    }

    fn check_uid(&self, new: &Value, old: &Value) -> Result<(), ApiError> {
        let (given, stored) = (identity::text(new, "uid"), identity::text(old, "uid"));
        if given.is_empty() || given == stored {
            return Ok(());
        }
        let resource = self.call.resource;
        if self.is_put {
            return Err(ApiError::conflict(
                resource.group,
                resource.plural,
                self.name,
                &format!("Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"),
            ));
        }
        Err(ApiError::invalid(
            resource,
            self.name,
            vec![cause::invalid(
                "metadata.uid",
                &json!(given),
                "field is immutable",
            )],
        ))
    }
}

/// A deletion that waited for finalizers is done when none is left.
fn is_finished(resource: &Resource, object: &Value) -> bool {
    if object["metadata"]["deletionTimestamp"].is_null() || !identity::finalizers(object).is_empty() {
        return false;
    }
    let held_by_spec = resource.plural == "namespaces"
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty());
    object["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .unwrap_or_default()
        == 0
        && !held_by_spec
}

/// The version a write made: the cache's own buffer when it is still the newest.
pub fn written(
    call: &Call,
    storage: StorageId,
    resource: &'static Resource,
    key: &str,
    stored: &[u8],
    revision: u64,
    created: bool,
) -> Result<Arc<Object>, ApiError> {
    match call.server.cache.get(storage, key) {
        Some(object) if object.revision == revision => Ok(object),
        _ => Object::from_stored(resource, key.into(), stored, revision, created)
            .map(Arc::new)
            .map_err(ApiError::internal),
    }
}
