//! Of which images pods must show that they may have them.
use super::repository;
use crate::config::KubeletConfiguration;

const GATE: &str = "KubeletEnsureSecretPulledImages";

/// Of which images pods must show that they may have them (`imagePullCredentialsVerificationPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verified {
    /// Of those that this node pulled.
    #[default]
    Pulled,
    /// Of all but these.
    AllBut(Vec<String>),
    None,
    All,
}

impl Verified {
    pub fn of(configuration: &KubeletConfiguration) -> Self {
        let gates = configuration.other.get("featureGates");
        if gates.is_some_and(|gates| gates[GATE] == false) {
            return Self::None;
        }
        match configuration.image_pull_credentials_verification_policy.as_str() {
            "NeverVerify" => Self::None,
            "AlwaysVerify" => Self::All,
            "NeverVerifyAllowlistedImages" => {
                Self::AllBut(configuration.preloaded_images_verification_allowlist.clone())
            }
            _ => Self::Pulled,
        }
    }

    pub fn covers(&self, image: &str, pulled: bool) -> bool {
        let is_listed = |pattern: &String| match pattern.strip_suffix("/*") {
            Some(above) => repository(image)
                .strip_prefix(above)
                .is_some_and(|rest| rest.starts_with('/')),
            None => repository(image) == pattern,
        };
        match self {
            Self::Pulled => pulled,
            Self::AllBut(listed) => !listed.iter().any(is_listed),
            Self::None => false,
            Self::All => true,
        }
    }
}
