//! A user as authorization and reviews see it.
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everybody whose identity was proven.
pub const AUTHENTICATED: &str = "system:authenticated";

/// Name, groups and the like of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// An authenticated user of these groups.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self {
            name: name.into(),
            groups,
            ..Self::default()
        }
    }

    /// A member of `system:masters`: everything is allowed.
    pub fn admin(name: impl Into<String>) -> Self {
        Self::new(name, ["system:masters"])
    }

    /// The agent of a node.
    pub fn node(node: &str) -> Self {
        Self::new(format!("system:node:{node}"), ["system:nodes"])
    }

    /// A service account, without the uid and what else its tokens would tell.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
        Self::new(format!("system:serviceaccount:{namespace}:{name}"), groups)
    }

    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node this user is the agent of.
    pub fn node_name(&self) -> Option<&str> {
        if self.is_in("system:nodes") {
            self.name.strip_prefix("system:node:").filter(|n| !n.is_empty())
        } else {
            None
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            value["uid"] = json!(self.uid);
        }
        if !self.extra.is_empty() {
            value["extra"] = json!(self.extra);
        }
        value
    }
}
