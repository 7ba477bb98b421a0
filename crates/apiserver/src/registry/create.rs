//! POST on a collection, and PUT where it may create (contract §7.1).
use super::allocation::{self, Guard};
use super::identity::{self, Repeated};
use super::{ownership, present, quota};
use crate::admission::{self, Attempt, Operation};
use crate::cache::Object;
use crate::custom;
use crate::encode;
use crate::http::{Answer, Call};
use crate::request::{self, WriteOptions};
use crate::status::ApiError;
use http::StatusCode;
use orlop_api::apply::Managed;
use orlop_store::{Compare, Op, Txn};
use serde_json::Value;
use std::sync::Arc;

/// Generated names are tried this often before the client is told that all were taken.
const NAME_ATTEMPTS_MAX: usize = 8;
/// Where pods are stored.
const PODS: &str = "pods";
/// Rounds against others who take addresses and ports at the same time.
const RACES_MAX: usize = 64;

pub async fn create(call: &Call) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let mut object = decode_plain(call, &options)?;
    // One that was read from another object is that one's: nothing is to follow from it.
    identity::metadata(&mut object).remove("uid");
    (call.resource.rules.default)(&mut object);
    create_object(call, object, &options, None).await
}

/// The request's body in stored form, defaulted, with warnings noted.
pub fn decode(call: &Call, options: &WriteOptions) -> Result<Value, ApiError> {
    let mut object = decode_plain(call, options)?;
    (call.resource.rules.default)(&mut object);
    Ok(object)
}

/// The same without defaults: enough for a status write, which keeps the stored spec.
pub fn decode_plain(call: &Call, options: &WriteOptions) -> Result<Value, ApiError> {
    let (resource, validation) = (call.resource, options.validation);
    let decoded = match resource.custom {
        Some(custom) => custom::decode(resource, custom, &call.headers, &call.body, validation)?,
        None => request::decode_object(resource, &call.headers, &call.body, validation)?,
    };
    for finding in decoded.findings {
        call.warn(finding);
    }
    let mut object = decoded.object;
    call.resource.store(&mut object);
    Ok(object)
}

/// Creates a decoded object. `managed`: who owns its fields, if that isn't simply the creator.
pub async fn create_object(
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
    managed: Option<&Managed>,
) -> Result<Answer, ApiError> {
    let resource = call.resource;
    let rules = &resource.rules;
    if resource
        .custom
        .is_some_and(|custom| custom.definition().terminating)
    {
        return Err(ApiError::definition_is_terminating(
            resource.group,
            resource.plural,
        ));
    }
    identity::settle_namespace(resource, &mut object, &call.info.namespace)?;
    identity::forget_server_fields(&mut object)?;
    if let Some(warning) = identity::single_owners(&mut object, Repeated::Given) {
        call.warn(warning);
    }
    // Who owns what is kept out of the tree where nobody looks at it.
    let apart = managed.is_none() && !options.dry_run && !admission::asks_others(call);
    let mut owners = match managed {
        Some(managed) => {
            ownership::put(&mut object, managed);
            None
        }
        None if apart => ownership::created_list(call, &object),
        None => {
            ownership::created(call, &mut object);
            None
        }
    };
    let given_name = identity::text(&object, "name").to_owned();
    admission::mutate(&mut Attempt {
        object: Some(&mut object),
        ..Attempt::new(call, Operation::Create, &given_name, options.dry_run)
    })
    .await?;
    if let Some(warning) = identity::single_owners(&mut object, Repeated::Admitted) {
        call.warn(warning);
    }
    identity::settle_namespace(resource, &mut object, &call.info.namespace)?;
    if resource.has_status()
        && !rules.keeps_status_on_create
        && let Some(object) = object.as_object_mut()
    {
        object.remove("status");
    }
    (rules.prepare_create)(&mut object);
    let (mut names, mut races) = (0, 0);
    // What a name or an address was given to is no object for another attempt. Nothing in pods follows from a generated
    // name: for another attempt they take another one.
    let is_changed = given_name.is_empty() || allocation::is_needed(resource);
    let is_copied = is_changed && resource.storage != PODS;
    loop {
        let mut attempt = if is_copied {
            object.clone()
        } else {
            std::mem::take(&mut object)
        };
        // One that is as it was tried before has its identity, from which other parts of it follow.
        if is_changed || names + races == 0 {
            identity::assign(resource, &mut attempt);
        }
        // What follows from the identity, such as a Job's selector, comes with the defaults.
        (rules.default)(&mut attempt);
        if names + races == 0 {
            validate(call, &attempt)?;
        }
        let guards = allocation::allocate(call, &mut attempt).await?;
        let name = identity::text(&attempt, "name").to_owned();
        admission::validate(&Attempt {
            object: Some(&mut attempt),
            ..Attempt::new(call, Operation::Create, &name, options.dry_run)
        })
        .await?;
        let charge = quota::charge(call, Operation::Create, "", &attempt, None).await?;
        if options.dry_run {
            return dry_run(call, attempt);
        }
        let guards: Vec<Guard> = guards.into_iter().chain(charge.guards).collect();
        let inserted = match insert(call, &attempt, owners.as_deref(), guards.clone()).await {
            // The object is worth more than the list of who made it.
            Err(error)
                if error.is_too_large_to_store()
                    && managed.is_none()
                    && (owners.take().is_some() || ownership::take(&mut attempt).is_some()) =>
            {
                insert(call, &attempt, None, guards).await?
            }
            inserted => inserted?,
        };
        match inserted {
            Inserted::Stored(stored) => {
                return present::object(call, StatusCode::CREATED, stored).await;
            }
            Inserted::Raced => races += 1,
            Inserted::NameTaken => names += 1,
        }
        if !is_copied {
            object = attempt;
            if given_name.is_empty() {
                identity::metadata(&mut object).remove("name");
            }
        }
        if names > 0 && !given_name.is_empty() {
            return Err(ApiError::already_exists(resource, &name));
        }
        if names >= NAME_ATTEMPTS_MAX {
            return Err(ApiError::names_exhausted(resource, &name));
        }
        if races >= RACES_MAX {
            return Err(ApiError::stale(resource, &name));
        }
    }
}

fn validate(call: &Call, object: &Value) -> Result<(), ApiError> {
    let rules = &call.resource.rules;
    let mut causes = identity::validate(call.resource, object);
    causes.extend((rules.validate_create)(object));
    causes.extend(custom::violations(
        call.resource,
        object,
        None,
        custom::Written::Whole,
    ));
    let metadata_warnings = identity::warnings(call.resource, object, None);
    for warning in metadata_warnings.into_iter().chain((rules.warnings)(object)) {
        call.warn(warning);
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        call.resource,
        identity::text(object, "name"),
        causes,
    ))
}

fn dry_run(call: &Call, mut object: Value) -> Result<Answer, ApiError> {
    let name = identity::text(&object, "name").to_owned();
    let key = call.resource.key(&call.info.namespace, &name);
    let storage = super::get::storage(call)?;
    if call.server.cache.get(storage, &key).is_some() {
        return Err(ApiError::already_exists(call.resource, &name));
    }
    call.resource.show(&mut object);
    present::value(call, StatusCode::CREATED, object)
}

/// What became of the write of a new object.
enum Inserted {
    Stored(Arc<Object>),
    NameTaken,
    /// Somebody else took something of what is given once at the same time.
    Raced,
}

/// `owners`: who owns its fields, where that isn't in its tree.
async fn insert(
    call: &Call,
    object: &Value,
    owners: Option<&[u8]>,
    guards: Vec<Guard>,
) -> Result<Inserted, ApiError> {
    let storage = super::get::storage(call)?;
    let resource = call.server.cache.resource(storage);
    let namespace = if resource.namespaced {
        &call.info.namespace
    } else {
        ""
    };
    let key = resource.key(namespace, identity::text(object, "name"));
    let lease = call.server.lease_for(resource).await?;
    let store_key = resource.store_key(&key);
    let converted;
    let object = match custom::has_form(resource, object) {
        true => object,
        false => {
            converted = custom::converted(&call.server, resource, object.clone()).await?;
            &converted
        }
    };
    let value = encode::stored_managed(&encode::head(resource), object, owners);
    let mut txn = Txn::when(Compare::mod_revision(&store_key, orlop_store::Revision(0)))
        .then(Op::put(&store_key, value.clone(), lease))
        .without_previous();
    let guarded = !guards.is_empty();
    for guard in guards {
        txn.compare.push(guard.compare);
        txn.success.push(guard.put);
    }
    let written = call.server.store.txn(txn).await?;
    // Read your writes: the next read of this client comes from the cache.
    call.server.cache.reach(written.revision.0).await;
    if !written.succeeded {
        let taken = !guarded || call.server.cache.get(storage, &key).is_some();
        return Ok(if taken {
            Inserted::NameTaken
        } else {
            Inserted::Raced
        });
    }
    super::change::written(call, storage, resource, &key, &value, written.revision.0, true)
        .map(Inserted::Stored)
}
