//! Core kinds that this server stores and shows but has no rules of its own for yet.
use super::definition::{CREATE_ONLY, Field, Read, Resource, SCALE, STATUS, Subresource};
use super::rules::Rules;

const DELETE_ANSWERS_OBJECT: Rules = Rules {
    delete_answers_object: true,
    ..Rules::GENERIC
};

pub const BINDINGS: Resource = Resource {
    verbs: CREATE_ONLY,
    storage: "",
    ..Resource::new("", "bindings", "binding", "Binding")
};

pub const ENDPOINTS: Resource = Resource::new("", "endpoints", "endpoints", "Endpoints")
    .short(&["ep"])
    .stored_under("services/endpoints")
    .with_rules(Rules {
        create_on_update: true,
        warnings: |_| {
            vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
        },
        ..Rules::GENERIC
    });

pub const LIMITRANGES: Resource = Resource::new("", "limitranges", "limitrange", "LimitRange")
    .short(&["limits"])
    .with_rules(Rules {
        create_on_update: true,
        ..Rules::GENERIC
    });

pub const PERSISTENTVOLUMECLAIMS: Resource = Resource::new(
    "",
    "persistentvolumeclaims",
    "persistentvolumeclaim",
    "PersistentVolumeClaim",
)
.short(&["pvc"])
.with_subresources(&[STATUS])
.with_rules(DELETE_ANSWERS_OBJECT);

pub const PERSISTENTVOLUMES: Resource =
    Resource::new("", "persistentvolumes", "persistentvolume", "PersistentVolume")
        .cluster_scoped()
        .short(&["pv"])
        .with_subresources(&[STATUS])
        .with_rules(DELETE_ANSWERS_OBJECT);

pub const PODTEMPLATES: Resource =
    Resource::new("", "podtemplates", "podtemplate", "PodTemplate").with_rules(DELETE_ANSWERS_OBJECT);

pub const REPLICATIONCONTROLLERS: Resource = Resource::new(
    "",
    "replicationcontrollers",
    "replicationcontroller",
    "ReplicationController",
)
.short(&["rc"])
.in_all()
.stored_under("controllers")
.with_subresources(&[SCALE, STATUS])
.with_fields(&[Field {
    name: "status.replicas",
    read: Read::Number("/status/replicas"),
}])
.with_rules(Rules::WITH_GENERATION);

pub const RESOURCEQUOTAS: Resource = Resource::new("", "resourcequotas", "resourcequota", "ResourceQuota")
    .short(&["quota"])
    .with_subresources(&[STATUS])
    .with_rules(DELETE_ANSWERS_OBJECT);

pub const SERVICEACCOUNTS: Resource =
    Resource::new("", "serviceaccounts", "serviceaccount", "ServiceAccount")
        .short(&["sa"])
        .with_subresources(&[Subresource {
            name: "token",
            verbs: CREATE_ONLY,
            kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        }])
        .with_rules(DELETE_ANSWERS_OBJECT);

pub const SERVICES: Resource = Resource::new("", "services", "service", "Service")
    .short(&["svc"])
    .in_all()
    .stored_under("services/specs")
    .with_subresources(&[STATUS])
    .with_fields(&[
        Field {
            name: "spec.clusterIP",
            read: Read::Text("/spec/clusterIP"),
        },
        Field {
            name: "spec.type",
            read: Read::Text("/spec/type"),
        },
    ])
    .with_rules(Rules {
        create_on_update: true,
        ..DELETE_ANSWERS_OBJECT
    });
