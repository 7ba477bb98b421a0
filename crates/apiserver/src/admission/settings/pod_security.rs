//! PodSecurityConfiguration: what namespaces demand whose labels say nothing, and who is exempt.
use crate::settings::{self, Problems, Section, SettingsError};
use orlop_api::names;
use orlop_api::pod_security::Policy;
use orlop_api::validation::FieldError;
use serde_json::Value;

const KIND: &str = "PodSecurityConfiguration";
const GROUPS: &[(&str, &[&str])] = &[(
    "pod-security.admission.config.k8s.io",
    &["v1", "v1beta1", "v1alpha1"],
)];
const MODES: &[&str] = &[
    "enforce",
    "enforce-version",
    "audit",
    "audit-version",
    "warn",
    "warn-version",
];

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub struct PodSecurity {
    pub defaults: Policy,
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

/// Why nothing is demanded; displayed as the audit log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    Namespace,
    User,
    RuntimeClass,
}

impl Exemption {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::User => "user",
            Self::RuntimeClass => "runtimeClass",
        }
    }
}

impl PodSecurity {
    pub(super) fn read(config: &Value) -> Result<Self, SettingsError> {
        settings::expect(config, KIND, GROUPS)?;
        let mut problems = Problems::default();
        let whole = Section::whole(config);
        whole.only(&["defaults", "exemptions"], &mut problems);
        let section = whole.section("defaults");
        section.only(MODES, &mut problems);
        let given = MODES
            .iter()
            .filter_map(|mode| Some(((*mode).to_owned(), section.given(mode, &mut problems)?.to_owned())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let (defaults, mistakes) = Policy::of_defaults(&given);
        for mistake in mistakes {
            problems.add(mistake.under(section.path()));
        }
        let exemptions = whole.section("exemptions");
        exemptions.only(&["usernames", "namespaces", "runtimeClasses"], &mut problems);
        let mut list = |member: &str, check: fn(&str) -> Vec<String>| {
            let found = exemptions.texts(member, &mut problems);
            for (number, name) in found.iter().enumerate() {
                let at = format!("{}[{number}]", exemptions.at(member));
                for mistake in check(name) {
                    problems.add(FieldError::invalid(&at, name, &mistake));
                }
                if found[..number].contains(name) {
                    problems.add(FieldError::duplicate(&at, name));
                }
            }
            found
        };
        let usernames = list("usernames", |name| match name.is_empty() {
            true => vec!["username must not be empty".to_owned()],
            false => Vec::new(),
        });
        let namespaces = list("namespaces", names::check_dns_label);
        let runtime_classes = list("runtimeClasses", names::check_dns_subdomain);
        problems.or(Self {
            defaults,
            usernames,
            namespaces,
            runtime_classes,
        })
    }

    /// Whether a namespace is exempt, whatever its labels say.
    pub fn exempts_namespace(&self, name: &str) -> bool {
        self.namespaces.iter().any(|exempt| exempt == name)
    }

    /// Whether a pod of a namespace is exempt because of that, or of who writes it.
    pub fn exempts(&self, namespace: &str, user: &str) -> Option<Exemption> {
        if self.exempts_namespace(namespace) {
            return Some(Exemption::Namespace);
        }
        let exempt = self.usernames.iter().any(|exempt| exempt == user);
        exempt.then_some(Exemption::User)
    }

    /// Whether pods of a RuntimeClass are exempt.
    pub fn exempts_class(&self, class: Option<&str>) -> Option<Exemption> {
        let class = class.filter(|class| self.runtime_classes.iter().any(|exempt| exempt == class));
        class.map(|_| Exemption::RuntimeClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_hold_where_labels_say_nothing_and_exemptions_are_told_apart() {
        let config = |defaults: Value, exemptions: Value| {
            json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": KIND,
                "defaults": defaults, "exemptions": exemptions})
        };
        let made = PodSecurity::read(&config(
            json!({"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"}),
            json!({"usernames": ["alice"], "namespaces": ["kube-system"], "runtimeClasses": ["vm"]}),
        ))
        .unwrap();
        let (plain, _) = made.defaults.with(&[].into());
        assert_eq!(plain.enforce.to_string(), "baseline:v1.30");
        assert_eq!(plain.warn.to_string(), "restricted:latest");
        let labels = [(
            "pod-security.kubernetes.io/enforce".to_owned(),
            "privileged".to_owned(),
        )];
        let (labelled, _) = made.defaults.with(&labels.into());
        assert_eq!(labelled.enforce.to_string(), "privileged:v1.30");
        assert_eq!(made.exempts("kube-system", "alice"), Some(Exemption::Namespace));
        assert_eq!(made.exempts("default", "alice"), Some(Exemption::User));
        assert_eq!(made.exempts("default", "bob"), None);
        assert_eq!(made.exempts_class(Some("vm")), Some(Exemption::RuntimeClass));
        assert_eq!(made.exempts_class(None), None);
        let told = |defaults: Value, exemptions: Value| {
            PodSecurity::read(&config(defaults, exemptions))
                .unwrap_err()
                .to_string()
        };
        for (defaults, exemptions, wanted) in [
            (
                json!({"enforce-version": "1.30"}),
                json!({}),
                "defaults.enforce-version: Invalid value: \"1.30\": must be \"latest\" or \"v1.x\"",
            ),
            (
                json!({}),
                json!({"usernames": [""]}),
                "exemptions.usernames[0]: Invalid value: \"\": username must not be empty",
            ),
            (
                json!({}),
                json!({"namespaces": ["a", "a"]}),
                "exemptions.namespaces[1]: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(told(defaults, exemptions), wanted);
        }
    }
}
