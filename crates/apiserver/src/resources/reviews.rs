//! Kinds that are questions: posted, answered, never stored. The answers are in `registry::reviews`.
use super::definition::Resource;

pub const TOKENREVIEWS: Resource = Resource::review(
    "authentication.k8s.io",
    "tokenreviews",
    "tokenreview",
    "TokenReview",
);

pub const SELFSUBJECTREVIEWS: Resource = Resource::review(
    "authentication.k8s.io",
    "selfsubjectreviews",
    "selfsubjectreview",
    "SelfSubjectReview",
);

pub const SELFSUBJECTACCESSREVIEWS: Resource = Resource::review(
    "authorization.k8s.io",
    "selfsubjectaccessreviews",
    "selfsubjectaccessreview",
    "SelfSubjectAccessReview",
);

pub const SELFSUBJECTRULESREVIEWS: Resource = Resource::review(
    "authorization.k8s.io",
    "selfsubjectrulesreviews",
    "selfsubjectrulesreview",
    "SelfSubjectRulesReview",
);

pub const LOCALSUBJECTACCESSREVIEWS: Resource = Resource {
    namespaced: true,
    ..Resource::review(
        "authorization.k8s.io",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        "LocalSubjectAccessReview",
    )
};

pub const SUBJECTACCESSREVIEWS: Resource = Resource::review(
    "authorization.k8s.io",
    "subjectaccessreviews",
    "subjectaccessreview",
    "SubjectAccessReview",
);
