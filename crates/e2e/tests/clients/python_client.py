"""What programs do with the Python client, against one node. Ends with the first thing that is not as upstream's.

usage: python_client.py KUBECONFIG NODE
"""
import sys

import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

KUBECONFIG, NODE = sys.argv[1:]
IMAGE = "orlop.local/busybox:debian"
NAMESPACE = "python"


def check(condition, what):
    if not condition:
        raise SystemExit(f"not so: {what}")


def refused(status, reason, call, *arguments, **named):
    """The call fails with this status and reason."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        check(error.status == status, f"{error.status} is {status}: {error.body}")
        check(yaml.safe_load(error.body)["reason"] == reason, f"{reason}: {error.body}")
        return
    raise SystemExit(f"{call.__name__} should have been refused with {status} {reason}")


def pod(name, *command):
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": IMAGE, "command": list(command)}],
        },
    }


def versions(api):
    check(client.VersionApi(api).get_code().git_version.startswith("v1."), "a version")
    groups = [group.name for group in client.ApisApi(api).get_api_versions().groups]
    check("apps" in groups and "rbac.authorization.k8s.io" in groups, f"groups: {groups}")
    names = [resource.name for resource in client.CoreV1Api(api).get_api_resources().resources]
    check("pods" in names and "pods/exec" in names, f"resources: {names}")


def config_maps(core):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c", labels={"a": "b"}), data={"k": "1"})
    made = core.create_namespaced_config_map(NAMESPACE, body)
    check(made.metadata.uid and made.metadata.creation_timestamp.tzinfo, "stamped")
    refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, body)
    refused(404, "NotFound", core.read_namespaced_config_map, "none", NAMESPACE)
    # A dictionary is a merge patch in this client's releases, a list a JSON patch.
    merged = core.patch_namespaced_config_map("c", NAMESPACE, {"data": {"k": None, "l": "2"}})
    check(merged.data == {"l": "2"}, f"merged: {merged.data}")
    patch = [{"op": "test", "path": "/data/l", "value": "2"}, {"op": "add", "path": "/data/m", "value": "3"}]
    patched = core.patch_namespaced_config_map("c", NAMESPACE, patch)
    check(patched.data == {"l": "2", "m": "3"}, f"patched: {patched.data}")
    made.data = {"late": "1"}
    refused(409, "Conflict", core.replace_namespaced_config_map, "c", NAMESPACE, made)
    listed = core.list_namespaced_config_map(NAMESPACE, label_selector="a=b", field_selector="metadata.name=c")
    check([item.metadata.name for item in listed.items] == ["c"], "selected")
    for number in range(5):
        core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": f"p{number}"}})
    seen, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(NAMESPACE, limit=2, _continue=token)
        seen += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
    check(len(seen) == len(set(seen)) and {"c", "p0", "p4"} <= set(seen), f"pages: {seen}")
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="a=b")
    refused(404, "NotFound", core.read_namespaced_config_map, "c", NAMESPACE)


def watches(core):
    version = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "w"}})
    core.patch_namespaced_config_map("w", NAMESPACE, {"data": {"x": "y"}})
    core.delete_namespaced_config_map("w", NAMESPACE)
    types = []
    for event in watch.Watch().stream(
        core.list_namespaced_config_map,
        NAMESPACE,
        field_selector="metadata.name=w",
        resource_version=version,
        timeout_seconds=20,
    ):
        types.append(event["type"])
        if event["type"] == "DELETED":
            break
    check(types == ["ADDED", "MODIFIED", "DELETED"], f"events: {types}")


def until(core, name, what, wanted):
    watcher = watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_pod, NAMESPACE, field_selector=f"metadata.name={name}", timeout_seconds=60
    ):
        if wanted(event["object"]):
            watcher.stop()
            return event["object"]
    raise SystemExit(f"pod {name} is not {what} after a minute")


def pods(core):
    core.create_namespaced_pod(NAMESPACE, pod("once", "sh", "-c", "for i in 1 2 3; do echo line $i; done"))
    core.create_namespaced_pod(NAMESPACE, pod("stays", "sh", "-c", "mkdir /w; echo served >/w/f; httpd -f -p 80 -h /w"))
    until(core, "once", "done", lambda pod: pod.status.container_statuses and pod.status.container_statuses[0].restart_count)
    running = until(core, "stays", "running", lambda pod: pod.status.phase == "Running")
    check(running.spec.node_name == NODE, f"bound to {running.spec.node_name}")
    check(core.read_namespaced_pod_log("once", NAMESPACE, previous=True).startswith("line 1\n"), "previous log")
    followed = list(watch.Watch().stream(core.read_namespaced_pod_log, "once", NAMESPACE, previous=True))
    check(followed == ["line 1", "line 2", "line 3"], f"followed: {followed}")
    said = stream(
        core.connect_get_namespaced_pod_exec, "stays", NAMESPACE, command=["sh", "-c", "echo out; echo err >&2"],
        stderr=True, stdin=False, stdout=True, tty=False,
    )
    check(sorted(said.split()) == ["err", "out"], f"exec said {said!r}")
    session = stream(
        core.connect_get_namespaced_pod_exec, "stays", NAMESPACE, command=["sh"],
        stderr=True, stdin=True, stdout=True, tty=False, _preload_content=False,
    )
    session.write_stdin("echo heard; exit 3\n")
    session.run_forever(timeout=20)
    check(session.read_stdout() == "heard\n" and session.returncode == 3, f"exit {session.returncode}")
    forward = portforward(core.connect_get_namespaced_pod_portforward, "stays", NAMESPACE, ports="80")
    socket = forward.socket(80)
    socket.settimeout(20)
    socket.sendall(b"GET /f HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := socket.recv(4096):
        answer += piece
    check(answer.endswith(b"served\n"), f"forwarded: {answer!r}, error {forward.error(80)}")


def typed_lists(api):
    """Everything that is there, through the client's own models, which refuse what lacks a required field."""
    core = client.CoreV1Api(api)
    check([node.metadata.name for node in core.list_node().items] == [NODE], "one node")
    core.list_event_for_all_namespaces(), core.list_pod_for_all_namespaces(), core.list_namespace()
    core.list_service_for_all_namespaces(), core.list_endpoints_for_all_namespaces()
    rbac = client.RbacAuthorizationV1Api(api)
    check(any(role.metadata.name == "cluster-admin" for role in rbac.list_cluster_role().items), "cluster-admin")
    rbac.list_cluster_role_binding(), rbac.list_role_for_all_namespaces()
    client.DiscoveryV1Api(api).list_endpoint_slice_for_all_namespaces()
    client.CoordinationV1Api(api).list_lease_for_all_namespaces()
    client.SchedulingV1Api(api).list_priority_class()
    client.FlowcontrolApiserverV1Api(api).list_flow_schema()
    client.FlowcontrolApiserverV1Api(api).list_priority_level_configuration()
    client.ApiregistrationV1Api(api).list_api_service()
    usage = client.CustomObjectsApi(api).list_cluster_custom_object("metrics.k8s.io", "v1beta1", "nodes")
    check(usage["kind"] == "NodeMetricsList", f"usage: {usage['kind']}")


def custom_resources(api):
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(definition)
    for event in watch.Watch().stream(extensions.list_custom_resource_definition, timeout_seconds=30):
        conditions = event["object"].status.conditions or []
        if any(c.type == "Established" and c.status == "True" for c in conditions):
            break
    objects = client.CustomObjectsApi(api)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}
    made = objects.create_namespaced_custom_object("example.com", "v1", NAMESPACE, "widgets", widget)
    check(made["spec"]["size"] == 1, f"defaulted: {made['spec']}")
    widget["spec"]["size"] = "large"
    widget["metadata"]["name"] = "wrong"
    refused(422, "Invalid", objects.create_namespaced_custom_object, "example.com", "v1", NAMESPACE, "widgets", widget)
    # The dynamic client finds the kind by discovery and applies on the server.
    widgets = dynamic.DynamicClient(api).resources.get(api_version="example.com/v1", kind="Widget")
    applied = widgets.server_side_apply(
        namespace=NAMESPACE,
        body={"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 4}},
        field_manager="python",
        force_conflicts=True,
    )
    check(applied.spec.size == 4, f"applied: {applied.spec}")
    check(any(m.manager == "python" and m.operation == "Apply" for m in applied.metadata.managedFields), "managed")
    extensions.delete_custom_resource_definition("widgets.example.com")


def workloads(api):
    documents = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: python}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "orlop.local/busybox:debian", command: [sleep, "1000000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: agent, namespace: python}
spec: {selector: {app: agent}, ports: [{port: 80}]}
"""
    utils.create_from_yaml(api, yaml_objects=yaml.safe_load_all(documents))
    apps = client.AppsV1Api(api)
    for event in watch.Watch().stream(apps.list_namespaced_daemon_set, NAMESPACE, timeout_seconds=60):
        status = event["object"].status
        if status.number_ready == 1 and status.desired_number_scheduled == 1:
            break
    else:
        raise SystemExit("the DaemonSet has no Ready pod after a minute")
    apps.patch_namespaced_daemon_set("agent", NAMESPACE, {"spec": {"template": {"metadata": {"annotations": {"turn": "2"}}}}})
    for event in watch.Watch().stream(apps.list_namespaced_daemon_set, NAMESPACE, timeout_seconds=60):
        found = event["object"]
        if found.status.observed_generation == 2 and found.status.updated_number_scheduled == 1 == found.status.number_ready:
            break
    else:
        raise SystemExit("the DaemonSet was not rolled over after a minute")
    check(len(apps.list_namespaced_controller_revision(NAMESPACE).items) == 2, "two revisions")


def identities(api):
    core = client.CoreV1Api(api)
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "robot"}})
    token = core.create_namespaced_service_account_token(
        "robot", NAMESPACE, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    ).status.token
    mine = client.Configuration()
    mine.host, mine.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    mine.api_key = {"authorization": f"Bearer {token}"}
    robot = client.ApiClient(mine)
    who = client.AuthenticationV1Api(robot).create_self_subject_review({}).status.user_info.username
    check(who == f"system:serviceaccount:{NAMESPACE}:robot", f"I am {who}")
    refused(403, "Forbidden", client.CoreV1Api(robot).list_namespaced_pod, NAMESPACE)


def main():
    config.load_kube_config(KUBECONFIG)
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    for event in watch.Watch().stream(core.list_namespaced_service_account, NAMESPACE, timeout_seconds=30):
        if event["object"].metadata.name == "default":
            break
    for part in (versions, typed_lists, custom_resources, workloads, identities):
        part(api)
        print(f"{part.__name__} ok", flush=True)
    for part in (config_maps, watches, pods):
        part(core)
        print(f"{part.__name__} ok", flush=True)
    core.delete_namespace(NAMESPACE)
    print("done")


main()
