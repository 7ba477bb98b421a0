//! Acting as somebody else: the `Impersonate-*` headers (contract §15.3). Each thing taken on, the name,
//! every group, the uid and every extra value, needs the verb `impersonate` on it.
use super::UserInfo;
use crate::authz::Attributes;
use crate::request::decode_percent;
use crate::status::ApiError;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const NODE: &str = "system:node:";
const ACCOUNT: &str = "system:serviceaccount:";
/// Where a service account's token tells which node its pod is on.
const NODE_OF_CALLER: &str = "authentication.kubernetes.io/node-name";

/// A kind of impersonation. All but the last are confined: the caller needs a right for what is done as well as one for
/// whom it is done as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Unconfined,
}

impl Mode {
    /// Its name in verbs.
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Unconfined => "",
        }
    }
}

/// Whom a request is to be made as.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Impersonation {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// What the headers ask for; `None` when they ask for nothing.
pub fn requested(headers: &HeaderMap) -> Result<Option<Impersonation>, ApiError> {
    // What cannot be read must not pass for nothing: the request would be made as its caller.
    let text = |value: &HeaderValue| {
        let text = std::str::from_utf8(value.as_bytes()).map(str::to_owned);
        text.map_err(|_| ApiError::bad_request("the headers for impersonation are not UTF-8"))
    };
    let one = |name: &str| headers.get(name).map_or(Ok(String::new()), text);
    let mut wanted = Impersonation {
        name: one(USER)?,
        uid: one(UID)?,
        groups: headers
            .get_all(GROUP)
            .iter()
            .map(text)
            .collect::<Result<_, _>>()?,
        extra: BTreeMap::new(),
    };
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            let values = wanted.extra.entry(decode_percent(key)).or_default();
            values.push(text(value)?);
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == Impersonation::default() {
        return Ok(None);
    }
    Err(ApiError::bad_request(
        "requested impersonation of groups, a uid or extra values without impersonating a user",
    ))
}

impl Impersonation {
    fn account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(ACCOUNT)?.split_once(':')
    }

    fn node(&self) -> Option<&str> {
        self.name.strip_prefix(NODE).filter(|node| !node.is_empty())
    }

    /// The kinds that could allow this caller to be that user, in the order they are tried.
    pub fn modes(&self, caller: &UserInfo) -> Vec<Mode> {
        let only_name = self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty();
        let mut modes = Vec::new();
        match (self.node(), self.account()) {
            (Some(node), _) if only_name => {
                let own = caller.extra.get(NODE_OF_CALLER);
                if caller.name.starts_with(ACCOUNT) && own.is_some_and(|own| own.as_slice() == [node]) {
                    modes.push(Mode::AssociatedNode);
                }
                modes.push(Mode::ArbitraryNode);
            }
            (None, Some(_)) if only_name => modes.push(Mode::ServiceAccount),
            (None, None) => modes.push(Mode::UserInfo),
            _ => {}
        }
        modes.push(Mode::Unconfined);
        modes
    }

    /// The right to do what `asked` asks for in this way; `None` where anything may be done.
    pub fn act(&self, mode: Mode, asked: &Attributes) -> Option<Attributes> {
        (mode != Mode::Unconfined).then(|| Attributes {
            verb: format!("impersonate-on:{}:{}", mode.name(), asked.verb),
            ..asked.clone()
        })
    }

    /// The rights to be that user.
    pub fn needs(&self, mode: Mode) -> Vec<Attributes> {
        let (verb, group) = match mode {
            Mode::Unconfined => ("impersonate".to_owned(), ""),
            _ => (format!("impersonate:{}", mode.name()), AUTHENTICATION),
        };
        let need = |group: &str, resource: &str, name: &str| Attributes {
            is_resource: true,
            verb: verb.clone(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        let who = match (mode, self.node(), self.account()) {
            (Mode::AssociatedNode, ..) => need(group, "nodes", "*"),
            (Mode::ArbitraryNode, Some(node), _) => need(group, "nodes", node),
            (_, _, Some((namespace, account))) => Attributes {
                namespace: namespace.to_owned(),
                ..need(group, "serviceaccounts", account)
            },
            _ => need(group, "users", &self.name),
        };
        let mut needs = vec![who];
        needs.extend(self.groups.iter().map(|name| need(group, "groups", name)));
        if !self.uid.is_empty() {
            needs.push(need(AUTHENTICATION, "uids", &self.uid));
        }
        for (key, values) in &self.extra {
            needs.extend(values.iter().map(|value| Attributes {
                subresource: key.clone(),
                ..need(AUTHENTICATION, "userextras", value)
            }));
        }
        needs
    }

    /// The user it makes of the caller.
    pub fn user(self, mode: Mode) -> UserInfo {
        let groups = match self.account() {
            Some((namespace, _)) if self.groups.is_empty() => vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
            _ if matches!(mode, Mode::AssociatedNode | Mode::ArbitraryNode) => {
                vec!["system:nodes".to_owned()]
            }
            _ => self.groups,
        };
        // Whoever is to be nobody in particular is not to be somebody on top of that.
        let is_unknown = self.name == ANONYMOUS || groups.iter().any(|group| group == UNAUTHENTICATED);
        let mut user = if is_unknown {
            let mut unknown = UserInfo {
                name: self.name,
                groups,
                ..UserInfo::default()
            };
            if !unknown.is_in(UNAUTHENTICATED) {
                unknown.groups.push(UNAUTHENTICATED.to_owned());
            }
            unknown
        } else {
            UserInfo::new(self.name, groups)
        };
        user.uid = self.uid;
        user.extra = self.extra;
        user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Result<Option<Impersonation>, ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_static(value));
        }
        requested(&map)
    }

    fn shown(needs: &[Attributes]) -> Vec<String> {
        let one = |n: &Attributes| format!("{} {}.{} {}", n.verb, n.target(), n.group, n.name);
        needs.iter().map(one).collect()
    }

    #[test]
    fn everything_taken_on_is_needed() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[(GROUP, "g")]).is_err());
        let whole = of(&[
            (USER, "bob"),
            (GROUP, "g"),
            (UID, "1"),
            ("impersonate-extra-example.org%2fscope", "x"),
        ]);
        let whole = whole.unwrap().unwrap();
        let caller = UserInfo::new("alice", ["devs"]);
        assert_eq!(whole.modes(&caller), [Mode::UserInfo, Mode::Unconfined]);
        assert_eq!(
            shown(&whole.needs(Mode::Unconfined)),
            [
                "impersonate users. bob",
                "impersonate groups. g",
                "impersonate uids.authentication.k8s.io 1",
                "impersonate userextras/example.org/scope.authentication.k8s.io x"
            ]
        );
        assert_eq!(
            shown(&whole.needs(Mode::UserInfo))[..2],
            [
                "impersonate:user-info users.authentication.k8s.io bob",
                "impersonate:user-info groups.authentication.k8s.io g"
            ]
        );
        let asked = Attributes {
            is_resource: true,
            verb: "list".to_owned(),
            resource: "pods".to_owned(),
            ..Attributes::default()
        };
        let act = whole.act(Mode::UserInfo, &asked).unwrap();
        assert_eq!(shown(&[act]), ["impersonate-on:user-info:list pods. "]);
        assert!(whole.act(Mode::Unconfined, &asked).is_none());
        let user = whole.user(Mode::UserInfo);
        assert_eq!(user.groups, ["g", "system:authenticated"]);
        assert_eq!(user.extra["example.org/scope"], ["x"]);
    }

    /// Otherwise the request would be made as its caller, who may do more.
    #[test]
    fn names_need_not_be_ascii_and_what_cannot_be_read_is_not_nobody() {
        let asked = |bytes: &[u8]| {
            let mut map = HeaderMap::new();
            map.insert(USER, HeaderValue::from_bytes(bytes).unwrap());
            requested(&map)
        };
        assert_eq!(asked("jürgen".as_bytes()).unwrap().unwrap().name, "jürgen");
        assert_eq!(asked(b"j\xfcrgen").unwrap_err().code, 400);
    }

    #[test]
    fn service_accounts_nodes_and_nobody_have_their_groups() {
        let caller = UserInfo::new("alice", ["devs"]);
        let account = of(&[(USER, "system:serviceaccount:a:b")]).unwrap().unwrap();
        assert_eq!(account.modes(&caller), [Mode::ServiceAccount, Mode::Unconfined]);
        let need = &account.needs(Mode::ServiceAccount)[0];
        assert_eq!(
            (need.resource.as_str(), need.namespace.as_str()),
            ("serviceaccounts", "a")
        );
        assert_eq!(
            account.user(Mode::ServiceAccount).groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:a",
                "system:authenticated"
            ]
        );
        let node = || of(&[(USER, "system:node:n1")]).unwrap().unwrap();
        assert_eq!(node().modes(&caller), [Mode::ArbitraryNode, Mode::Unconfined]);
        let mut daemon = UserInfo::new("system:serviceaccount:a:b", Vec::<String>::new());
        daemon
            .extra
            .insert(NODE_OF_CALLER.to_owned(), vec!["n1".to_owned()]);
        assert_eq!(node().modes(&daemon)[0], Mode::AssociatedNode);
        assert_eq!(
            shown(&node().needs(Mode::AssociatedNode)),
            ["impersonate:associated-node nodes.authentication.k8s.io *"]
        );
        assert_eq!(
            node().user(Mode::ArbitraryNode).groups,
            ["system:nodes", "system:authenticated"]
        );
        assert_eq!(node().user(Mode::Unconfined).groups, ["system:authenticated"]);
        let nobody = of(&[(USER, ANONYMOUS)]).unwrap().unwrap();
        assert_eq!(nobody.user(Mode::Unconfined).groups, ["system:unauthenticated"]);
        let unknown = of(&[(USER, "bob"), (GROUP, "devs"), (GROUP, UNAUTHENTICATED)]);
        assert_eq!(
            unknown.unwrap().unwrap().user(Mode::Unconfined).groups,
            ["devs", "system:unauthenticated"]
        );
    }
}
