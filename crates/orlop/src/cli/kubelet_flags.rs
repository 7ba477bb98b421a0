//! Flags of upstream's agent that say what a KubeletConfiguration says too. They go before every file, and are hidden
//! from the help: the file is the better place.
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value, json};

/// How a flag's text becomes a field's value.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    /// `--flag` alone means true.
    Bool,
    /// `a,b`; the flag may be repeated.
    List,
    /// `a=1,b=2`.
    Map,
    /// `memory.available<100Mi,…`.
    Thresholds,
    /// `a=true,b=false`.
    Gates,
    /// `a:1,b:2`; a name may be repeated.
    Headers,
}
use Form::{Bool, Gates, Headers, List, Map as Pairs, Number, Text, Thresholds};

/// Flag, field, form.
const FLAGS: &[(&str, &[&str], Form)] = &[
    ("address", &["address"], Text),
    ("allowed-unsafe-sysctls", &["allowedUnsafeSysctls"], List),
    (
        "anonymous-auth",
        &["authentication", "anonymous", "enabled"],
        Bool,
    ),
    (
        "authentication-token-webhook",
        &["authentication", "webhook", "enabled"],
        Bool,
    ),
    (
        "authentication-token-webhook-cache-ttl",
        &["authentication", "webhook", "cacheTTL"],
        Text,
    ),
    ("authorization-mode", &["authorization", "mode"], Text),
    (
        "authorization-webhook-cache-authorized-ttl",
        &["authorization", "webhook", "cacheAuthorizedTTL"],
        Text,
    ),
    (
        "authorization-webhook-cache-unauthorized-ttl",
        &["authorization", "webhook", "cacheUnauthorizedTTL"],
        Text,
    ),
    ("cgroup-driver", &["cgroupDriver"], Text),
    ("cgroup-root", &["cgroupRoot"], Text),
    ("cgroups-per-qos", &["cgroupsPerQOS"], Bool),
    (
        "client-ca-file",
        &["authentication", "x509", "clientCAFile"],
        Text,
    ),
    ("cluster-dns", &["clusterDNS"], List),
    ("cluster-domain", &["clusterDomain"], Text),
    ("container-log-max-files", &["containerLogMaxFiles"], Number),
    ("container-log-max-size", &["containerLogMaxSize"], Text),
    ("contention-profiling", &["enableContentionProfiling"], Bool),
    ("cpu-cfs-quota", &["cpuCFSQuota"], Bool),
    ("cpu-cfs-quota-period", &["cpuCFSQuotaPeriod"], Text),
    ("cpu-manager-policy", &["cpuManagerPolicy"], Text),
    ("cpu-manager-policy-options", &["cpuManagerPolicyOptions"], Pairs),
    (
        "cpu-manager-reconcile-period",
        &["cpuManagerReconcilePeriod"],
        Text,
    ),
    (
        "enable-controller-attach-detach",
        &["enableControllerAttachDetach"],
        Bool,
    ),
    ("enable-debugging-handlers", &["enableDebuggingHandlers"], Bool),
    ("enable-server", &["enableServer"], Bool),
    ("enforce-node-allocatable", &["enforceNodeAllocatable"], List),
    ("event-burst", &["eventBurst"], Number),
    ("event-qps", &["eventRecordQPS"], Number),
    ("eviction-hard", &["evictionHard"], Thresholds),
    (
        "eviction-max-pod-grace-period",
        &["evictionMaxPodGracePeriod"],
        Number,
    ),
    ("eviction-minimum-reclaim", &["evictionMinimumReclaim"], Pairs),
    (
        "eviction-pressure-transition-period",
        &["evictionPressureTransitionPeriod"],
        Text,
    ),
    ("eviction-soft", &["evictionSoft"], Thresholds),
    ("eviction-soft-grace-period", &["evictionSoftGracePeriod"], Pairs),
    ("fail-cgroupv1", &["failCgroupV1"], Bool),
    ("fail-swap-on", &["failSwapOn"], Bool),
    ("feature-gates", &["featureGates"], Gates),
    ("file-check-frequency", &["fileCheckFrequency"], Text),
    ("hairpin-mode", &["hairpinMode"], Text),
    ("healthz-bind-address", &["healthzBindAddress"], Text),
    ("healthz-port", &["healthzPort"], Number),
    ("http-check-frequency", &["httpCheckFrequency"], Text),
    (
        "image-gc-high-threshold",
        &["imageGCHighThresholdPercent"],
        Number,
    ),
    ("image-gc-low-threshold", &["imageGCLowThresholdPercent"], Number),
    ("image-service-endpoint", &["imageServiceEndpoint"], Text),
    ("iptables-drop-bit", &["iptablesDropBit"], Number),
    ("iptables-masquerade-bit", &["iptablesMasqueradeBit"], Number),
    ("kernel-memcg-notification", &["kernelMemcgNotification"], Bool),
    ("kube-api-burst", &["kubeAPIBurst"], Number),
    ("kube-api-content-type", &["contentType"], Text),
    ("kube-api-qps", &["kubeAPIQPS"], Number),
    ("kube-reserved", &["kubeReserved"], Pairs),
    ("kube-reserved-cgroup", &["kubeReservedCgroup"], Text),
    ("kubelet-cgroups", &["kubeletCgroups"], Text),
    (
        "local-storage-capacity-isolation",
        &["localStorageCapacityIsolation"],
        Bool,
    ),
    ("make-iptables-util-chains", &["makeIPTablesUtilChains"], Bool),
    ("manifest-url", &["staticPodURL"], Text),
    ("manifest-url-header", &["staticPodURLHeader"], Headers),
    ("max-open-files", &["maxOpenFiles"], Number),
    ("max-pods", &["maxPods"], Number),
    ("memory-manager-policy", &["memoryManagerPolicy"], Text),
    ("minimum-image-ttl-duration", &["imageMinimumGCAge"], Text),
    ("node-status-max-images", &["nodeStatusMaxImages"], Number),
    (
        "node-status-update-frequency",
        &["nodeStatusUpdateFrequency"],
        Text,
    ),
    ("oom-score-adj", &["oomScoreAdj"], Number),
    ("pod-cidr", &["podCIDR"], Text),
    ("pod-max-pids", &["podPidsLimit"], Number),
    ("pods-per-core", &["podsPerCore"], Number),
    ("port", &["port"], Number),
    ("protect-kernel-defaults", &["protectKernelDefaults"], Bool),
    ("provider-id", &["providerID"], Text),
    ("qos-reserved", &["qosReserved"], Pairs),
    ("read-only-port", &["readOnlyPort"], Number),
    ("register-node", &["registerNode"], Bool),
    ("registry-burst", &["registryBurst"], Number),
    ("registry-qps", &["registryPullQPS"], Number),
    ("reserved-cpus", &["reservedSystemCPUs"], Text),
    ("resolv-conf", &["resolvConf"], Text),
    ("rotate-server-certificates", &["serverTLSBootstrap"], Bool),
    ("runonce", &["runOnce"], Bool),
    ("runtime-request-timeout", &["runtimeRequestTimeout"], Text),
    ("seccomp-default", &["seccompDefault"], Bool),
    ("serialize-image-pulls", &["serializeImagePulls"], Bool),
    (
        "streaming-connection-idle-timeout",
        &["streamingConnectionIdleTimeout"],
        Text,
    ),
    ("sync-frequency", &["syncFrequency"], Text),
    ("system-cgroups", &["systemCgroups"], Text),
    ("system-reserved", &["systemReserved"], Pairs),
    ("system-reserved-cgroup", &["systemReservedCgroup"], Text),
    ("tls-cert-file", &["tlsCertFile"], Text),
    ("tls-cipher-suites", &["tlsCipherSuites"], List),
    ("tls-min-version", &["tlsMinVersion"], Text),
    ("tls-private-key-file", &["tlsPrivateKeyFile"], Text),
    ("topology-manager-policy", &["topologyManagerPolicy"], Text),
    (
        "topology-manager-policy-options",
        &["topologyManagerPolicyOptions"],
        Pairs,
    ),
    ("topology-manager-scope", &["topologyManagerScope"], Text),
    ("volume-plugin-dir", &["volumePluginDir"], Text),
    ("volume-stats-agg-period", &["volumeStatsAggPeriod"], Text),
];

/// What such flags say, as fields of a KubeletConfiguration.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationFlags(pub Value);

impl Args for ConfigurationFlags {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(|(flag, _, form)| {
            let arg = Arg::new(*flag).long(*flag).hide(true).action(ArgAction::Append);
            match form {
                Bool => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
                _ => arg.num_args(1),
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigurationFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut fields = Value::Object(Map::new());
        for (flag, path, form) in FLAGS {
            let Some(words) = matches.get_many::<String>(flag) else {
                continue;
            };
            let words: Vec<&str> = words.map(String::as_str).collect();
            let value = value(*form, &words).map_err(|reason| {
                clap::Error::raw(
                    clap::error::ErrorKind::InvalidValue,
                    format!("--{flag}={}: {reason}\n", words.join(",")),
                )
            })?;
            let nested = path
                .iter()
                .rev()
                .fold(value, |inner, name| json!({ *name: inner }));
            orlop_api::patch::merge(&mut fields, &nested);
        }
        Ok(Self(fields))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Whether a flag is one of these.
pub fn is_one(flag: &str) -> bool {
    FLAGS.iter().any(|(name, _, _)| *name == flag)
}

fn truth(word: &str) -> Result<bool, String> {
    match word {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false is wanted".to_owned()),
    }
}

fn value(form: Form, words: &[&str]) -> Result<Value, String> {
    let last = words.last().copied().unwrap_or_default();
    let all = || {
        let all = words.iter().flat_map(|word| word.split(','));
        all.map(str::trim).filter(|word| !word.is_empty())
    };
    let pairs = |sign: char| {
        let pair = |word: &str| {
            let (key, value) = word
                .split_once(sign)
                .ok_or_else(|| format!("{word:?} is not of the form key{sign}value"))?;
            Ok((key.to_owned(), Value::from(value)))
        };
        all().map(pair).collect::<Result<Map<String, Value>, String>>()
    };
    Ok(match form {
        Text => last.into(),
        Number => last
            .parse::<i64>()
            .map_err(|_| "a whole number is wanted".to_owned())?
            .into(),
        Bool => truth(last)?.into(),
        List => all().collect(),
        Pairs => pairs('=')?.into(),
        Thresholds => pairs('<')?.into(),
        Gates => {
            let gate = |(name, value): (String, Value)| {
                let on = truth(value.as_str().unwrap_or_default())?;
                Ok::<(String, Value), String>((name, on.into()))
            };
            let gates = pairs('=')?.into_iter().map(gate);
            gates.collect::<Result<Map<String, Value>, String>>()?.into()
        }
        Headers => {
            let mut headers = Map::new();
            for word in all() {
                let (name, value) = word
                    .split_once(':')
                    .ok_or_else(|| format!("{word:?} is not of the form name:value"))?;
                let values = headers.entry(name.trim()).or_insert_with(|| json!([]));
                if let Value::Array(values) = values {
                    values.push(value.trim().into());
                }
            }
            headers.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(words: &[&str]) -> Result<Value, String> {
        let command = ConfigurationFlags::augment_args(Command::new("kubelet"));
        let matches = command.try_get_matches_from([&["kubelet"], words].concat());
        let flags = matches.and_then(|matches| ConfigurationFlags::from_arg_matches(&matches));
        flags.map(|flags| flags.0).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_fields_of_their_names() {
        let words = [
            "--max-pods=7",
            "--fail-swap-on=false",
            "--seccomp-default",
            "--cluster-dns=10.0.0.1,10.0.0.2",
            "--cluster-dns=10.0.0.3",
            "--eviction-hard=memory.available<100Mi,nodefs.available<10%",
            "--system-reserved=cpu=100m,memory=1Gi",
            "--client-ca-file=/ca.crt",
            "--anonymous-auth=false",
            "--sync-frequency=2m",
            "--feature-gates=A=true,B=false",
            "--enforce-node-allocatable=",
            "--manifest-url-header=X-A:1,X-B:2",
            "--manifest-url-header=X-A:3",
            "--kubelet-cgroups=/system.slice/kubelet.service",
        ];
        let want = json!({
            "maxPods": 7,
            "failSwapOn": false,
            "seccompDefault": true,
            "clusterDNS": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "10%"},
            "systemReserved": {"cpu": "100m", "memory": "1Gi"},
            "authentication": {"x509": {"clientCAFile": "/ca.crt"}, "anonymous": {"enabled": false}},
            "syncFrequency": "2m",
            "featureGates": {"A": true, "B": false},
            "enforceNodeAllocatable": [],
            "staticPodURLHeader": {"X-A": ["1", "3"], "X-B": ["2"]},
            "kubeletCgroups": "/system.slice/kubelet.service",
        });
        assert_eq!(fields(&words), Ok(want));
        assert_eq!(fields(&[]), Ok(json!({})));
    }

    #[test]
    fn what_a_flag_cannot_mean_is_refused_by_its_name() {
        for (word, why) in [
            ("--max-pods=many", "--max-pods=many: a whole number"),
            ("--fail-swap-on=perhaps", "--fail-swap-on=perhaps: true or false"),
            (
                "--feature-gates=A=perhaps",
                "--feature-gates=A=perhaps: true or false",
            ),
            ("--system-reserved=cpu", "\"cpu\" is not of the form key=value"),
        ] {
            let error = fields(&[word]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    /// Every field is one that the configuration knows.
    #[test]
    fn fields_are_the_configurations() {
        for (flag, path, form) in FLAGS {
            let words: &[&str] = match form {
                Number => &["1"],
                Bool => &["true"],
                Gates => &["A=true"],
                Pairs => &["memory.available=1m"],
                Thresholds => &["memory.available<1Mi"],
                Headers => &["a:1"],
                Text if path[0].contains("Check") || flag.contains("ttl") => &["1m"],
                Text => &["1m0s"],
                List => &["pods"],
            };
            let value = value(*form, words).unwrap();
            let given = path
                .iter()
                .rev()
                .fold(value, |inner, name| json!({ *name: inner }));
            let loaded = orlop_kubelet::config::load_with(None, None, &given);
            let warnings = match loaded {
                Ok(loaded) => loaded.warnings.join(" "),
                // A value of the right form that is refused is a known field.
                Err(error) => {
                    assert!(!error.to_string().contains("unknown"), "--{flag}: {error}");
                    String::new()
                }
            };
            assert!(!warnings.contains(path[0]), "--{flag}: {warnings}");
        }
    }
}
