//! What expressions of admission may name.
use super::check::Declarations;
use super::opaque::AUTHORIZER;
use super::types::Type;

/// `object`, `oldObject`, `request`, `authorizer`: conditions of webhooks.
pub fn conditions() -> Declarations {
    Declarations::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request())
        .with("authorizer", Type::Opaque(AUTHORIZER))
}

/// The same with `namespaceObject`, `variables`, and `params` if the policy has a kind of them.
pub fn policy(has_params: bool) -> Declarations {
    let names = conditions()
        .with("namespaceObject", Type::Dyn)
        .with("variables", Type::Dyn);
    if has_params {
        names.with("params", Type::Dyn)
    } else {
        names
    }
}

/// An AdmissionRequest, without the objects, which have names of their own.
fn request() -> Type {
    let kind = || {
        Type::object(
            "GroupVersionKind",
            [
                ("group", Type::String),
                ("version", Type::String),
                ("kind", Type::String),
            ],
        )
    };
    let resource = || {
        let fields = [
            ("group", Type::String),
            ("version", Type::String),
            ("resource", Type::String),
        ];
        Type::object("GroupVersionResource", fields)
    };
    let user = [
        ("username", Type::String),
        ("uid", Type::String),
        ("groups", Type::list(Type::String)),
        ("extra", Type::map(Type::String, Type::list(Type::String))),
    ];
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("uid", Type::String),
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Type::String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", Type::object("kubernetes.UserInfo", user)),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}
