//! AdmissionConfiguration (`--admission-control-config-file`): what plugins are told beforehand.
//!
//! | file | of |
//! |---|---|
//! | `pod_security` | PodSecurity: what namespaces demand that say nothing, and who is exempt |
//! | `quota` | ResourceQuota: what may only be used where a quota bounds it |
//! | `event_rates` | EventRateLimit |
//! | this one | the webhook plugins: as whom webhooks are asked |
mod event_rates;
mod pod_security;
mod quota;

pub use event_rates::EventRates;
pub use pod_security::{Exemption, PodSecurity};

use super::optional::node_selector::NodeSelectors;
use super::optional::toleration_restriction::Tolerations;
use crate::outbound::{KubeconfigFile, WebhookClients};
use crate::settings::{self, Problems, Section, SettingsError};
use orlop_api::quota::Limited;
use orlop_api::validation::FieldError;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KIND: &str = "AdmissionConfiguration";
const GROUPS: &[(&str, &[&str])] = &[
    ("apiserver.config.k8s.io", &["v1", "v1alpha1"]),
    ("apiserver.k8s.io", &["v1alpha1"]),
];
/// Of the webhook plugins, newer and older.
const WEBHOOKS: (&str, &[(&str, &[&str])]) = (
    "WebhookAdmissionConfiguration",
    &[("apiserver.config.k8s.io", &["v1"])],
);
const WEBHOOKS_OLDER: (&str, &[(&str, &[&str])]) =
    ("WebhookAdmission", &[("apiserver.config.k8s.io", &["v1alpha1"])]);
const NODE_SELECTORS: &str = "podNodeSelectorPluginConfig";

/// What the plugins are told.
#[derive(Debug, Default)]
pub struct AdmissionSettings {
    pub(super) pod_security: PodSecurity,
    pub(crate) limited: Vec<Limited>,
    pub(super) event_rates: EventRates,
    pub(super) node_selectors: NodeSelectors,
    pub(super) tolerations: Tolerations,
    /// How long pods stay on nodes that are not ready, and on those that cannot be reached, if they say nothing of it;
    /// seconds.
    pub not_ready_toleration: Option<i64>,
    pub unreachable_toleration: Option<i64>,
    pub(super) mutating_clients: Arc<WebhookClients>,
    pub(super) validating_clients: Arc<WebhookClients>,
}

impl AdmissionSettings {
    /// Reads a file and those that it names, whose paths are relative to its directory.
    ///
    /// # Errors
    /// One of them cannot be read, or is none that can be followed.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = text_of(path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let config = settings::parse(&text)?;
        settings::expect(&config, KIND, GROUPS)?;
        let mut problems = Problems::default();
        let whole = Section::whole(&config);
        whole.only(&["plugins"], &mut problems);
        let mut made = Self::default();
        for plugin in whole.list("plugins", &mut problems) {
            plugin.only(&["name", "path", "configuration"], &mut problems);
            let name = plugin.text("name", &mut problems);
            let own = plugin.section("configuration");
            let path = plugin.text("path", &mut problems);
            let (config, at) = match (own.is_absent(), path) {
                (false, _) => (own.value().clone(), own.path().to_owned()),
                (true, "") => continue,
                (true, path) => {
                    let path = directory.join(path);
                    let at = format!("{}: {}", plugin.at("path"), path.display());
                    let read = text_of(&path).and_then(|text| settings::parse(&text));
                    (read.map_err(|error| within(&at, &error))?, at)
                }
            };
            let told = made.tell(name, &config, directory);
            told.map_err(|error| within(&at, &error))?;
        }
        problems.or(made)
    }

    fn tell(&mut self, plugin: &str, config: &Value, directory: &Path) -> Result<(), SettingsError> {
        match plugin {
            "PodSecurity" => self.pod_security = PodSecurity::read(config)?,
            "ResourceQuota" => self.limited = quota::read(config)?,
            "EventRateLimit" => self.event_rates = EventRates::read(config)?,
            "PodNodeSelector" => self.node_selectors = node_selectors(config)?,
            "PodTolerationRestriction" => self.tolerations = Tolerations::read(config)?,
            "MutatingAdmissionWebhook" => self.mutating_clients = clients(config, directory)?,
            "ValidatingAdmissionWebhook" => self.validating_clients = clients(config, directory)?,
            _ => tracing::warn!(plugin, "this admission plugin takes no configuration here"),
        }
        Ok(())
    }
}

/// On which nodes pods run, by namespace. This file has no kind.
fn node_selectors(config: &Value) -> Result<NodeSelectors, SettingsError> {
    let mut problems = Problems::default();
    let whole = Section::whole(config);
    whole.only(&[NODE_SELECTORS], &mut problems);
    let told = whole.section(NODE_SELECTORS);
    let namespaces = told.value().as_object().into_iter().flatten();
    let made = namespaces.map(|(name, _)| (name.clone(), told.text(name, &mut problems).to_owned()));
    let made = made.collect();
    problems.or(made)
}

/// As whom webhooks are asked.
fn clients(config: &Value, directory: &Path) -> Result<Arc<WebhookClients>, SettingsError> {
    let (kind, groups) = match config["kind"] == WEBHOOKS_OLDER.0 {
        true => WEBHOOKS_OLDER,
        false => WEBHOOKS,
    };
    settings::expect(config, kind, groups)?;
    let mut problems = Problems::default();
    let whole = Section::whole(config);
    whole.only(&["kubeConfigFile"], &mut problems);
    let path = whole.text("kubeConfigFile", &mut problems);
    problems.or(())?;
    if path.is_empty() {
        return Ok(Arc::default());
    }
    let path: PathBuf = directory.join(path);
    let read = KubeconfigFile::read(&path).and_then(|file| WebhookClients::of(&file));
    let clients = read.map_err(|error| {
        FieldError::invalid("kubeConfigFile", path.display().to_string(), &error.to_string())
    })?;
    Ok(Arc::new(clients))
}

fn text_of(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path)
        .map_err(|error| SettingsError::Unreadable(format!("{}: {error}", path.display())))
}

/// A mistake in a part, with where that part is.
fn within(at: &str, error: &SettingsError) -> SettingsError {
    match error {
        SettingsError::Invalid(errors) => {
            let under = |error: &FieldError| match at.contains(": ") {
                true => FieldError {
                    field: format!("{at}: {}", error.field),
                    ..error.clone()
                },
                false => error.clone().under(at),
            };
            SettingsError::Invalid(errors.iter().map(under).collect())
        }
        other => SettingsError::Unreadable(format!("{at}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_told_in_place_or_by_a_file_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let path = directory.path().join("admission.yaml");
        let read = || AdmissionSettings::read(&path).map_err(|error| error.to_string());
        write(
            "admission.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: EventRateLimit\n  path: rates.yaml\n\
             - name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    \
             kind: PodSecurityConfiguration\n    defaults: {enforce: baseline}\n    exemptions: {namespaces: [kube-system]}\n",
        );
        let rates = |kind: &str| {
            format!(
                "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits:\n- {{type: {kind}, qps: 1, burst: 2}}\n"
            )
        };
        write("rates.yaml", &rates("Server"));
        let made = read().unwrap();
        assert_eq!(made.pod_security.defaults.enforce.to_string(), "baseline:latest");
        assert!(!made.event_rates.is_empty());
        let selectors = settings::parse("podNodeSelectorPluginConfig: {ns: [disk]}").unwrap();
        let told = node_selectors(&selectors).unwrap_err().to_string();
        assert!(told.starts_with("podNodeSelectorPluginConfig.ns: "), "{told}");
        write("rates.yaml", &rates("Nobody"));
        let told = read().unwrap_err();
        assert!(
            told.starts_with("plugins[0].path: ")
                && told.contains("rates.yaml: limits[0].type: Unsupported value: \"Nobody\""),
            "{told}"
        );
        write(
            "admission.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  configuration:\n    \
             apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: PodSecurityConfiguration\n    defaults: {enforce: strict}\n",
        );
        assert_eq!(
            read().unwrap_err(),
            "plugins[0].configuration.defaults.enforce: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
        );
    }
}
