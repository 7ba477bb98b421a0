//! Cases of upstream's node suites that are not in the contract's words: what containers see, how they end, what is said.
use crate::shared::{
    FOREVER, IMAGE, Shared, apply, container, exit_code, node, note, pod, restarts, wait_phase,
};
use orlop_e2e::{Node, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn events(node: &Node, name: &str) -> String {
    node.kubectl
        .ok(&format!("get events --field-selector involvedObject.name={name}"))
}

fn wait_told(node: &Node, name: &str, what: &str) {
    eventually(&format!("{what:?} is told of {name}"), || {
        let events = events(node, name);
        events.contains(what).then_some(()).ok_or(events)
    });
}

/// Waits until the pod is as `check` wants it.
fn wait_for(node: &Node, name: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let pod = node.kubectl.json(&format!("get pod {name}"));
        if check(&pod) {
            return Ok(pod);
        }
        Err(format!("{:#}", pod["status"]))
    })
}

/// A pod with one container that runs a script to its end.
struct Script {
    name: &'static str,
    script: &'static str,
    /// Merged into the pod's spec, and into its container.
    spec: Value,
    container: Value,
    /// Lines that its log has.
    lines: &'static [&'static str],
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

/// Runs all of them at once; each has to end well and to have said its lines.
fn run(node: &Node, scripts: &[Script]) {
    for script in scripts {
        let mut container = json!({
            "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script.script],
        });
        merge(&mut container, &script.container);
        let mut spec = json!({
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
            "containers": [container],
        });
        merge(&mut spec, &script.spec);
        let metadata = json!({"name": script.name, "labels": {"app": script.name}});
        apply(
            node,
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        );
    }
    let mut wrong = Vec::new();
    for script in scripts {
        let name = script.name;
        let over = |pod: &Value| {
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            ["Succeeded", "Failed"].contains(&phase)
        };
        let ended = wait_for(node, name, &format!("{name} ends"), over);
        let log = node.kubectl.ok(&format!("logs {name}"));
        if ended["status"]["phase"] != "Succeeded" {
            wrong.push(format!("{name} failed: {log}\n{:#}", ended["status"]));
        }
        for line in script.lines {
            if !log.lines().any(|found| found.trim_end() == *line) {
                wrong.push(format!("{name}: no line {line:?} in\n{log}"));
            }
        }
        node.kubectl.ok(&format!("delete pod {name} --now --wait=false"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Users, groups, capabilities, profiles and file systems as a container sees them.
#[test]
fn security_contexts_are_as_the_container_sees_them() {
    run(
        &node(),
        &[
            Script {
                name: "run-as-user",
                script: "id -u; id -g; id -G; touch /data/f; stat -c '%u %g' /data/f; stat -c %a /data",
                spec: json!({
                    "securityContext": {"runAsUser": 1001, "runAsGroup": 2001, "fsGroup": 3001, "supplementalGroups": [4001]},
                    "volumes": [{"name": "data", "emptyDir": {}}]}),
                container: json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
                lines: &["1001", "2001", "2001 3001 4001", "1001 3001", "2777"],
            },
            Script {
                name: "container-user-wins",
                script: "id -u; grep NoNewPrivs /proc/self/status; grep '^Seccomp:' /proc/self/status",
                spec: json!({"securityContext": {"runAsUser": 1001}}),
                container: json!({"securityContext": {
                    "runAsUser": 65534, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
                    "seccompProfile": {"type": "RuntimeDefault"}}}),
                lines: &["65534", "NoNewPrivs:\t1", "Seccomp:\t2"],
            },
            Script {
                name: "unconfined",
                script: "grep NoNewPrivs /proc/self/status; grep '^Seccomp:' /proc/self/status",
                spec: json!({}),
                container: json!({"securityContext": {"runAsUser": 1000}}),
                lines: &["NoNewPrivs:\t0", "Seccomp:\t0"],
            },
            Script {
                name: "read-only-root",
                script: "touch /x 2>/dev/null || echo read-only; touch /tmp/x && echo written",
                spec: json!({"volumes": [{"name": "tmp", "emptyDir": {}}]}),
                container: json!({
                    "securityContext": {"readOnlyRootFilesystem": true},
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}),
                lines: &["read-only", "written"],
            },
            Script {
                name: "capabilities",
                script: "grep CapEff /proc/self/status",
                spec: json!({}),
                container: json!({"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}),
                lines: &["CapEff:\t0000000000000400"],
            },
            Script {
                name: "masked-paths",
                script: "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; touch /proc/sys/kernel/domainname 2>/dev/null; \
                         echo x > /proc/sys/kernel/domainname 2>/dev/null || echo kept",
                spec: json!({}),
                container: json!({}),
                lines: &["0", "kept"],
            },
            Script {
                name: "safe-sysctl",
                script: "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced",
                spec: json!({"securityContext": {"sysctls": [
                    {"name": "net.ipv4.ip_local_port_range", "value": "40000 41000"},
                    {"name": "kernel/shm_rmid_forced", "value": "1"}]}}),
                container: json!({}),
                lines: &["40000\t41000", "1"],
            },
        ],
    );
}

/// What a pod may know of itself and of its node.
#[test]
fn downward_api_and_variables_are_as_the_container_sees_them() {
    let node = node();
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let resource = |name: &str, what: &str, divisor: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": what, "divisor": divisor}}});
    run(
        &node,
        &[
            Script {
                name: "fields",
                script: "[ \"$HOST_IP\" = \"${HOST_IPS%%,*}\" ] && echo host; [ \"$POD_IP\" = \"${POD_IPS%%,*}\" ] && echo pod; \
                         [ -n \"$POD_IP\" ] && echo address; echo $NAME $ACCOUNT; cat /info/labels; echo; cat /info/name; echo; \
                         cat /info/cpu",
                spec: json!({"volumes": [{"name": "info", "downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}}]}}]}),
                container: json!({
                    "resources": {"limits": {"cpu": "150m", "memory": "64Mi"}},
                    "volumeMounts": [{"name": "info", "mountPath": "/info"}],
                    "env": [field("HOST_IP", "status.hostIP"), field("HOST_IPS", "status.hostIPs"),
                        field("POD_IP", "status.podIP"), field("POD_IPS", "status.podIPs"),
                        field("NAME", "metadata.name"), field("ACCOUNT", "spec.serviceAccountName")]}),
                lines: &[
                    "host",
                    "pod",
                    "address",
                    "fields default",
                    "app=\"fields\"",
                    "fields",
                    "150",
                ],
            },
            Script {
                name: "limits-of-the-node",
                script: "[ $CPU -ge 1 ] && echo cpu; [ $MEMORY -ge 100 ] && echo memory",
                spec: json!({}),
                container: json!({"env": [resource("CPU", "limits.cpu", "1"), resource("MEMORY", "limits.memory", "1Mi")]}),
                lines: &["cpu", "memory"],
            },
            Script {
                name: "expansion",
                script: "echo $COMPOSED; echo \"$LITERAL\"; echo \"$0 $1\"; tr '\\0' '\\n' < /proc/1/environ | grep '^odd.name-1='; cat /logs/expansion/f",
                spec: json!({
                    "volumes": [{"name": "logs", "emptyDir": {}}],
                    "initContainers": [{"name": "writes", "image": IMAGE, "imagePullPolicy": "Never",
                        "command": ["/bin/sh", "-c", "echo sub path > /mine/f"], "env": [field("POD_NAME", "metadata.name")],
                        "volumeMounts": [{"name": "logs", "mountPath": "/mine", "subPathExpr": "$(POD_NAME)"}]}]}),
                container: json!({
                    "args": ["$(COMPOSED)", "$$(COMPOSED)"],
                    "volumeMounts": [{"name": "logs", "mountPath": "/logs"}],
                    "env": [{"name": "FOO", "value": "foo-value"}, {"name": "odd.name-1", "value": "taken"},
                        {"name": "COMPOSED", "value": "$(FOO);;$(BAR)"}, {"name": "LITERAL", "value": "$$(FOO)"}]}),
                lines: &[
                    "foo-value;;$(BAR)",
                    "$(FOO)",
                    "foo-value;;$(BAR) $(COMPOSED)",
                    "odd.name-1=taken",
                    "sub path",
                ],
            },
            Script {
                name: "host-aliases",
                script: "tail -2 /etc/hosts; head -1 /etc/hosts; cat /etc/resolv.conf",
                spec: json!({
                    "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["one", "two"]}],
                    "dnsPolicy": "None",
                    "dnsConfig": {"nameservers": ["10.9.9.9"], "searches": ["my.dns.search"],
                        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                container: json!({}),
                lines: &[
                    "10.1.2.3\tone\ttwo",
                    "# Kubernetes-managed hosts file.",
                    "nameserver 10.9.9.9",
                    "search my.dns.search",
                    "options ndots:2 edns0",
                ],
            },
        ],
    );
    for (name, value) in [("absolute", "/tmp"), ("upwards", "..")] {
        let shared = Shared::new(&node, name);
        let mut main = container("main", FOREVER);
        main["env"] = json!([{"name": "WHERE", "value": value}]);
        main["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared", "subPathExpr": "$(WHERE)"}]);
        apply(&node, &pod(name, &shared, vec![], vec![main]));
        wait_for(&node, name, "the path is refused", |pod| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            waiting["reason"] == "CreateContainerConfigError"
        });
        node.kubectl.ok(&format!("delete pod {name} --now --wait=false"));
    }
}

/// KEP-4960: the signal that the spec names ends the container, is told, and needs the operating system to be named.
#[test]
fn stop_signal_of_the_spec_ends_the_container() {
    let node = node();
    let shared = Shared::new(&node, "stop-signal");
    let script = "trap 'echo usr1 > /shared/got; exit 0' USR1; trap 'echo term > /shared/got; exit 0' TERM; \
                  echo up > /shared/up; while :; do sleep 0.05; done";
    let mut main = container("main", script);
    main["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    let mut signalled = pod("stop-signal", &shared, vec![], vec![main]);
    let refused = node.kubectl.fed("create", &signalled.to_string());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("may not be set for containers with empty `spec.os.name`"),
        "{said}"
    );
    signalled["spec"]["os"] = json!({"name": "linux"});
    signalled["spec"]["terminationGracePeriodSeconds"] = json!(30);
    apply(&node, &signalled);
    shared.wait("up");
    wait_for(&node, "stop-signal", "the status tells", |pod| {
        pod["status"]["containerStatuses"][0]["stopSignal"] == "SIGUSR1"
    });
    let began = Instant::now();
    node.kubectl.ok("delete pod stop-signal");
    assert_eq!(shared.read("got"), "usr1");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// A container that does not care for its signal has its grace, and no more.
#[test]
fn stop_signal_that_is_passed_over_is_followed_by_a_kill() {
    let node = node();
    let shared = Shared::new(&node, "deaf");
    let script = "trap '' HUP; trap 'echo term > /shared/got' TERM; echo up > /shared/up; while :; do sleep 0.05; done";
    let mut main = container("main", script);
    main["lifecycle"] = json!({"stopSignal": "SIGHUP"});
    let mut deaf = pod("deaf", &shared, vec![], vec![main]);
    deaf["spec"]["os"] = json!({"name": "linux"});
    deaf["spec"]["terminationGracePeriodSeconds"] = json!(4);
    apply(&node, &deaf);
    shared.wait("up");
    let began = Instant::now();
    let last = crate::shared::delete_and_see(&node, "deaf");
    let took = began.elapsed();
    assert_eq!(exit_code(&last, "main"), Some(137), "{last:#}");
    assert_eq!(shared.read("got"), "", "SIGTERM was not sent");
    assert!(
        took > Duration::from_secs(3) && took < Duration::from_secs(15),
        "{took:?}"
    );
}

/// KEP-4639: the container sees the image's files; a runtime that mounts no images is named with what is needed, and the
/// pod can be deleted.
#[test]
fn image_volume_shows_the_image_or_is_refused_with_what_is_needed() {
    let node = node();
    let shared = Shared::new(&node, "image-volume");
    let mut main = container("main", "ls /image/bin/busybox && sleep 3600");
    main["volumeMounts"] = json!([{"name": "image", "mountPath": "/image"}]);
    let mut wanting = pod("image-volume", &shared, vec![], vec![main]);
    let image = json!({"reference": IMAGE, "pullPolicy": "Never"});
    wanting["spec"]["volumes"] = json!([{"name": "image", "image": image}]);
    apply(&node, &wanting);
    let path = "/status/nodeInfo/containerRuntimeVersion";
    let runtime = node.kubectl.field(&format!("node {}", node.name), path);
    let mounts_images = !["containerd://1.", "containerd://2.0."]
        .iter()
        .any(|old| runtime.starts_with(old));
    if mounts_images {
        node.kubectl
            .ok("wait --for=condition=Ready pod/image-volume --timeout=60s");
        eventually("the image's files", || {
            let log = node.kubectl.ok("logs image-volume");
            log.contains("/image/bin/busybox").then_some(()).ok_or(log)
        });
    } else {
        wait_told(
            &node,
            "image-volume",
            "image volumes need containerd 2.1 or later; this node has containerd ",
        );
        assert_eq!(node.kubectl.field("pod image-volume", "/status/phase"), "Pending");
    }
    node.kubectl.ok("delete pod image-volume --timeout=60s");
}

/// The generation that a pod's status was made for, in the status and in its conditions; of one that is not let in too.
#[test]
fn observed_generations_follow_the_spec() {
    let node = node();
    let shared = Shared::new(&node, "generation");
    apply(
        &node,
        &pod("generation", &shared, vec![], vec![container("main", FOREVER)]),
    );
    wait_phase(&node, "generation", "Running");
    for deadline in [3600, 3000, 2000] {
        node.kubectl.ok(&format!(
            r#"patch pod generation --type=merge -p={{"spec":{{"activeDeadlineSeconds":{deadline}}}}}"#
        ));
    }
    wait_for(&node, "generation", "the last generation is observed", |pod| {
        let generation = pod["metadata"]["generation"].as_i64();
        let conditions = pod["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let observed = conditions
            .iter()
            .filter(|one| one["observedGeneration"].as_i64() == generation);
        generation >= Some(4)
            && pod["status"]["observedGeneration"].as_i64() == generation
            && observed.count() >= 4
    });
    node.kubectl.ok("delete pod generation --now --wait=false");

    let mut big = pod("too-big", &shared, vec![], vec![container("main", FOREVER)]);
    big["spec"]["nodeName"] = json!(node.name);
    big["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1000"}});
    apply(&node, &big);
    let rejected = wait_for(&node, "too-big", "it is rejected", |pod| {
        pod["status"]["phase"] == "Failed"
    });
    let status = &rejected["status"];
    assert_eq!(status["reason"], "OutOfcpu", "{status:#}");
    assert_eq!(status["observedGeneration"], 1, "{status:#}");
    assert_eq!(status["qosClass"], "Burstable");
    assert!(
        status["startTime"].is_string() && status["containerStatuses"].is_null(),
        "{status:#}"
    );
    node.kubectl.ok("delete pod too-big --timeout=30s");
}

/// Restarts by exit code under a policy that would not, and the policy of one container.
#[test]
fn restart_rules_and_policies_of_containers_are_kept() {
    let node = node();
    let shared = Shared::new(&node, "rules");
    let ruled = |name: &str, script: &str| {
        let mut container = container(name, script);
        container["restartPolicy"] = json!("Never");
        container["restartPolicyRules"] =
            json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        container
    };
    let again = "[ -e /shared/once ] && exit 0; touch /shared/once; exit 42";
    let mut always = container(
        "always",
        "n=$(cat /shared/n 2>/dev/null || echo 0); echo $((n+1)) > /shared/n; exit 1",
    );
    always["restartPolicy"] = json!("Always");
    let mut rules = pod(
        "rules",
        &shared,
        vec![],
        vec![ruled("again", again), ruled("not", "exit 1"), always],
    );
    rules["spec"]["restartPolicy"] = json!("Never");
    apply(&node, &rules);
    let seen = wait_for(&node, "rules", "the containers are where they end", |pod| {
        exit_code(pod, "again") == Some(0) && exit_code(pod, "not") == Some(1) && restarts(pod, "always") >= 1
    });
    assert_eq!(
        (restarts(&seen, "again"), restarts(&seen, "not")),
        (1, 0),
        "{:#}",
        seen["status"]
    );
    node.kubectl.ok("delete pod rules --now --wait=false");
}

/// A sleep before the stop takes its time, one of zero takes none; longer than the grace is no sleep that the API takes.
#[test]
fn sleep_hooks_take_their_time() {
    let node = node();
    let shared = Shared::new(&node, "sleep");
    let sleeping = |name: &str, seconds: u32| {
        let mut main = container("main", FOREVER);
        main["lifecycle"] = json!({"preStop": {"sleep": {"seconds": seconds}}});
        let mut pod = pod(name, &shared, vec![], vec![main]);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(20);
        pod
    };
    let refused = node
        .kubectl
        .fed("create", &sleeping("sleep-long", 21).to_string());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("lifecycle.preStop.sleep") && !refused.status.success(),
        "{said}"
    );
    for (name, seconds) in [("sleep-none", 0), ("sleep-four", 4)] {
        apply(&node, &sleeping(name, seconds));
        wait_phase(&node, name, "Running");
        let began = Instant::now();
        node.kubectl.ok(&format!("delete pod {name}"));
        let took = began.elapsed().as_secs_f64();
        let expected = f64::from(seconds);
        assert!(took >= expected && took < expected + 3.5, "{name}: {took}");
    }
}

/// Probes of every kind that a shell can answer, their graces and what is told.
#[test]
fn probes_restart_what_fails_and_leave_alone_what_does_not() {
    let node = node();
    let shared = Shared::new(&node, "probes");
    let quick = |probe: Value| {
        let mut all = json!({"periodSeconds": 1, "failureThreshold": 1});
        merge(&mut all, &probe);
        all
    };
    let probed = |name: &str, key: &str, probe: Value| {
        let mut container = container(name, FOREVER);
        container[key] = quick(probe);
        container
    };
    let fails = json!({"exec": {"command": ["false"]}});
    let closed = json!({"tcpSocket": {"port": 1}});
    let passes = json!({"exec": {"command": ["true"]}});
    let mut slow = container("own-grace", "trap '' TERM; while :; do sleep 0.05; done");
    slow["livenessProbe"] = quick(
        json!({"exec": {"command": ["false"]}, "terminationGracePeriodSeconds": 1, "initialDelaySeconds": 1}),
    );
    let mut probes = pod(
        "probes",
        &shared,
        vec![],
        vec![
            probed("startup", "startupProbe", fails.clone()),
            probed("tcp", "livenessProbe", closed),
            probed("well", "livenessProbe", passes),
            probed("unready", "readinessProbe", fails),
            slow,
        ],
    );
    probes["spec"]["terminationGracePeriodSeconds"] = json!(60);
    apply(&node, &probes);
    let seen = wait_for(&node, "probes", "what fails is restarted", |pod| {
        ["startup", "tcp", "own-grace"]
            .iter()
            .all(|name| restarts(pod, name) >= 1)
            // While one lies there dead, the one before it may be gone.
            && exit_of_last(pod, "own-grace") == Some(137)
    });
    assert_eq!((restarts(&seen, "well"), restarts(&seen, "unready")), (0, 0));
    for told in [
        "Startup probe failed:",
        "Liveness probe failed: dial tcp",
        "Readiness probe failed:",
        "Container tcp failed liveness probe, will be restarted",
        "Container startup failed startup probe, will be restarted",
    ] {
        wait_told(&node, "probes", told);
    }
    node.kubectl.ok("delete pod probes --now --wait=false");
}

/// A pod is ready when others say so, too, and isn't any more when they take it back.
#[test]
fn readiness_gates_open_and_close() {
    let node = node();
    let shared = Shared::new(&node, "gated");
    let mut gated = pod("gated", &shared, vec![], vec![container("c", FOREVER)]);
    gated["spec"]["readinessGates"] =
        json!([{"conditionType": "example.org/a"}, {"conditionType": "example.org/b"}]);
    gated["spec"]["terminationGracePeriodSeconds"] = json!(0);
    apply(&node, &gated);
    let is = |kind: &str, status: &str| {
        let (kind, status) = (kind.to_owned(), status.to_owned());
        move |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|condition| condition["type"] == kind && condition["status"] == status)
        }
    };
    let say = |kind: &str, status: &str| {
        node.kubectl.ok(&format!(
            r#"patch pod gated --subresource=status --type=strategic -p={{"status":{{"conditions":[{{"type":"{kind}","status":"{status}"}}]}}}}"#
        ));
    };
    wait_for(
        &node,
        "gated",
        "its container is ready",
        is("ContainersReady", "True"),
    );
    say("example.org/a", "True");
    let seen = wait_for(&node, "gated", "one gate is told of as shut", |pod| {
        let text = pod["status"]["conditions"].to_string();
        text.contains("gate \\\"example.org/b\\\" does not exist") && !text.contains("gate \\\"example.org/a")
    });
    assert!(is("Ready", "False")(&seen), "{seen:#}");
    say("example.org/b", "True");
    wait_for(&node, "gated", "it is ready", is("Ready", "True"));
    say("example.org/a", "False");
    wait_for(&node, "gated", "it is not ready any more", is("Ready", "False"));
    node.kubectl.ok("delete pod gated --now --wait=false");
}

fn exit_of_last(pod: &Value, name: &str) -> Option<i64> {
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    let status = statuses.iter().find(|status| status["name"] == name)?;
    status["lastState"]["terminated"]["exitCode"].as_i64()
}

/// A container beyond its memory limit is killed for that; a container of the same pod is not.
#[test]
fn container_out_of_memory_is_told_of_as_such() {
    let node = node();
    let shared = Shared::new(&node, "oom");
    let mut eats = container(
        "eats",
        "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $x | wc -c",
    );
    eats["resources"] = json!({"limits": {"memory": "24Mi", "cpu": "1"}});
    let mut oom = pod("oom", &shared, vec![], vec![eats, container("other", "sleep 1")]);
    oom["spec"]["restartPolicy"] = json!("Never");
    apply(&node, &oom);
    wait_phase(&node, "oom", "Failed");
    let seen = node.kubectl.json("get pod oom");
    let statuses = seen["status"]["containerStatuses"].as_array().unwrap();
    let eats = statuses.iter().find(|status| status["name"] == "eats").unwrap();
    assert_eq!(eats["state"]["terminated"]["reason"], "OOMKilled", "{eats:#}");
    assert_eq!(exit_code(&seen, "other"), Some(0));
    node.kubectl.ok("delete pod oom --now --wait=false");
}

/// An init container that fails under Never ends the pod; nothing after it was ever said to have run.
#[test]
fn failed_init_container_leaves_no_trace_of_the_others() {
    let node = node();
    let shared = Shared::new(&node, "init-fails");
    let init = container("fails", "exit 1");
    let mut failing = pod(
        "init-fails",
        &shared,
        vec![init],
        vec![container("main", &note("ran"))],
    );
    failing["spec"]["restartPolicy"] = json!("Never");
    apply(&node, &failing);
    wait_phase(&node, "init-fails", "Failed");
    let seen = node.kubectl.json("get pod init-fails");
    let main = &seen["status"]["containerStatuses"][0];
    assert_eq!(main["state"]["waiting"]["reason"], "PodInitializing", "{main:#}");
    assert_eq!(main["started"], false);
    assert_eq!(shared.read("ran"), "");
    node.kubectl.ok("delete pod init-fails --now --wait=false");
}

/// An ephemeral container sees the processes of the container that it is aimed at, and is never restarted.
#[test]
fn ephemeral_container_sees_its_targets_processes() {
    let node = node();
    let shared = Shared::new(&node, "debugged");
    apply(
        &node,
        &pod(
            "debugged",
            &shared,
            vec![],
            vec![container("main", "sleep 98765")],
        ),
    );
    wait_phase(&node, "debugged", "Running");
    let ephemeral = json!({"spec": {"ephemeralContainers": [{
        "name": "debugger", "image": IMAGE, "imagePullPolicy": "Never", "targetContainerName": "main",
        "command": ["sh", "-c", "ps; exit 3"]}]}});
    let mut command = node
        .kubectl
        .command("patch pod debugged --subresource=ephemeralcontainers");
    let output = command.arg("-p").arg(ephemeral.to_string()).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen = wait_for(&node, "debugged", "the ephemeral container ends", |pod| {
        pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    });
    assert_eq!(seen["status"]["ephemeralContainerStatuses"][0]["restartCount"], 0);
    let log = node.kubectl.ok("logs debugged -c debugger");
    assert!(log.contains("sleep 98765"), "{log}");
    node.kubectl.ok("delete pod debugged --now --wait=false");
}

/// Pages about the agent itself, by way of the API server.
#[test]
fn agent_tells_its_state_its_flags_and_its_health() {
    let node = node();
    let page = |path: &str| {
        node.kubectl
            .ok(&format!("get --raw /api/v1/nodes/{}/proxy{path}", node.name))
    };
    page("/healthz");
    let slis = page("/metrics/slis");
    assert!(
        slis.contains("kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1"),
        "{slis}"
    );
    let status = page("/statusz");
    assert!(
        status.contains("kubelet statusz") && status.contains("\nUp: "),
        "{status}"
    );
    let flags = page("/flagz");
    assert!(flags.contains(&format!("\nnode-name={}\n", node.name)), "{flags}");
}
