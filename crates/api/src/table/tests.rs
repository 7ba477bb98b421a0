use jiff::Timestamp;
use serde_json::{Value, json as j};

use super::{default_table, table_for};

fn now() -> Timestamp {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

fn cells(kind: &str, group: &str, object: Value) -> Vec<Value> {
    let table = table_for(kind, group).unwrap();
    let row = table.row(&object, now());
    assert_eq!(row.len(), table.columns().len());
    row
}

fn shown(kind: &str, group: &str, object: Value) -> Vec<String> {
    let show = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    cells(kind, group, object).iter().map(show).collect()
}

fn running() -> Value {
    j!({"running": {"startedAt": "2026-01-10T11:00:00Z"}})
}

fn pod(spec: Value, status: Value) -> Value {
    j!({"metadata": {"name": "p", "creationTimestamp": "2026-01-10T11:57:55Z"}, "spec": spec, "status": status})
}

fn two() -> Value {
    j!({"containers": [{"name": "a"}, {"name": "b"}]})
}

/// B01: Ready, Status and Restarts of one constructed status.
fn assert_pod(what: &str, pod: Value, ready: &str, status: &str, restarts: &str) {
    let row = shown("Pod", "", pod);
    assert_eq!(
        (row[1].as_str(), row[2].as_str(), row[3].as_str()),
        (ready, status, restarts),
        "{what}"
    );
}

/// B01
#[test]
fn pods_that_are_starting() {
    assert_pod("new", pod(two(), j!({"phase": "Pending"})), "0/2", "Pending", "0");
    let creating = j!({"phase": "Pending", "containerStatuses": [
        {"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}, "ready": false, "restartCount": 0}]});
    assert_pod("creating", pod(two(), creating), "0/2", "ContainerCreating", "0");
    let gated = j!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]});
    assert_pod("gated", pod(two(), gated), "0/2", "SchedulingGated", "0");
    let pull = j!({"phase": "Pending", "containerStatuses": [
        {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff"}}},
        {"name": "b", "state": running(), "ready": true}]});
    assert_pod(
        "first container wins",
        pod(two(), pull),
        "1/2",
        "ImagePullBackOff",
        "0",
    );
}

/// B01
#[test]
fn pods_that_are_initializing() {
    let spec = j!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    let init = |statuses: Value| j!({"phase": "Pending", "initContainerStatuses": statuses});
    let done = j!({"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    for (what, statuses, status) in [
        (
            "first running",
            j!([{"name": "i", "state": running()}]),
            "Init:0/2",
        ),
        (
            "second waiting",
            j!([done, {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]),
            "Init:1/2",
        ),
        (
            "crash loop",
            j!([{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
            "Init:CrashLoopBackOff",
        ),
        (
            "error",
            j!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]),
            "Init:Error",
        ),
        (
            "code",
            j!([{"name": "i", "state": {"terminated": {"exitCode": 3}}}]),
            "Init:ExitCode:3",
        ),
        (
            "signal",
            j!([{"name": "i", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]),
            "Init:Signal:9",
        ),
    ] {
        assert_pod(what, pod(spec.clone(), init(statuses)), "0/1", status, "0");
    }
    let restarted = init(
        j!([{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 2,
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-10T11:59:00Z"}}}]),
    );
    assert_pod(
        "init restarts",
        pod(spec, restarted),
        "0/1",
        "Init:CrashLoopBackOff",
        "2 (60s ago)",
    );
}

/// B01
#[test]
fn sidecars_count_as_containers() {
    let spec = j!({"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
        "containers": [{"name": "a"}]});
    let sidecar = j!({"name": "s", "started": true, "ready": true, "state": running(), "restartCount": 1,
        "lastState": {"terminated": {"finishedAt": "2026-01-09T09:00:00Z"}}});
    let waiting =
        j!({"phase": "Pending", "initContainerStatuses": [sidecar, {"name": "i", "state": running()}]});
    assert_pod(
        "sidecar up, init running",
        pod(spec.clone(), waiting),
        "1/2",
        "Init:1/2",
        "1 (27h ago)",
    );
    let up = j!({"phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}],
        "initContainerStatuses": [sidecar, {"name": "i", "restartCount": 5, "state": {"terminated": {"exitCode": 0}}}],
        "containerStatuses": [{"name": "a", "ready": true, "state": running(), "restartCount": 1}]});
    assert_pod("all up", pod(spec, up), "2/2", "Running", "2 (27h ago)");
}

/// B01
#[test]
fn pods_that_run_end_or_fail() {
    let ended = |exit: i64, reason: &str| j!({"terminated": {"exitCode": exit, "reason": reason}});
    let up = j!({"phase": "Running", "containerStatuses": [
        {"name": "a", "ready": true, "state": running(), "restartCount": 2,
         "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-09T09:00:00Z"}}},
        {"name": "b", "ready": true, "state": running()}]});
    assert_pod("running", pod(two(), up), "2/2", "Running", "2 (27h ago)");
    let loops = j!({"phase": "Running", "containerStatuses": [
        {"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 4},
        {"name": "b", "ready": true, "state": running()}]});
    assert_pod("crash loop", pod(two(), loops), "1/2", "CrashLoopBackOff", "4");
    let part = |ready: &str| {
        j!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "a", "state": ended(0, "Completed")},
                {"name": "b", "ready": true, "state": running()}]})
    };
    assert_pod(
        "one completed, ready",
        pod(two(), part("True")),
        "1/2",
        "Running",
        "0",
    );
    assert_pod(
        "one completed, not ready",
        pod(two(), part("False")),
        "1/2",
        "NotReady",
        "0",
    );
    let failed_second = j!({"phase": "Failed", "containerStatuses": [
        {"name": "a", "state": ended(0, "Completed")}, {"name": "b", "state": ended(1, "Error")}]});
    assert_pod("second failed", pod(two(), failed_second), "0/2", "Error", "0");
    let killed = j!({"phase": "Failed", "containerStatuses": [
        {"name": "a", "state": ended(137, "OOMKilled")}, {"name": "b", "state": ended(0, "Completed")}]});
    assert_pod("oom", pod(two(), killed), "0/2", "OOMKilled", "0");
    let done = j!({"phase": "Succeeded", "containerStatuses": [
        {"name": "a", "state": ended(0, "Completed")}, {"name": "b", "state": ended(0, "Completed")}]});
    assert_pod("completed", pod(two(), done), "0/2", "Completed", "0");
    let evicted = j!({"phase": "Failed", "reason": "Evicted"});
    assert_pod("evicted", pod(two(), evicted), "0/2", "Evicted", "0");
    let signal = j!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 143, "signal": 15}}}]});
    assert_pod("signal", pod(two(), signal), "0/2", "Signal:15", "0");
}

/// B01
#[test]
fn pods_that_are_being_deleted() {
    let delete = |status: Value| {
        let mut pod = pod(two(), status);
        pod["metadata"]["deletionTimestamp"] = j!("2026-01-10T12:00:30Z");
        pod
    };
    assert_pod(
        "terminating",
        delete(j!({"phase": "Running"})),
        "0/2",
        "Terminating",
        "0",
    );
    assert_pod(
        "lost",
        delete(j!({"phase": "Running", "reason": "NodeLost"})),
        "0/2",
        "Unknown",
        "0",
    );
    let done = j!({"phase": "Succeeded", "containerStatuses": [
        {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]});
    assert_pod("done", delete(done), "0/2", "Completed", "0");
}

/// B02
#[test]
fn wide_columns_of_pods() {
    let mut wide = pod(
        two(),
        j!({"phase": "Running", "podIPs": [{"ip": "10.0.0.5"}], "nominatedNodeName": "m",
        "conditions": [{"type": "x/y", "status": "True"}, {"type": "z/w", "status": "False"}]}),
    );
    wide["spec"]["nodeName"] = j!("n");
    wide["spec"]["readinessGates"] = j!([{"conditionType": "x/y"}, {"conditionType": "z/w"}]);
    assert_eq!(shown("Pod", "", wide)[4..], ["2m5s", "10.0.0.5", "n", "m", "1/2"]);
    assert_eq!(
        shown("Pod", "", pod(two(), j!({})))[5..],
        ["<none>", "<none>", "<none>", "<none>"]
    );
    let columns = table_for("Pod", "").unwrap().columns();
    let headers: Vec<_> = columns.iter().map(|c| (c.name, c.priority)).collect();
    assert_eq!(
        headers,
        [
            ("Name", 0),
            ("Ready", 0),
            ("Status", 0),
            ("Restarts", 0),
            ("Age", 0),
            ("IP", 1),
            ("Node", 1),
            ("Nominated Node", 1),
            ("Readiness Gates", 1)
        ]
    );
    assert_eq!(columns[0].format, "name");
}

#[test]
fn finished_pods_have_a_row_condition() {
    let table = table_for("Pod", "").unwrap();
    let row = table.row_value(&pod(two(), j!({"phase": "Succeeded"})), now());
    assert_eq!(
        row["conditions"],
        j!([{"type": "Completed", "status": "True", "reason": "Succeeded", "message": "The pod has completed successfully."}])
    );
    let row = table.row_value(&pod(two(), j!({"phase": "Failed"})), now());
    assert_eq!(row["conditions"][0]["message"], "The pod failed.");
    assert!(
        table
            .row_value(&pod(two(), j!({"phase": "Running"})), now())
            .get("conditions")
            .is_none()
    );
}

/// B02
#[test]
fn nodes() {
    let node = j!({"metadata": {"name": "n", "creationTimestamp": "2026-01-07T10:00:00Z", "labels": {
            "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}, {"type": "InternalIP", "address": "10.1.1.2"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1", "architecture": "amd64",
                "containerRuntimeVersion": ""}}});
    assert_eq!(
        shown("Node", "", node),
        [
            "n",
            "Ready,SchedulingDisabled",
            "control-plane,worker,x",
            "3d2h",
            "v1.36.0",
            "10.1.1.1",
            "<none>",
            "Debian",
            "6.1 (amd64)",
            "<unknown>"
        ]
    );
    let status = |s: &str| {
        shown(
            "Node",
            "",
            j!({"status": {"conditions": [{"type": "Ready", "status": s}]}}),
        )[1]
        .clone()
    };
    assert_eq!(
        (status("False").as_str(), status("Unknown").as_str()),
        ("NotReady", "NotReady")
    );
    assert_eq!(shown("Node", "", j!({}))[1..3], ["Unknown", "<none>"]);
}

/// B02
#[test]
fn daemon_sets_and_their_revisions() {
    let ds = j!({"metadata": {"name": "d", "creationTimestamp": "2026-01-10T11:59:15Z"},
        "spec": {"selector": {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["y", "x"]}, {"key": "d", "operator": "DoesNotExist"}]},
            "template": {"spec": {"nodeSelector": {"z": "1", "y": "2"},
                "containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}]}}},
        "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1, "updatedNumberScheduled": 2}});
    let row = cells("DaemonSet", "apps", ds.clone());
    assert_eq!(row[1], 3);
    assert_eq!(
        shown("DaemonSet", "apps", ds),
        [
            "d",
            "3",
            "2",
            "1",
            "2",
            "0",
            "y=2,z=1",
            "45s",
            "a,b",
            "i:1,j:2",
            "a=1,b=2,c in (x,y),!d"
        ]
    );
    let revision = j!({"metadata": {"name": "d-x", "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}, "revision": 4});
    let row = cells("ControllerRevision", "apps", revision);
    assert_eq!(row, [j!("d-x"), j!("daemonset.apps/d"), j!(4), j!("<unknown>")]);
    assert_eq!(cells("ControllerRevision", "apps", j!({}))[1], "<none>");
}

#[test]
fn services_and_where_they_lead() {
    let service = |spec: Value| shown("Service", "", j!({"metadata": {"name": "s"}, "spec": spec}));
    let ports = j!([{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}]);
    assert_eq!(
        service(j!({"type": "NodePort", "clusterIPs": ["10.0.0.1"], "ports": ports, "selector": {"a": "b"}}))
            [1..],
        [
            "NodePort",
            "10.0.0.1",
            "<none>",
            "80/TCP,53:30053/UDP",
            "<unknown>",
            "a=b"
        ]
    );
    assert_eq!(service(j!({"type": "LoadBalancer"}))[3], "<pending>");
    assert_eq!(
        service(j!({"type": "ExternalName", "externalName": "x.y"}))[2..5],
        ["<none>", "x.y", "<none>"]
    );
    let slice = j!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "any"}],
        "endpoints": [{"addresses": ["1", "2"]}, {"addresses": ["3", "4", "5"]}]});
    assert_eq!(
        shown("EndpointSlice", "discovery.k8s.io", slice)[1..4],
        ["IPv4", "80,*", "1,2,3 + 2 more..."]
    );
    assert_eq!(
        shown("EndpointSlice", "discovery.k8s.io", j!({}))[2..4],
        ["<unset>", "<unset>"]
    );
    let endpoints =
        j!({"subsets": [{"addresses": [{"ip": "1"}, {"ip": "2"}], "ports": [{"port": 80}, {"port": 81}]}]});
    assert_eq!(shown("Endpoints", "", endpoints)[1], "1:80,1:81,2:80 + 1 more...");
}

#[test]
fn events_of_both_groups() {
    let core = j!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": " done\n",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
        "source": {"component": "kubelet", "host": "n"}, "count": 3,
        "firstTimestamp": "2026-01-10T11:00:00Z", "lastTimestamp": "2026-01-10T11:58:00Z", "eventTime": null});
    assert_eq!(
        shown("Event", "", core),
        [
            "2m",
            "Normal",
            "Pulled",
            "pod/p",
            "spec.containers{a}",
            "kubelet, n",
            "done",
            "60m",
            "3",
            "e"
        ]
    );
    let new = j!({"metadata": {"name": "e"}, "type": "Warning", "reason": "X", "note": "text", "regarding": {"kind": "Node", "name": "n"},
        "reportingController": "c", "reportingInstance": "i", "eventTime": "2026-01-10T11:59:30.000000Z"});
    assert_eq!(
        shown("Event", "events.k8s.io", new),
        [
            "30s", "Warning", "X", "node/n", "", "c, i", "text", "30s", "1", "e"
        ]
    );
}

#[test]
fn the_rest() {
    assert_eq!(
        cells("ConfigMap", "", j!({"data": {"a": ""}, "binaryData": {"b": ""}}))[1],
        2
    );
    assert_eq!(
        shown("Secret", "", j!({"type": "Opaque", "data": {"a": ""}}))[1..3],
        ["Opaque", "1"]
    );
    assert_eq!(
        shown("Namespace", "", j!({"status": {"phase": "Active"}}))[1],
        "Active"
    );
    let deployment = j!({"spec": {"replicas": 3}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}});
    assert_eq!(shown("Deployment", "apps", deployment)[1..4], ["2/3", "3", "1"]);
    let set =
        j!({"spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 1}});
    assert_eq!(
        shown("ReplicaSet", "apps", set)[1..],
        ["2", "1", "0", "<unknown>", "", "", "a=b"]
    );
    let controller = j!({"spec": {"replicas": 2, "selector": {"a": "b"}}});
    assert_eq!(shown("ReplicationController", "", controller)[7], "a=b");
    let binding = j!({"roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [
        {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]});
    let row = shown("RoleBinding", "rbac.authorization.k8s.io", binding);
    assert_eq!(
        (row[1].as_str(), row[3].as_str(), row[4].as_str(), row[5].as_str()),
        ("ClusterRole/admin", "u, v", "", "n/s")
    );
    let csr = j!({"spec": {"username": "u", "expirationSeconds": 86400}, "status": {"certificate": "x", "conditions": [{"type": "Approved"}]}});
    assert_eq!(
        shown("CertificateSigningRequest", "certificates.k8s.io", csr)[2..],
        ["<none>", "u", "24h", "Approved,Issued"]
    );
    let pdb = j!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}});
    assert_eq!(
        shown("PodDisruptionBudget", "policy", pdb)[1..4],
        ["50%", "N/A", "1"]
    );
    assert_eq!(
        cells(
            "PriorityClass",
            "scheduling.k8s.io",
            j!({"value": 5, "preemptionPolicy": "Never"})
        ),
        [j!(""), j!(5), j!(false), j!("<unknown>"), j!("Never")]
    );
    assert_eq!(
        shown("CSIDriver", "storage.k8s.io", j!({}))[1..7],
        ["true", "false", "false", "<unset>", "false", "<none>"]
    );
    let quota = j!({"status": {"hard": {"limits.cpu": "2", "pods": "10"}, "used": {"pods": "3"}}});
    assert_eq!(
        shown("ResourceQuota", "", quota)[1..3],
        ["pods: 3/10", "limits.cpu: 0/2"]
    );
    let role = default_table().row(
        &j!({"metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"}}),
        now(),
    );
    assert_eq!(role, [j!("r"), j!("2026-01-01T00:00:00Z")]);
    assert!(table_for("Widget", "example.com").is_none());
}

/// B08
#[test]
fn ages() {
    for (seconds, shown) in [
        (5, "5s"),
        (119, "119s"),
        (125, "2m5s"),
        (11 * 60, "11m"),
        (4 * 3600 + 300, "4h5m"),
        (27 * 3600, "27h"),
        (74 * 3600, "3d2h"),
        (400 * 86400, "400d"),
        (-1, "0s"),
        (-10, "<invalid>"),
    ] {
        let created = Timestamp::from_second(now().as_second() - seconds).unwrap();
        let row = cells(
            "ServiceAccount",
            "",
            j!({"metadata": {"creationTimestamp": created.to_string()}}),
        );
        assert_eq!(row[1], shown, "{seconds}");
    }
}

#[test]
fn any_json_gives_a_full_row() {
    let odd = [
        j!(null),
        j!([]),
        j!({"metadata": 1, "spec": [], "status": {"conditions": {}, "containerStatuses": [1, null]}}),
    ];
    for kind in crate::wire::kinds() {
        let group = kind.api_version.split_once('/').map_or("", |(group, _)| group);
        let table = table_for(kind.kind, group).unwrap_or(default_table());
        for object in &odd {
            assert_eq!(
                table.row(object, now()).len(),
                table.columns().len(),
                "{}",
                kind.kind
            );
        }
        assert!(table.column_definitions()[0]["priority"].is_i64());
    }
}

#[test]
fn jobs_and_cron_jobs() {
    let job = |spec: Value, status: Value| {
        let mut spec = spec;
        spec["template"] = j!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
        let created = "2026-01-10T11:00:00Z";
        let row = shown(
            "Job",
            "batch",
            j!({"metadata": {"name": "j", "creationTimestamp": created}, "spec": spec, "status": status}),
        );
        row[..5].join(" ")
    };
    let start = "2026-01-10T11:00:00Z";
    assert_eq!(
        job(
            j!({"completions": 3, "parallelism": 1}),
            j!({"startTime": start, "succeeded": 1})
        ),
        "j Running 1/3 60m 60m"
    );
    let done = j!({"startTime": start, "completionTime": "2026-01-10T11:00:07Z", "succeeded": 1,
        "conditions": [{"type": "Complete", "status": "True"}]});
    assert_eq!(job(j!({"completions": 1}), done), "j Complete 1/1 7s 60m");
    let failed = j!({"conditions": [{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}]});
    assert_eq!(job(j!({"parallelism": 3}), failed), "j Failed 0/1 of 3  60m");
    assert_eq!(
        job(
            j!({"completions": 1}),
            j!({"conditions": [{"type": "Suspended", "status": "True"}]})
        ),
        "j Suspended 0/1  60m"
    );
    let cron = j!({"metadata": {"name": "c", "creationTimestamp": start},
        "spec": {"schedule": "*/5 * * * *", "suspend": false, "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}},
        "status": {"active": [{}], "lastScheduleTime": "2026-01-10T11:55:00Z"}});
    assert_eq!(
        shown("CronJob", "batch", cron)[..7].join("|"),
        "c|*/5 * * * *|<none>|False|1|5m|60m"
    );
}

#[test]
fn volumes_and_claims() {
    let created = "2026-01-10T11:00:00Z";
    let claim = j!({"metadata": {"name": "c", "creationTimestamp": created},
        "spec": {"volumeName": "v", "storageClassName": "gold", "volumeMode": "Filesystem", "accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}});
    assert_eq!(
        shown("PersistentVolumeClaim", "", claim.clone()).join("|"),
        "c|Bound|v|1Gi|RWO,RWX|gold|<unset>|60m|Filesystem"
    );
    let mut waiting = claim;
    waiting["spec"]["volumeName"] = j!("");
    waiting["metadata"]["deletionTimestamp"] = j!(created);
    assert_eq!(
        shown("PersistentVolumeClaim", "", waiting)[..5].join("|"),
        "c|Terminating|||"
    );
    let volume = j!({"metadata": {"name": "v", "creationTimestamp": created},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany", "ReadWriteOncePod"],
            "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "d", "name": "c"}},
        "status": {"phase": "Bound"}});
    assert_eq!(
        shown("PersistentVolume", "", volume).join("|"),
        "v|1Gi|ROX,RWOP|Retain|Bound|d/c||<unset>||60m|<unset>"
    );
    let class = j!({"metadata": {"name": "gold", "creationTimestamp": created,
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"});
    assert_eq!(
        shown("StorageClass", "storage.k8s.io", class).join("|"),
        "gold (default)|p|Delete|Immediate|false|60m"
    );
}

#[test]
fn ingresses_and_what_belongs_to_them() {
    let created = "2026-01-10T11:00:00Z";
    let rules: Vec<Value> = ["a", "b", "c", "d"]
        .iter()
        .map(|host| j!({"host": host}))
        .collect();
    let ingress = j!({"metadata": {"name": "i", "creationTimestamp": created}, "spec": {"rules": rules, "tls": [{}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "h"}]}}});
    assert_eq!(
        shown("Ingress", "networking.k8s.io", ingress).join("|"),
        "i|<none>|a,b,c + 1 more...|1.2.3.4,h|80, 443|60m"
    );
    let bare = j!({"metadata": {"name": "i"}, "spec": {"ingressClassName": "n"}});
    assert_eq!(
        shown("Ingress", "networking.k8s.io", bare)[1..5].join("|"),
        "n|*||80"
    );
    let class = j!({"metadata": {"name": "n"}, "spec": {"controller": "c",
        "parameters": {"apiGroup": "g.io", "kind": "P", "name": "x"}}});
    assert_eq!(
        shown("IngressClass", "networking.k8s.io", class)[1..3].join("|"),
        "c|P.g.io/x"
    );
    let policy = j!({"metadata": {"name": "p"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}}}});
    assert_eq!(shown("NetworkPolicy", "networking.k8s.io", policy)[1], "a=b");
    let address = j!({"metadata": {"name": "10.0.0.1"},
        "spec": {"parentRef": {"resource": "services", "namespace": "d", "name": "s"}}});
    assert_eq!(
        shown("IPAddress", "networking.k8s.io", address)[1],
        "services/d/s"
    );
}

#[test]
fn autoscalers() {
    let scaler = |metrics: Value, current: Value| {
        let object = j!({"metadata": {"name": "h", "creationTimestamp": "2026-01-10T11:00:00Z"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 5, "metrics": metrics},
            "status": {"currentReplicas": 2, "currentMetrics": current}});
        shown("HorizontalPodAutoscaler", "autoscaling", object).join("|")
    };
    let cpu = j!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    let memory = j!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    let hits = j!({"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"averageValue": "5"}}});
    assert_eq!(
        scaler(j!([cpu]), j!([])),
        "h|Deployment/d|cpu: <unknown>/80%|1|5|2|60m"
    );
    let current = j!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10, "averageValue": "1m"}}},
        {"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "5Mi"}}}]);
    assert_eq!(
        scaler(j!([cpu, memory, hits]), current),
        "h|Deployment/d|cpu: 10%/80%, memory: 5Mi/1Gi + 1 more...|1|5|2|60m"
    );
}
