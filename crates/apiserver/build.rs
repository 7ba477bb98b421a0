//! Writes the schemas that OpenAPI documents publish: made when the server is built, kept compressed in it, so that
//! they cost nothing until somebody asks.
//!
//! Types, fields and descriptions come from `k8s-openapi`; merge keys and list types, which it doesn't carry, from the
//! field tables of `orlop-api`.
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::{
    admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates,
    coordination, core, discovery, events, flowcontrol, networking, node, policy, rbac, resource, scheduling,
    storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use orlop_api::wire::schema::{Field, Merge, Message, Schema, Shape, Topology, Type};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

const DEFINITIONS: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
const REGISTRATION: &str = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.";
/// The one kind that has to have metadata.
const EVENT: &str = "io.k8s.api.core.v1.Event";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Names the types whose schemas a group-version publishes.
macro_rules! types {
    ($($module:path { $($kind:ident),* $(,)? })*) => {
        |generator: &mut SchemaGenerator| {
            $({
                #[allow(unused_imports)]
                use $module as module;
                $(add::<module::$kind>(generator);)*
            })*
        }
    };
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

type Add = fn(&mut SchemaGenerator);

/// Every group-version and its types.
const DOCUMENTS: &[(&str, &str, Add)] = &[
    (
        "",
        "v1",
        types! {
            core::v1 {
                Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim,
                Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
            }
            authentication::v1 { TokenRequest }
            autoscaling::v1 { Scale }
            policy::v1 { Eviction }
        },
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        types! {
            admissionregistration::v1 {
                MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
                ValidatingWebhookConfiguration,
            }
        },
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        types! { apiextensions::v1 { CustomResourceDefinition } },
    ),
    (
        "apps",
        "v1",
        types! {
            apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
            autoscaling::v1 { Scale }
        },
    ),
    (
        "authentication.k8s.io",
        "v1",
        types! { authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview } },
    ),
    (
        "authorization.k8s.io",
        "v1",
        types! {
            authorization::v1 {
                LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
            }
        },
    ),
    (
        "apiregistration.k8s.io",
        "v1",
        types! { apiregistration::v1 { APIService } },
    ),
    (
        "autoscaling",
        "v1",
        types! { autoscaling::v1 { HorizontalPodAutoscaler, Scale } },
    ),
    (
        "autoscaling",
        "v2",
        types! { autoscaling::v2 { HorizontalPodAutoscaler } },
    ),
    ("batch", "v1", types! { batch::v1 { CronJob, Job } }),
    (
        "certificates.k8s.io",
        "v1",
        types! { certificates::v1 { CertificateSigningRequest } },
    ),
    ("coordination.k8s.io", "v1", types! { coordination::v1 { Lease } }),
    (
        "discovery.k8s.io",
        "v1",
        types! { discovery::v1 { EndpointSlice } },
    ),
    ("events.k8s.io", "v1", types! { events::v1 { Event } }),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1",
        types! {
            flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }
        },
    ),
    (
        "networking.k8s.io",
        "v1",
        types! {
            networking::v1 { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR }
        },
    ),
    // For the documents of custom resources.
    ("meta.k8s.io", "v1", types! { meta::v1 { ObjectMeta } }),
    ("node.k8s.io", "v1", types! { node::v1 { RuntimeClass } }),
    (
        "policy",
        "v1",
        types! { policy::v1 { Eviction, PodDisruptionBudget } },
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        types! {
            rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
        },
    ),
    (
        "scheduling.k8s.io",
        "v1",
        types! { scheduling::v1 { PriorityClass } },
    ),
    (
        "resource.k8s.io",
        "v1",
        types! {
            resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
        },
    ),
    (
        "storage.k8s.io",
        "v1",
        types! {
            storage::v1 {
                CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
            }
        },
    ),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names the directory"));
    let mut table = String::from("&[\n");
    for (group, version, add_types) in DOCUMENTS {
        let schemas = schemas(*add_types);
        let file = out.join(format!("schemas-{group}-{version}.json.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder
            .write_all(schemas.to_string().as_bytes())
            .expect("memory takes it");
        std::fs::write(&file, encoder.finish().expect("memory takes it")).expect("the schemas are written");
        writeln!(table, "    ({group:?}, {version:?}, include_bytes!({file:?})),").expect("memory takes it");
    }
    table.push(']');
    std::fs::write(out.join("schemas.rs"), table).expect("the table is written");
}

fn schemas(add_types: Add) -> Value {
    let mut settings = SchemaSettings::openapi3();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaGenerator::new(settings);
    add_types(&mut generator);
    add::<meta::v1::DeleteOptions>(&mut generator);
    add::<meta::v1::Status>(&mut generator);
    add::<meta::v1::ListMeta>(&mut generator);
    let mut schemas = generator.take_definitions(true);
    let names: Vec<String> = schemas.keys().cloned().collect();
    for name in names {
        let Some((group, version, kind)) = place(&name) else {
            continue;
        };
        let Some(message) = message(&group, &version, &kind) else {
            continue;
        };
        if let Some(schema) = schemas.get_mut(&name) {
            mark(schema, message);
        }
        let is_resource = message.is_kind && message.field("metadata").is_some() && !name.starts_with(META);
        if message.is_kind && name != EVENT {
            let_metadata_out(&mut schemas[&name]);
        }
        if message.is_kind && !name.starts_with(META) {
            let own = json!([{"group": group, "version": version, "kind": kind}]);
            schemas[&name]["x-kubernetes-group-version-kind"] = own;
        }
        if is_resource {
            schemas.insert(format!("{name}List"), list(&name, &group, &version, &kind));
        }
    }
    let mut schemas = Value::Object(schemas);
    wrap_references(&mut schemas);
    schemas
}

/// An object may come without metadata, though the Rust types always have it.
fn let_metadata_out(schema: &mut Value) {
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| name != "metadata");
        if required.is_empty() {
            schema.as_object_mut().map(|schema| schema.remove("required"));
        }
    }
}

/// Group, version and kind of a definition such as `io.k8s.api.apps.v1.DaemonSet`.
fn place(name: &str) -> Option<(String, String, String)> {
    if let Some(kind) = name.strip_prefix(META) {
        return Some(("meta.k8s.io".to_owned(), "v1".to_owned(), kind.to_owned()));
    }
    if let Some(kind) = name.strip_prefix(EXTENSIONS) {
        return Some((
            "apiextensions.k8s.io".to_owned(),
            "v1".to_owned(),
            kind.to_owned(),
        ));
    }
    if let Some(kind) = name.strip_prefix(REGISTRATION) {
        let group = "apiregistration.k8s.io".to_owned();
        return Some((group, "v1".to_owned(), kind.to_owned()));
    }
    let mut parts = name.strip_prefix("io.k8s.api.")?.split('.');
    let (short, version, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let group = match short {
        "core" => String::new(),
        "flowcontrol" => "flowcontrol.apiserver.k8s.io".to_owned(),
        "rbac" => "rbac.authorization.k8s.io".to_owned(),
        "apps" | "autoscaling" | "batch" | "policy" => short.to_owned(),
        other => format!("{other}.k8s.io"),
    };
    Some((group, version.to_owned(), kind.to_owned()))
}

fn message(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Schema::builtin().named(&api_version, kind)
}

/// How patches and applies treat the fields.
fn mark(schema: &mut Value, message: &Message) {
    if message.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    let Some(properties) = schema["properties"].as_object_mut() else {
        return;
    };
    for field in message.json_fields() {
        if let Some(Value::Object(property)) = properties.get_mut(field.name) {
            property.extend(marks(field));
            if let Some(default) = default(message, field) {
                property.insert("default".to_owned(), default);
            }
            for inner in ["items", "additionalProperties"] {
                if let (Some(Value::Object(inner)), Some(default)) = (property.get_mut(inner), zero(field.ty))
                {
                    inner.insert("default".to_owned(), default);
                }
            }
        }
    }
}

/// Values that fields mean when they are absent although they may be absent, by type and field.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("AzureDiskVolumeSource", "cachingMode", "ReadWrite"),
    ("AzureDiskVolumeSource", "fsType", "ext4"),
    ("AzureDiskVolumeSource", "kind", "Shared"),
    ("DeviceToleration", "operator", "Equal"),
    ("ISCSIPersistentVolumeSource", "iscsiInterface", "default"),
    ("ISCSIVolumeSource", "iscsiInterface", "default"),
    ("RBDPersistentVolumeSource", "keyring", "/etc/ceph/keyring"),
    ("RBDPersistentVolumeSource", "pool", "rbd"),
    ("RBDPersistentVolumeSource", "user", "admin"),
    ("RBDVolumeSource", "keyring", "/etc/ceph/keyring"),
    ("RBDVolumeSource", "pool", "rbd"),
    ("RBDVolumeSource", "user", "admin"),
    ("ScaleIOPersistentVolumeSource", "fsType", "xfs"),
    ("ScaleIOPersistentVolumeSource", "storageMode", "ThinProvisioned"),
    ("ScaleIOVolumeSource", "fsType", "xfs"),
    ("ScaleIOVolumeSource", "storageMode", "ThinProvisioned"),
];

fn default(message: &Message, field: &Field) -> Option<Value> {
    if (message.name, field.name) == ("ReplicationControllerSpec", "replicas") {
        return Some(json!(1));
    }
    let named = DEFAULTS
        .iter()
        .find(|(m, f, _)| (*m, *f) == (message.name, field.name));
    let empty = || {
        (field.shape == Shape::One && field.always)
            .then(|| zero(field.ty))
            .flatten()
    };
    named
        .map(|(.., value)| json!(value))
        .or_else(|| message.silence(field.name))
        .or_else(empty)
}

/// What a value of the type is when nothing is said of it.
fn zero(ty: Type) -> Option<Value> {
    match ty {
        Type::String => Some(json!("")),
        Type::Int32 | Type::Int64 => Some(json!(0)),
        Type::Double => Some(json!(0.0)),
        Type::Bool => Some(json!(false)),
        Type::Message(_) => Some(json!({})),
        _ => None,
    }
}

/// Whether values of the field's type are owned as a whole elsewhere.
fn is_atomic(field: &Field) -> bool {
    matches!(field.ty, Type::Message(id) if Schema::builtin().message(id).atomic)
}

fn marks(field: &Field) -> Map<String, Value> {
    let mut marks = Map::new();
    let mut put = |name: &str, value: Value| {
        marks.insert(format!("x-kubernetes-{name}"), value);
    };
    let mut strategies = Vec::new();
    match field.merge {
        Merge::Plain => {}
        Merge::Key(key) => {
            put("patch-merge-key", json!(key));
            strategies.push("merge");
        }
        Merge::Set => strategies.push("merge"),
        Merge::Replace => strategies.push("replace"),
    }
    if field.retain_keys {
        strategies.push("retainKeys");
    }
    if !strategies.is_empty() {
        put("patch-strategy", json!(strategies.join(",")));
    }
    match (field.shape, field.topology) {
        (Shape::List, Topology::Keyed(keys)) => {
            put("list-type", json!("map"));
            put("list-map-keys", json!(keys));
        }
        (Shape::List, Topology::Set) => put("list-type", json!("set")),
        (Shape::List, _) => put("list-type", json!("atomic")),
        (Shape::Map, Topology::Atomic) => put("map-type", json!("atomic")),
        (Shape::One, Topology::Granular) if is_atomic(field) => put("map-type", json!("granular")),
        _ => {}
    }
    marks
}

fn list(name: &str, group: &str, version: &str, kind: &str) -> Value {
    let text = |description: &str| json!({"description": description, "type": "string"});
    json!({
        "description": format!("A list of {kind} objects."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("The version of the API that the list is in."),
            "items": {
                "type": "array",
                "description": format!("List of {}.", plural(kind)),
                "items": {"$ref": format!("{DEFINITIONS}{name}")},
            },
            "kind": text("The kind of the list."),
            "metadata": {"$ref": format!("{DEFINITIONS}{LIST_META}"), "description": "Metadata of the list."},
        },
        "x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": format!("{kind}List")}],
    })
}

/// The kind's plural as its resource has it.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with("ss") => format!("{kind}es"),
        None if kind.ends_with('s') => kind,
        None => format!("{kind}s"),
    }
}

/// Nothing may stand beside a `$ref`: what does goes around it.
fn wrap_references(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(wrap_references),
        Value::Object(members) => {
            // A property may be called `$ref`, too; its value is no text.
            let refers = members.get("$ref").is_some_and(Value::is_string);
            if refers
                && members.len() > 1
                && let Some(reference) = members.remove("$ref")
            {
                members.insert("allOf".to_owned(), json!([{"$ref": reference}]));
            }
            members.values_mut().for_each(wrap_references);
        }
        _ => {}
    }
}
