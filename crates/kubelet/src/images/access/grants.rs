//! Whom images were pulled for, in upstream's form.
use super::hash;
use crate::images::credentials::{Kind, Login, Owner};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A secret that an image was pulled with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Key {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub credential_hash: String,
}

impl Key {
    pub fn of(login: &Login) -> Option<Self> {
        let owner = login.owner.clone().filter(|owner| owner.kind == Kind::Secret)?;
        let Owner {
            uid, namespace, name, ..
        } = owner;
        Some(Self {
            uid,
            namespace,
            name,
            credential_hash: hash(&login.words()),
        })
    }

    pub fn opens_like(&self, other: &Self) -> bool {
        let same_object = !self.uid.is_empty()
            && (&self.uid, &self.namespace, &self.name) == (&other.uid, &other.namespace, &other.name);
        same_object || self.credential_hash == other.credential_hash
    }
}

/// An account on whose behalf an image was pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    pub uid: String,
    pub namespace: String,
    pub name: String,
}

impl Account {
    pub fn of(login: &Login) -> Option<Self> {
        let owner = login.owner.clone().filter(|owner| owner.kind == Kind::Account)?;
        Some(Self {
            uid: owner.uid,
            namespace: owner.namespace,
            name: owner.name,
        })
    }
}

/// Whom a repository's image was pulled for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Grant {
    #[serde(rename = "nodePodsAccessible", skip_serializing_if = "std::ops::Not::not")]
    pub anybody: bool,
    #[serde(rename = "kubernetesSecrets", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    #[serde(rename = "kubernetesServiceAccounts", skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
}

/// An image that was pulled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub last_updated_time: String,
    pub image_ref: String,
    #[serde(rename = "credentialMapping", default)]
    pub grants: BTreeMap<String, Grant>,
}
