//! Acting as somebody else: the `Impersonate-*` headers (contract §15.3). Each thing taken on, the name,
//! every group, the uid and every extra value, needs the verb `impersonate` on it.
use super::UserInfo;
use crate::authz::Attributes;
use crate::request::decode_percent;
use crate::status::ApiError;
use http::HeaderMap;
use std::collections::BTreeMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const ANONYMOUS: &str = "system:anonymous";

/// Who is to be, and what the caller must be allowed for it.
pub struct Impersonation {
    pub user: UserInfo,
    pub needs: Vec<Attributes>,
}

/// What the headers ask for; `None` when they ask for nothing.
pub fn requested(headers: &HeaderMap) -> Result<Option<Impersonation>, ApiError> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let name = headers.get(USER).map(text).unwrap_or_default();
    let uid = headers.get(UID).map(text).unwrap_or_default();
    let groups: Vec<String> = headers.get_all(GROUP).iter().map(text).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            extra.entry(decode_percent(key)).or_default().push(text(value));
        }
    }
    if name.is_empty() {
        return if uid.is_empty() && groups.is_empty() && extra.is_empty() {
            Ok(None)
        } else {
            Err(ApiError::bad_request(
                "requested impersonation of groups, a uid or extra values without impersonating a user",
            ))
        };
    }
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let mut needs = vec![match account {
        Some((namespace, account)) => Attributes {
            namespace: namespace.to_owned(),
            ..need("", "serviceaccounts", account)
        },
        None => need("", "users", &name),
    }];
    needs.extend(groups.iter().map(|group| need("", "groups", group)));
    if !uid.is_empty() {
        needs.push(need(AUTHENTICATION, "uids", &uid));
    }
    for (key, values) in &extra {
        needs.extend(values.iter().map(|value| Attributes {
            subresource: key.clone(),
            ..need(AUTHENTICATION, "userextras", value)
        }));
    }
    let groups = match account {
        Some((namespace, _)) if groups.is_empty() => vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        _ => groups,
    };
    let mut user = if name == ANONYMOUS {
        let mut nobody = UserInfo::anonymous();
        nobody.groups.splice(0..0, groups);
        nobody
    } else {
        UserInfo::new(name, groups)
    };
    user.uid = uid;
    user.extra = extra;
    Ok(Some(Impersonation { user, needs }))
}

fn need(group: &str, resource: &str, name: &str) -> Attributes {
    Attributes {
        is_resource: true,
        verb: "impersonate".to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
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

    #[test]
    fn everything_taken_on_is_needed() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[(GROUP, "g")]).is_err());
        let whole = of(&[
            (USER, "bob"),
            (GROUP, "g"),
            (GROUP, "h"),
            (UID, "1"),
            ("impersonate-extra-example.org%2fscope", "x"),
        ]);
        let whole = whole.unwrap().unwrap();
        assert_eq!(whole.user.groups, ["g", "h", "system:authenticated"]);
        assert_eq!(whole.user.extra["example.org/scope"], ["x"]);
        let needs: Vec<String> = whole
            .needs
            .iter()
            .map(|n| format!("{} {}", n.target(), n.name))
            .collect();
        assert_eq!(
            needs,
            [
                "users bob",
                "groups g",
                "groups h",
                "uids 1",
                "userextras/example.org/scope x"
            ]
        );
    }

    #[test]
    fn service_accounts_and_nobody_have_their_groups() {
        let account = of(&[(USER, "system:serviceaccount:a:b")]).unwrap().unwrap();
        assert_eq!(
            account.user.groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:a",
                "system:authenticated"
            ]
        );
        assert_eq!(
            (
                account.needs[0].resource.as_str(),
                account.needs[0].namespace.as_str()
            ),
            ("serviceaccounts", "a")
        );
        let nobody = of(&[(USER, ANONYMOUS)]).unwrap().unwrap();
        assert_eq!(nobody.user.groups, ["system:unauthenticated"]);
    }
}
