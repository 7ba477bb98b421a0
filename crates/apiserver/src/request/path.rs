//! The URL grammar (contract §1): a path and a method become a request for something.
use http::Method;
use std::borrow::Cow;

/// What a request is for. For paths that are no resource, only `verb` and `path` are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource: bool,
    /// Authorization's word for the action.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    pub path: String,
    /// True for the deprecated `/watch/` paths.
    pub watch_path: bool,
}

/// Parses method and path; `watch` and `name_selector` come from the query.
pub fn parse(method: &Method, path: &str, watch: bool, name_selector: Option<String>) -> RequestInfo {
    let mut info = RequestInfo {
        path: path.to_owned(),
        ..RequestInfo::default()
    };
    let segments: Vec<Cow<'_, str>> = path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(super::query::unescape_path)
        .collect();
    let mut rest = match segments.first().map(AsRef::as_ref) {
        Some("api") if segments.len() > 2 => {
            info.version = segments[1].to_string();
            &segments[2..]
        }
        Some("apis") if segments.len() > 3 => {
            info.group = segments[1].to_string();
            info.version = segments[2].to_string();
            &segments[3..]
        }
        _ => {
            info.verb = method.as_str().to_ascii_lowercase();
            return info;
        }
    };
    info.is_resource = true;
    if rest[0] == "watch" && rest.len() > 1 {
        info.watch_path = true;
        rest = &rest[1..];
    }
    if rest[0] == "namespaces" && rest.len() > 2 && !matches!(rest[2].as_ref(), "status" | "finalize") {
        info.namespace = rest[1].to_string();
        rest = &rest[2..];
    } else if rest[0] == "namespaces" && rest.len() > 1 {
        // The Namespace object itself: authorization sees it inside itself.
        info.namespace = rest[1].to_string();
    }
    info.resource = rest[0].to_string();
    info.name = rest.get(1).map(ToString::to_string).unwrap_or_default();
    // What follows `proxy` is a path of its own.
    info.subresource = match rest.get(2..) {
        Some([first, ..]) if first == "proxy" => first.to_string(),
        Some(rest) => rest.join("/"),
        None => String::new(),
    };

    let collection = info.name.is_empty();
    info.verb = match *method {
        Method::POST => "create",
        Method::GET if info.watch_path || (collection && watch) => "watch",
        Method::GET if collection => "list",
        Method::GET => "get",
        // Only other servers answer it.
        Method::HEAD if collection => "list",
        Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
    .to_owned();
    if collection && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        // Matters for rules that name objects.
        info.name = String::new();
        if let Some(name) = name_selector {
            info.name = name;
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> RequestInfo {
        parse(&Method::GET, path, false, None)
    }

    /// Contract §1, the grammar.
    #[test]
    fn paths_become_requests() {
        let pods = get("/api/v1/namespaces/d/pods");
        assert_eq!(
            (
                pods.verb.as_str(),
                pods.namespace.as_str(),
                pods.resource.as_str()
            ),
            ("list", "d", "pods")
        );
        let log = get("/api/v1/namespaces/d/pods/p/log");
        assert_eq!(
            (log.name.as_str(), log.subresource.as_str(), log.verb.as_str()),
            ("p", "log", "get")
        );
        let proxied = get("/api/v1/nodes/n:10250/proxy/stats/summary");
        assert_eq!(
            (proxied.name.as_str(), proxied.subresource.as_str()),
            ("n:10250", "proxy")
        );
        let namespace = get("/api/v1/namespaces/d");
        assert_eq!(
            (namespace.resource.as_str(), namespace.name.as_str()),
            ("namespaces", "d")
        );
        let finalize = parse(&Method::PUT, "/api/v1/namespaces/d/finalize", false, None);
        assert_eq!(
            (finalize.resource.as_str(), finalize.subresource.as_str()),
            ("namespaces", "finalize")
        );
        let sets = get("/apis/apps/v1/daemonsets/");
        assert_eq!(
            (sets.group.as_str(), sets.resource.as_str(), sets.verb.as_str()),
            ("apps", "daemonsets", "list")
        );
        assert!(!get("/apis/apps/v1").is_resource);
        assert!(!get("/healthz").is_resource);
        let watch = get("/api/v1/watch/namespaces/d/pods");
        assert_eq!(
            (watch.verb.as_str(), watch.resource.as_str(), watch.watch_path),
            ("watch", "pods", true)
        );
    }

    #[test]
    fn a_name_selector_names_the_request() {
        let info = parse(&Method::GET, "/api/v1/nodes", true, Some("n1".to_owned()));
        assert_eq!((info.verb.as_str(), info.name.as_str()), ("watch", "n1"));
    }
}
