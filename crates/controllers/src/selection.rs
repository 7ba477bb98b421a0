//! Which controllers run, in upstream's words: `*`, `name`, `-name`.

/// All names that upstream's flag takes, each with the older one that is still taken. Some have nothing behind them here:
/// to name them is no mistake.
const KNOWN: &[(&str, &str)] = &[
    ("bootstrap-signer-controller", "bootstrapsigner"),
    ("certificatesigningrequest-approving-controller", "csrapproving"),
    ("certificatesigningrequest-cleaner-controller", "csrcleaner"),
    ("certificatesigningrequest-signing-controller", "csrsigning"),
    ("cloud-node-lifecycle-controller", "cloud-node-lifecycle"),
    ("clusterrole-aggregation-controller", "clusterrole-aggregation"),
    ("cronjob-controller", "cronjob"),
    ("daemonset-controller", "daemonset"),
    ("deployment-controller", "deployment"),
    ("device-taint-eviction-controller", ""),
    ("disruption-controller", "disruption"),
    ("endpoints-controller", "endpoint"),
    ("endpointslice-controller", "endpointslice"),
    ("endpointslice-mirroring-controller", "endpointslicemirroring"),
    ("ephemeral-volume-controller", "ephemeral-volume"),
    ("garbage-collector-controller", "garbagecollector"),
    ("horizontal-pod-autoscaler-controller", "horizontalpodautoscaling"),
    ("job-controller", "job"),
    (
        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        "",
    ),
    (
        "legacy-serviceaccount-token-cleaner-controller",
        "legacy-service-account-token-cleaner",
    ),
    ("namespace-controller", "namespace"),
    ("node-ipam-controller", "nodeipam"),
    ("node-lifecycle-controller", "nodelifecycle"),
    ("node-route-controller", "route"),
    ("persistentvolume-attach-detach-controller", "attachdetach"),
    ("persistentvolume-binder-controller", "persistentvolume-binder"),
    (
        "persistentvolume-expander-controller",
        "persistentvolume-expander",
    ),
    ("persistentvolume-protection-controller", "pv-protection"),
    ("persistentvolumeclaim-protection-controller", "pvc-protection"),
    ("pod-garbage-collector-controller", "podgc"),
    ("podcertificaterequest-cleaner-controller", ""),
    ("replicaset-controller", "replicaset"),
    ("replicationcontroller-controller", "replicationcontroller"),
    ("resourceclaim-controller", "resource-claim-controller"),
    ("resourcequota-controller", "resourcequota"),
    (
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
    ),
    ("selinux-warning-controller", "selinux-warning"),
    ("service-cidr-controller", ""),
    ("service-lb-controller", "service"),
    ("serviceaccount-controller", "serviceaccount"),
    ("serviceaccount-token-controller", "serviceaccount-token"),
    ("statefulset-controller", "statefulset"),
    ("storage-version-migrator-controller", ""),
    (
        "storageversion-garbage-collector-controller",
        "storage-version-gc",
    ),
    ("taint-eviction-controller", ""),
    ("token-cleaner-controller", "tokencleaner"),
    ("ttl-after-finished-controller", "ttl-after-finished"),
    ("ttl-controller", "ttl"),
    ("validatingadmissionpolicy-status-controller", ""),
    ("volumeattributesclass-protection-controller", "vac-protection"),
];

/// A word that is neither `*` nor a controller's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not in the list of known controllers")]
pub struct UnknownController(String);

/// Which controllers run.
#[derive(Debug, Clone)]
pub struct Selection {
    words: Vec<String>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            words: vec!["*".to_owned()],
        }
    }
}

impl Selection {
    /// Of words as upstream's flag takes them; the first that says something of a controller counts.
    pub fn new(words: &[String]) -> Result<Self, UnknownController> {
        let words = words.iter().map(|word| word.trim().to_owned());
        let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
        for word in &words {
            let name = word.strip_prefix('-').unwrap_or(word);
            if word != "*" && !KNOWN.iter().any(|known| is_called(known, name)) {
                return Err(UnknownController(name.to_owned()));
            }
        }
        Ok(Self { words })
    }

    /// Whether a controller runs, by upstream's name.
    pub fn runs(&self, name: &str) -> bool {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let known = known.copied().unwrap_or((name, ""));
        for word in &self.words {
            match word.strip_prefix('-') {
                Some(word) if is_called(&known, word) => return false,
                None if is_called(&known, word) => return true,
                _ => {}
            }
        }
        self.words.iter().any(|word| word == "*")
    }

    /// Whether one of several runs that are one here.
    pub fn runs_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.runs(name))
    }
}

fn is_called((name, older): &(&str, &str), word: &str) -> bool {
    word == *name || (!word.is_empty() && word == *older)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_upstreams() {
        let runs = |words: &str, name: &str| {
            let words: Vec<String> = words.split(',').map(str::to_owned).collect();
            Selection::new(&words).unwrap().runs(name)
        };
        assert!(runs("*", "job-controller"));
        assert!(runs(
            "*,bootstrapsigner,tokencleaner",
            "bootstrap-signer-controller"
        ));
        assert!(!runs("*,-nodeipam", "node-ipam-controller"));
        assert!(!runs("*,-node-ipam-controller", "node-ipam-controller"));
        assert!(runs("*,-node-ipam-controller", "job-controller"));
        assert!(runs("job", "job-controller"));
        assert!(!runs("job", "deployment-controller"));
        assert!(!runs("-job,job", "job-controller"));
        assert!(!runs("", "job-controller"));
        assert!(runs("-endpoint,endpointslice", "endpointslice-controller"));
        assert!(!runs("endpointslice", "endpointslice-mirroring-controller"));
        assert!(!runs(
            "*,-serviceaccount-token",
            "serviceaccount-token-controller"
        ));
        assert!(!runs("*,-ttl", "ttl-controller") && runs("*,-ttl", "ttl-after-finished-controller"));
    }

    #[test]
    fn what_is_no_controller_is_refused() {
        let refused = |word: &str| Selection::new(&["*".to_owned(), word.to_owned()]).err();
        assert_eq!(refused("-route"), None, "known, though nothing is behind it here");
        for word in ["jobs", "-jobs"] {
            let error = refused(word).unwrap().to_string();
            assert_eq!(error, "\"jobs\" is not in the list of known controllers");
        }
        assert_eq!(refused("-"), Some(UnknownController(String::new())));
    }
}
