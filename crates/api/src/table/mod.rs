//! What `kubectl get` shows: columns and cells of every kind that has its own (contract api-server §11).
//!
//! A row is cut from the object's JSON; nothing here needs the typed structs, and a field of the wrong type simply
//! reads as absent.

mod autoscaling;
mod batch;
mod cells;
mod cluster;
mod devices;
mod events;
mod ingress;
mod network;
mod nodes;
mod pods;
mod rbac;
mod serving;
mod storage;
mod volumes;
mod workloads;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub ty: &'static str,
    /// `name` for the column kubectl takes for the object's name, else empty.
    pub format: &'static str,
    pub description: &'static str,
    /// Above 0: only with `-o wide`.
    pub priority: i32,
}

impl Column {
    const fn new(name: &'static str, ty: &'static str, description: &'static str) -> Column {
        Column {
            name,
            ty,
            format: "",
            description,
            priority: 0,
        }
    }

    const fn wide(self) -> Column {
        Column { priority: 1, ..self }
    }

    const fn named(self) -> Column {
        Column {
            format: "name",
            ..self
        }
    }
}

const fn string(name: &'static str, description: &'static str) -> Column {
    Column::new(name, "string", description)
}

const fn integer(name: &'static str, description: &'static str) -> Column {
    Column::new(name, "integer", description)
}

const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column::new(name, "boolean", description)
}

const NAME: Column = string(
    "Name",
    "Name of the object, unique within its namespace and kind.",
)
.named();
const AGE: Column = string("Age", "Time since the object was created.");

/// The columns of a kind and how a row is cut.
#[derive(Debug)]
pub struct TableSpec {
    columns: &'static [Column],
    cells: fn(&Value, Timestamp) -> Vec<Value>,
    conditions: fn(&Value) -> Option<Value>,
}

impl TableSpec {
    const fn new(columns: &'static [Column], cells: fn(&Value, Timestamp) -> Vec<Value>) -> TableSpec {
        TableSpec {
            columns,
            cells,
            conditions: |_| None,
        }
    }

    /// All columns, wide ones included: the server sends every column, kubectl chooses.
    pub fn columns(&self) -> &'static [Column] {
        self.columns
    }

    /// The columns as the Table's `columnDefinitions`.
    pub fn column_definitions(&self) -> Value {
        let definition = |c: &Column| json!({"name": c.name, "type": c.ty, "format": c.format, "description": c.description, "priority": c.priority});
        self.columns.iter().map(definition).collect()
    }

    /// The cells of one object, one for each column.
    pub fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        (self.cells)(object, now)
    }

    /// Cells of an object without content: a watch's bookmark is a row like any other.
    pub fn blank(&self) -> Vec<Value> {
        self.row(&Value::Null, Timestamp::UNIX_EPOCH)
    }

    /// The row's `conditions`, where it has any.
    pub fn conditions(&self, object: &Value) -> Option<Value> {
        (self.conditions)(object)
    }

    /// One row of a Table without its `object`.
    pub fn row_value(&self, object: &Value, now: Timestamp) -> Value {
        let mut row = json!({"cells": self.row(object, now)});
        if let (Some(conditions), Value::Object(fields)) = (self.conditions(object), &mut row) {
            fields.insert("conditions".to_owned(), conditions);
        }
        row
    }
}

static DEFAULT: TableSpec = TableSpec::new(
    &[
        NAME,
        Column::new("Created At", "date", "Time the object was created."),
    ],
    |object, _| vec![cells::name(object), cells::created_at(object)],
);

/// Name and creation time: for kinds without columns of their own.
pub fn default_table() -> &'static TableSpec {
    &DEFAULT
}

/// The table of a built-in kind, by kind and API group (empty for core). `None`: [`default_table`] will do.
pub fn table_for(kind: &str, group: &str) -> Option<&'static TableSpec> {
    Some(match (group, kind) {
        ("", "Pod") => &pods::PODS,
        ("", "Node") => &nodes::NODES,
        ("", "Namespace") => &cluster::NAMESPACES,
        ("", "ConfigMap") => &storage::CONFIG_MAPS,
        ("", "Secret") => &storage::SECRETS,
        ("", "ComponentStatus") => &cluster::COMPONENT_STATUSES,
        ("", "ServiceAccount") => &cluster::NAME_AND_AGE,
        ("", "Event") => &events::CORE,
        ("events.k8s.io", "Event") => &events::EVENTS,
        ("", "Service") => &network::SERVICES,
        ("", "Endpoints") => &network::ENDPOINTS,
        ("", "ResourceQuota") => &cluster::RESOURCE_QUOTAS,
        ("", "PodTemplate") => &workloads::POD_TEMPLATES,
        ("apps", "DaemonSet") => &workloads::DAEMON_SETS,
        ("apps", "ControllerRevision") => &workloads::CONTROLLER_REVISIONS,
        ("apps", "Deployment") => &workloads::DEPLOYMENTS,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => &workloads::REPLICA_SETS,
        ("apps", "StatefulSet") => &workloads::STATEFUL_SETS,
        ("autoscaling", "Scale") => &workloads::SCALES,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaling::AUTOSCALERS,
        ("batch", "Job") => &batch::JOBS,
        ("batch", "CronJob") => &batch::CRON_JOBS,
        ("", "PersistentVolume") => &volumes::PERSISTENT_VOLUMES,
        ("", "PersistentVolumeClaim") => &volumes::PERSISTENT_VOLUME_CLAIMS,
        ("storage.k8s.io", "StorageClass") => &volumes::STORAGE_CLASSES,
        ("storage.k8s.io", "VolumeAttachment") => &volumes::VOLUME_ATTACHMENTS,
        ("storage.k8s.io", "CSIStorageCapacity") => &volumes::CSI_STORAGE_CAPACITIES,
        ("storage.k8s.io", "VolumeAttributesClass") => &volumes::VOLUME_ATTRIBUTES_CLASSES,
        ("networking.k8s.io", "Ingress") => &ingress::INGRESSES,
        ("networking.k8s.io", "IngressClass") => &ingress::INGRESS_CLASSES,
        ("networking.k8s.io", "NetworkPolicy") => &ingress::NETWORK_POLICIES,
        ("networking.k8s.io", "IPAddress") => &ingress::IP_ADDRESSES,
        ("networking.k8s.io", "ServiceCIDR") => &ingress::SERVICE_CIDRS,
        ("apiregistration.k8s.io", "APIService") => &serving::API_SERVICES,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &serving::FLOW_SCHEMAS,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &serving::PRIORITY_LEVELS,
        ("coordination.k8s.io", "Lease") => &cluster::LEASES,
        ("discovery.k8s.io", "EndpointSlice") => &network::ENDPOINT_SLICES,
        ("scheduling.k8s.io", "PriorityClass") => &cluster::PRIORITY_CLASSES,
        ("policy", "PodDisruptionBudget") => &workloads::DISRUPTION_BUDGETS,
        ("node.k8s.io", "RuntimeClass") => &cluster::RUNTIME_CLASSES,
        ("resource.k8s.io", "ResourceClaim") => &devices::CLAIMS,
        ("resource.k8s.io", "ResourceSlice") => &devices::SLICES,
        ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate") => &devices::NAMED,
        ("storage.k8s.io", "CSINode") => &storage::CSI_NODES,
        ("storage.k8s.io", "CSIDriver") => &storage::CSI_DRIVERS,
        ("certificates.k8s.io", "CertificateSigningRequest") => &rbac::SIGNING_REQUESTS,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &rbac::BINDINGS,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") | ("", "LimitRange") => &DEFAULT,
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => &rbac::WEBHOOKS,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &rbac::ADMISSION_POLICIES,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => &rbac::MUTATING_POLICIES,
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding",
        ) => &rbac::ADMISSION_BINDINGS,
        _ => return None,
    })
}
