use super::*;

fn parse_words(line: &str) -> Result<Cli, Unparsed> {
    parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn link_named_kubelet_behaves_as_that_part() {
    let cli = parse_words("/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --v=4").unwrap();
    let Command::Kubelet(kubelet) = cli.command else {
        panic!("{cli:?}")
    };
    assert_eq!(
        kubelet.config.as_deref(),
        Some(Path::new("/var/lib/kubelet/config.yaml"))
    );
    assert_eq!(kubelet.log.verbosity, 4);
}

#[test]
fn kubeadm_commands_of_the_control_plane_are_accepted() {
    for line in [
        "kube-controller-manager --allocate-node-cidrs=true --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf \
         --authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --bind-address=127.0.0.1 \
         --client-ca-file=/etc/kubernetes/pki/ca.crt --cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes \
         --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt --cluster-signing-key-file=/etc/kubernetes/pki/ca.key \
         --controllers=*,bootstrapsigner,tokencleaner --kubeconfig=/etc/kubernetes/controller-manager.conf \
         --leader-elect=true --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt \
         --root-ca-file=/etc/kubernetes/pki/ca.crt --service-account-private-key-file=/etc/kubernetes/pki/sa.key \
         --service-cluster-ip-range=10.96.0.0/12 --use-service-account-credentials=true",
        "kube-controller-manager --kubeconfig=/k --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16,fd00:10:244::/56 \
         --node-cidr-mask-size-ipv4=24 --node-cidr-mask-size-ipv6=64 --service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
        "kube-scheduler --authentication-kubeconfig=/etc/kubernetes/scheduler.conf \
         --authorization-kubeconfig=/etc/kubernetes/scheduler.conf --bind-address=127.0.0.1 \
         --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=true",
        "kube-apiserver --advertise-address=10.0.0.1 --allow-privileged=true --authorization-mode=Node,RBAC \
         --client-ca-file=/etc/kubernetes/pki/ca.crt --enable-admission-plugins=NodeRestriction \
         --enable-bootstrap-token-auth=true --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt \
         --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key \
         --etcd-servers=https://127.0.0.1:2379 --kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt \
         --kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key \
         --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
         --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt --proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key \
         --requestheader-allowed-names=front-proxy-client --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt \
         --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
         --requestheader-username-headers=X-Remote-User --secure-port=6443 \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=/etc/kubernetes/pki/sa.pub \
         --service-account-signing-key-file=/etc/kubernetes/pki/sa.key --service-cluster-ip-range=10.96.0.0/12 \
         --tls-cert-file=/etc/kubernetes/pki/apiserver.crt --tls-private-key-file=/etc/kubernetes/pki/apiserver.key",
        "etcd --advertise-client-urls=https://10.0.0.1:2379 --cert-file=/etc/kubernetes/pki/etcd/server.crt \
         --client-cert-auth=true --data-dir=/var/lib/etcd --experimental-initial-corrupt-check=true \
         --experimental-watch-progress-notify-interval=5s --feature-gates=InitialCorruptCheck=true \
         --initial-advertise-peer-urls=https://10.0.0.1:2380 --initial-cluster=master-01=https://10.0.0.1:2380 \
         --key-file=/etc/kubernetes/pki/etcd/server.key \
         --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379 --listen-metrics-urls=http://127.0.0.1:2381 \
         --listen-peer-urls=https://10.0.0.1:2380 --name=master-01 --peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt \
         --peer-client-cert-auth=true --peer-key-file=/etc/kubernetes/pki/etcd/peer.key \
         --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt --snapshot-count=10000 \
         --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        // What was an experiment in 3.5 has another name in 3.6.
        "etcd --experimental-warning-unary-request-duration=300ms --experimental-max-learners=1 --bootstrap-defrag-threshold-megabytes=100 \
         --compact-hash-check-time=1m --compaction-batch-limit=1000 --compaction-sleep-interval=10ms --corrupt-check-time=1h \
         --downgrade-check-time=5s --enable-distributed-tracing=false --distributed-tracing-address=localhost:4317 \
         --max-learners=1 --memory-mlock=false --peer-skip-client-san-verification=false --snapshot-catchup-entries=5000 \
         --warning-apply-duration=100ms --warning-unary-request-duration=300ms --watch-progress-notify-interval=10m",
        "kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
         --config=/var/lib/kubelet/config.yaml --container-runtime-endpoint=unix:///run/containerd/containerd.sock \
         --pod-infra-container-image=registry.k8s.io/pause:3.9 --hostname-override=master-01",
    ] {
        parse_words(line).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// As upstream's script for a cluster of one machine, its cluster in containers, its harness of integration tests and
/// its tests of nodes start the parts.
#[test]
fn commands_of_upstreams_own_tools_are_accepted() {
    for line in [
        "kube-apiserver --authorization-mode=Node,RBAC --authorization-webhook-config-file= \
         --authentication-token-webhook-config-file= --allow-privileged=true --cloud-provider= --cloud-config= --v=3 \
         --vmodule= --audit-policy-file=/tmp/policy --audit-log-path=/tmp/audit.log --cert-dir=/var/run/kubernetes \
         --egress-selector-config-file=/tmp/egress.yaml --client-ca-file=/c/client-ca.crt \
         --kubelet-client-certificate=/c/k.crt --kubelet-client-key=/c/k.key --service-account-key-file=/tmp/sa.key \
         --service-account-lookup=true --service-account-issuer=https://kubernetes.default.svc \
         --service-account-jwks-uri=https://kubernetes.default.svc/openid/v1/jwks \
         --service-account-signing-key-file=/tmp/sa.key --enable-admission-plugins=NamespaceLifecycle,ServiceAccount \
         --disable-admission-plugins= --admission-control-config-file= --bind-address=0.0.0.0 --secure-port=6443 \
         --tls-cert-file=/c/s.crt --tls-private-key-file=/c/s.key --storage-backend=etcd3 \
         --storage-media-type=application/vnd.kubernetes.protobuf --etcd-servers=http://127.0.0.1:2379 \
         --service-cluster-ip-range=10.0.0.0/24 --feature-gates=AllAlpha=false --emulated-version= --external-hostname=localhost \
         --cors-allowed-origins=/127.0.0.1(:[0-9]+)?$,/localhost(:[0-9]+)?$",
        "kube-apiserver --runtime-config= --runtime-config=api/all=true --request-timeout=5m --max-requests-inflight=1500 \
         --watch-cache=false --etcd-prefix=/registry --event-ttl=1h --profiling --goaway-chance=.001",
        "kube-controller-manager --v=3 --vmodule= --service-account-private-key-file=/tmp/sa.key \
         --service-cluster-ip-range=10.0.0.0/24 --root-ca-file=/c/ca.crt --cluster-signing-cert-file=/c/ca.crt \
         --cluster-signing-key-file=/c/ca.key --enable-hostpath-provisioner=false --pvclaimbinder-sync-period=15s \
         --feature-gates=AllAlpha=false --emulated-version= --cloud-provider= --cloud-config= --configure-cloud-routes=true \
         --authentication-kubeconfig /c/controller.kubeconfig --authorization-kubeconfig /c/controller.kubeconfig \
         --kubeconfig /c/controller.kubeconfig --use-service-account-credentials --controllers=* --leader-elect=false \
         --cert-dir=/c --master=https://localhost:6443",
        "kube-controller-manager --kubeconfig=/k --node-cidr-mask-size-ipv4=24 --node-monitor-grace-period=40s \
         --concurrent_rc_syncs=10 --kube-api-qps=100 --kube-api-burst=100 --terminated-pod-gc-threshold=100 \
         --legacy-service-account-token-clean-up-period=87600h \
         --authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics --tls-min-version=VersionTLS12",
        "kube-scheduler --v=3 --config=/tmp/kube-scheduler.yaml --feature-gates=AllAlpha=false --emulated-version= \
         --authentication-kubeconfig /c/s --authorization-kubeconfig /c/s --master=https://localhost:6443",
        "kubelet --v=3 --vmodule= --hostname-override=127.0.0.1 --cloud-provider= --cloud-config= \
         --bootstrap-kubeconfig=/c/kubelet.kubeconfig --kubeconfig=/c/kubelet-rotated.kubeconfig --config=/tmp/kubelet.yaml",
        "kubelet --kubeconfig /tmp/kubeconfig --root-dir /var/lib/kubelet --v 4 --runtime-cgroups=/system.slice/containerd.service \
         --hostname-override tmp-node --container-runtime-endpoint unix:///run/containerd/containerd.sock \
         --config /tmp/kubelet-config --cgroup-driver=systemd --cgroups-per-qos=true --cgroup-root=/ \
         --kubelet-cgroups=/system.slice/kubelet.service --image-credential-provider-config=/tmp/c.yaml \
         --image-credential-provider-bin-dir=/tmp",
        "kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
         --config=/var/lib/kubelet/config.yaml --node-ip=172.18.0.2 --node-labels= --provider-id=kind://docker/kind/kind-control-plane \
         --runtime-cgroups=/system.slice/containerd.service --runtime-cgroups=/kubelet --hostname-override=a --hostname-override=b",
    ] {
        parse_words(line).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn what_is_said_last_counts() {
    let line = "kubelet --hostname-override=a --root-dir=/a --hostname-override=b --root-dir=/b --max-pods=1 --max-pods=2";
    let Command::Kubelet(kubelet) = parse_words(line).unwrap().command else {
        panic!("{line}")
    };
    assert_eq!(kubelet.hostname_override.as_deref(), Some("b"));
    assert_eq!(kubelet.root_dir.as_deref(), Some(Path::new("/b")));
    assert_eq!(kubelet.flags.0["maxPods"], 2);
}

#[test]
fn agents_are_called_at_the_addresses_that_were_asked_for() {
    let types = |line: &str| match parse_words(line).unwrap().command {
        Command::Apiserver(server) => server.kubelet_preferred_address_types,
        _ => panic!("{line}"),
    };
    assert_eq!(types("kube-apiserver"), orlop_apiserver::ADDRESS_TYPES);
    let line = "kube-apiserver --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname";
    assert_eq!(types(line), orlop_apiserver::ADDRESSES_FIRST);
}

#[test]
fn a_link_tells_upstreams_version() {
    let Err(Unparsed::Version(text)) = parse_words("/usr/bin/kubelet --version") else {
        panic!("a version");
    };
    assert!(text.starts_with("Kubernetes v1."), "{text}");
}

#[test]
fn etcd_of_several_members_is_refused() {
    let check = |line: &str| match parse_words(line).unwrap().command {
        Command::Etcd(arguments) => arguments.check(),
        other => panic!("{other:?}"),
    };
    assert_eq!(check("etcd"), Ok(()));
    assert_eq!(
        check("etcd --name a --initial-cluster a=http://x:1,a=http://y:1"),
        Ok(())
    );
    assert!(check("etcd --name a --initial-cluster a=http://x:1,b=http://y:1").is_err());
    assert!(check("etcd --name a --initial-cluster b=http://y:1").is_err());
}

#[test]
fn unknown_flag_is_refused_with_a_hint() {
    let error = parse_words("orlop up --node-nam x").unwrap_err().to_string();
    assert!(error.contains("--node-name"), "{error}");
}
