//! What a plugin is, which of them are on, and the two phases they run in.
use super::attempt::{Attempt, Round};
use super::settings::AdmissionSettings;
use super::{ALWAYS, PLUGINS};
use crate::metrics::{Passings, Phase};
use crate::status::ApiError;
use futures::future::BoxFuture;
use std::time::{Duration, Instant};

/// Changes the attempt or refuses it.
pub type Mutate = fn(&mut Attempt<'_>) -> Result<(), ApiError>;
/// Refuses the attempt or not.
pub type Validate = fn(&Attempt<'_>) -> Result<(), ApiError>;
/// The same for plugins that ask others, or wait.
pub type MutateAsync = for<'b> fn(&'b mut Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>>;
pub type ValidateAsync = for<'b> fn(&'b Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>>;

/// A plugin's part in the mutating phase.
#[derive(Clone, Copy)]
pub enum Mutating {
    Absent,
    Pure(Mutate),
    Asks(MutateAsync),
}

impl Mutating {
    async fn run(self, attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
        match self {
            Self::Absent => Ok(()),
            Self::Pure(plugin) => plugin(attempt),
            Self::Asks(plugin) => plugin(attempt).await,
        }
    }
}

/// A plugin's part in the validating phase.
#[derive(Clone, Copy)]
enum Validating {
    Absent,
    Pure(Validate),
    Asks(ValidateAsync),
}

/// A plugin, under upstream's name, by which it can be turned off.
pub struct Plugin {
    pub name: &'static str,
    mutating: Mutating,
    validating: Validating,
    /// Off unless it is named.
    must_be_named: bool,
}

impl Plugin {
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            mutating: Mutating::Absent,
            validating: Validating::Absent,
            must_be_named: false,
        }
    }

    /// Off unless it is named by `--enable-admission-plugins`.
    pub const fn only_if_asked_for(self) -> Self {
        Self {
            must_be_named: true,
            ..self
        }
    }

    pub const fn mutating(self, plugin: Mutate) -> Self {
        Self {
            mutating: Mutating::Pure(plugin),
            ..self
        }
    }

    pub const fn mutating_async(self, plugin: MutateAsync) -> Self {
        Self {
            mutating: Mutating::Asks(plugin),
            ..self
        }
    }

    pub const fn validating_async(self, plugin: ValidateAsync) -> Self {
        Self {
            validating: Validating::Asks(plugin),
            ..self
        }
    }

    pub const fn validating(self, plugin: Validate) -> Self {
        Self {
            validating: Validating::Pure(plugin),
            ..self
        }
    }
}

/// Plugins of upstream's that are on there unless turned off, or known by name, and not built here.
const KNOWN_ELSEWHERE: &[&str] = &[
    "AlwaysAdmit",
    "AlwaysDeny",
    "ClusterTrustBundleAttest",
    "ImagePolicyWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
];

/// A plugin was named that neither this server nor upstream's has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("admission-control plugin {name:?} is unknown; known are {known}")]
pub struct UnknownPlugin {
    pub name: String,
    pub known: String,
}

/// A plugin that is on.
struct On {
    plugin: &'static Plugin,
    passings: Passings,
}

/// The plugins that are on, in upstream's order, and what they are told.
pub struct Chain {
    plugins: Vec<On>,
    settings: AdmissionSettings,
}

impl Chain {
    /// Everything that is built is on, unless it is disabled, or has to be enabled and isn't.
    ///
    /// # Errors
    /// A name is nobody's.
    pub fn select(
        enabled: &[String],
        disabled: &[String],
        settings: AdmissionSettings,
    ) -> Result<Self, UnknownPlugin> {
        let built = |name: &str| PLUGINS.iter().any(|plugin| plugin.name == name);
        for name in enabled.iter().chain(disabled) {
            if !built(name) && !KNOWN_ELSEWHERE.contains(&name.as_str()) {
                return Err(UnknownPlugin {
                    name: name.clone(),
                    known: PLUGINS.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
                });
            }
        }
        for name in enabled.iter().filter(|name| !built(name)) {
            tracing::warn!(
                plugin = name,
                "this admission plugin is not built; nothing is refused by it"
            );
        }
        let named = |names: &[String], plugin: &Plugin| names.iter().any(|name| name == plugin.name);
        let is_on =
            |plugin: &&Plugin| !named(disabled, plugin) && (!plugin.must_be_named || named(enabled, plugin));
        Ok(Self {
            plugins: PLUGINS
                .iter()
                .filter(is_on)
                .map(|plugin| On {
                    plugin,
                    passings: Passings::default(),
                })
                .collect(),
            settings,
        })
    }

    /// What the plugins are told.
    pub fn settings(&self) -> &AdmissionSettings {
        &self.settings
    }

    /// Whether the plugin of this name is on.
    pub fn has(&self, name: &str) -> bool {
        self.plugins.iter().any(|on| on.plugin.name == name)
    }

    /// Passes an attempt through the mutating phase, twice if a plugin of the first round asks for it. What nobody can
    /// turn off comes last, and once.
    pub async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
        self.mutate_once(attempt).await?;
        if attempt.again {
            attempt.round = Round::Again;
            self.mutate_once(attempt).await?;
        }
        if let (true, Some(restores), Some(object)) =
            (attempt.replaced, attempt.restores, attempt.object.as_deref_mut())
        {
            restores(object);
        }
        for part in ALWAYS {
            part.run(attempt).await?;
        }
        Ok(())
    }

    async fn mutate_once(&self, attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
        let (metrics, operation) = (&attempt.server.metrics.admission, attempt.operation);
        let mut began = Instant::now();
        for On { plugin, passings } in &self.plugins {
            if matches!(plugin.mutating, Mutating::Absent) {
                continue;
            }
            let result = plugin.mutating.run(attempt).await;
            let took = lap(&mut began);
            let rejected = result.is_err();
            metrics.plugin(passings, plugin.name, Phase::Admit, operation, rejected, took);
            result?;
        }
        Ok(())
    }

    /// Passes an attempt through the validating phase: the object is as it will be stored.
    pub async fn validate(&self, attempt: &Attempt<'_>) -> Result<(), ApiError> {
        let metrics = &attempt.server.metrics.admission;
        let mut began = Instant::now();
        for On { plugin, passings } in &self.plugins {
            let result = match plugin.validating {
                Validating::Absent => continue,
                Validating::Pure(plugin) => plugin(attempt),
                Validating::Asks(plugin) => plugin(attempt).await,
            };
            let took = lap(&mut began);
            let rejected = result.is_err();
            metrics.plugin(
                passings,
                plugin.name,
                Phase::Validate,
                attempt.operation,
                rejected,
                took,
            );
            result?;
        }
        Ok(())
    }
}

/// How long ago `began` was; the next one begins now. One look at the clock for each plugin.
fn lap(began: &mut Instant) -> Duration {
    let now = Instant::now();
    now.duration_since(std::mem::replace(began, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(enabled: &[&str], disabled: &[&str]) -> Result<Vec<&'static str>, UnknownPlugin> {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let chain = Chain::select(&owned(enabled), &owned(disabled), AdmissionSettings::default())?;
        Ok(chain.plugins.iter().map(|on| on.plugin.name).collect())
    }

    #[test]
    fn what_is_disabled_is_out_and_what_is_nobodys_is_refused() {
        let all = names(&[], &[]).unwrap();
        assert!(
            PLUGINS
                .iter()
                .all(|plugin| all.contains(&plugin.name) != plugin.must_be_named)
        );
        assert!(
            names(&["EventRateLimit"], &[])
                .unwrap()
                .contains(&"EventRateLimit")
        );
        let some = names(&["NodeRestriction"], &["ServiceAccount", "AlwaysDeny"]).unwrap();
        assert!(some.contains(&"NodeRestriction") && !some.contains(&"ServiceAccount"));
        assert_eq!(names(&["Bogus"], &[]).unwrap_err().name, "Bogus");
    }

    /// Contract §17: `--enable-admission-plugins` may name any plugin of upstream's, so each must be known once.
    #[test]
    fn a_plugin_is_built_or_known_elsewhere_and_not_both() {
        for plugin in PLUGINS {
            assert!(!KNOWN_ELSEWHERE.contains(&plugin.name), "{}", plugin.name);
        }
    }
}
