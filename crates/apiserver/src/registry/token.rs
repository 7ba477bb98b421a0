//! POST `serviceaccounts/{name}/token`: a token for an account (contract §15.4).
use super::{get, identity};
use crate::admission::{self, Attempt, Operation};
use crate::authn::{Accounts, Bound, Wanted};
use crate::http::{Answer, Call};
use crate::request::{self, Expected, WriteOptions};
use crate::status::{ApiError, cause};
use http::StatusCode;
use jiff::Timestamp;
use orlop_api::wire::group_and_version;
use serde_json::{Value, json};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const SECONDS_DEFAULT: i64 = 3600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;

pub async fn request(call: &Call) -> Result<Answer, ApiError> {
    let Some(accounts) = &call.server.accounts else {
        return Err(ApiError::internal(
            "this server has no key to sign tokens with; start it with --service-account-signing-key-file",
        ));
    };
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let expected = Expected {
        group: GROUP,
        version: "v1",
        kind: KIND,
    };
    let mut asked = request::decode_object(expected, &call.headers, &call.body, options.validation)?.object;
    identity::settle_namespace(call.resource, &mut asked, &call.info.namespace)?;
    call.server.reach_now().await?;
    let account = get::find(call, &call.info.name)?.value();
    check_account(&asked, &account)?;
    let mut attempt = Attempt {
        subresource: "token",
        object: Some(&mut asked),
        ..Attempt::new(call, Operation::Create, &call.info.name, options.dry_run)
    };
    admission::mutate(&mut attempt).await?;
    admission::validate(&attempt).await?;
    let asked_seconds = seconds(&asked)?;
    let seconds = accounts
        .seconds_max
        .map_or(asked_seconds, |max| asked_seconds.min(max));
    if seconds < asked_seconds {
        call.warn(format!(
            "requested expiration of {asked_seconds} seconds shortened to {seconds} seconds"
        ));
    }
    let audiences = audiences(&asked["spec"]["audiences"], accounts);
    let bound = bound(
        call,
        identity::text(&account, "name"),
        &asked["spec"]["boundObjectRef"],
    )?;
    let text = |pointer: &str| {
        account
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let wanted = Wanted {
        namespace: &call.info.namespace,
        account: (text("/metadata/name"), text("/metadata/uid")),
        audiences: audiences.clone(),
        seconds,
        bound: bound.as_ref(),
    };
    let issued = accounts
        .issue(&wanted, Timestamp::now())
        .map_err(ApiError::internal)?;
    let expires = Timestamp::from_second(issued.expires).map_err(ApiError::internal)?;
    asked["metadata"] = json!({"name": text("/metadata/name"), "namespace": call.info.namespace,
        "uid": text("/metadata/uid"), "creationTimestamp": identity::now()});
    asked["spec"]["audiences"] = json!(audiences);
    asked["spec"]["expirationSeconds"] = json!(seconds);
    asked["status"] = json!({"token": issued.token, "expirationTimestamp": expires.to_string()});
    Ok(Answer::Value(StatusCode::CREATED, asked))
}

/// Whoever says for which account the token is has to mean this one.
fn check_account(asked: &Value, account: &Value) -> Result<(), ApiError> {
    let name = identity::text(account, "name");
    let given = identity::text(asked, "name");
    if !given.is_empty() && given != name {
        let other = cause::invalid(
            "metadata.name",
            &json!(given),
            "must match the service account name if specified",
        );
        return Err(ApiError::invalid_kind(GROUP, KIND, name, vec![other]));
    }
    let (given, own) = (identity::text(asked, "uid"), identity::text(account, "uid"));
    if given.is_empty() || given == own {
        return Ok(());
    }
    Err(ApiError::conflict(
        GROUP,
        KIND,
        name,
        &format!(
            "the UID in the token request ({given}) does not match the UID of the service account ({own})"
        ),
    ))
}

fn seconds(asked: &Value) -> Result<i64, ApiError> {
    let seconds = asked["spec"]["expirationSeconds"]
        .as_i64()
        .unwrap_or(SECONDS_DEFAULT);
    let hint = if seconds < SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if seconds > SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(seconds);
    };
    let cause = cause::invalid("spec.expirationSeconds", &json!(seconds), hint);
    Err(ApiError::invalid_kind(GROUP, KIND, "", vec![cause]))
}

fn audiences(asked: &Value, accounts: &Accounts) -> Vec<String> {
    let asked: Vec<String> = serde_json::from_value(asked.clone()).unwrap_or_default();
    if asked.is_empty() {
        accounts.audiences.clone()
    } else {
        asked
    }
}

/// The object that the token is to end with; it has to be there.
fn bound(call: &Call, account: &str, reference: &Value) -> Result<Option<Bound>, ApiError> {
    if !reference.is_object() {
        return Ok(None);
    }
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let (version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let (kind, plural, namespace) = match (version, kind) {
        ("v1", "Pod") => ("Pod", "pods", call.info.namespace.as_str()),
        ("v1", "Secret") => ("Secret", "secrets", call.info.namespace.as_str()),
        ("v1", "Node") => ("Node", "nodes", ""),
        _ => {
            let (group, version) = group_and_version(version);
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let cache = &call.server.cache;
    let stored = cache
        .core_object(plural, namespace, name)
        .ok_or_else(|| ApiError::not_found_in("", plural, name))?
        .value();
    if kind == "Pod" && stored["spec"]["serviceAccountName"].as_str().unwrap_or_default() != account {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let own = identity::text(&stored, "uid");
    if !uid.is_empty() && uid != own {
        return Err(ApiError::conflict(
            "",
            kind,
            name,
            &format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            ),
        ));
    }
    let node = stored["spec"]["nodeName"]
        .as_str()
        .filter(|name| kind == "Pod" && !name.is_empty());
    let node = node.map(|name| {
        let node = cache.core_object("nodes", "", name).map(|node| node.value());
        let uid = node.as_ref().map(|node| identity::text(node, "uid").to_owned());
        (name.to_owned(), uid.unwrap_or_default())
    });
    Ok(Some(Bound {
        kind,
        name: name.to_owned(),
        uid: own.to_owned(),
        node,
    }))
}
