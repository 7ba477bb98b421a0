//! Which controllers run, in upstream's words: `*`, `name`, `-name`.

/// Upstream's names of what runs here, each with the older one that is still taken.
const ALIASES: &[(&str, &str)] = &[
    ("bootstrap-signer-controller", "bootstrapsigner"),
    ("certificatesigningrequest-approving-controller", "csrapproving"),
    ("certificatesigningrequest-cleaner-controller", "csrcleaner"),
    ("certificatesigningrequest-signing-controller", "csrsigning"),
    ("clusterrole-aggregation-controller", "clusterrole-aggregation"),
    ("cronjob-controller", "cronjob"),
    ("daemonset-controller", "daemonset"),
    ("deployment-controller", "deployment"),
    ("disruption-controller", "disruption"),
    ("endpoints-controller", "endpoint"),
    ("endpointslice-controller", "endpointslice"),
    ("garbage-collector-controller", "garbagecollector"),
    ("job-controller", "job"),
    ("namespace-controller", "namespace"),
    ("node-ipam-controller", "nodeipam"),
    ("node-lifecycle-controller", "nodelifecycle"),
    ("persistentvolume-binder-controller", "persistentvolume-binder"),
    ("persistentvolume-protection-controller", "pv-protection"),
    ("persistentvolumeclaim-protection-controller", "pvc-protection"),
    ("pod-garbage-collector-controller", "podgc"),
    ("replicaset-controller", "replicaset"),
    ("replicationcontroller-controller", "replicationcontroller"),
    ("resourcequota-controller", "resourcequota"),
    (
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
    ),
    ("serviceaccount-controller", "serviceaccount"),
    ("statefulset-controller", "statefulset"),
    ("taint-eviction-controller", "taint-eviction-controller"),
    ("token-cleaner-controller", "tokencleaner"),
    ("ttl-after-finished-controller", "ttl-after-finished"),
];

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
    pub fn new(words: &[String]) -> Self {
        let words = words.iter().map(|word| word.trim().to_owned());
        Self {
            words: words.filter(|word| !word.is_empty()).collect(),
        }
    }

    /// Whether a controller runs, by upstream's name.
    pub fn runs(&self, name: &str) -> bool {
        let alias = ALIASES
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, alias)| *alias);
        let is_it = |word: &str| word == name || Some(word) == alias;
        for word in &self.words {
            match word.strip_prefix('-') {
                Some(word) if is_it(word) => return false,
                None if is_it(word) => return true,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_upstreams() {
        let runs = |words: &str, name: &str| {
            let words: Vec<String> = words.split(',').map(str::to_owned).collect();
            Selection::new(&words).runs(name)
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
    }
}
