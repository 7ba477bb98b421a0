//! ResourceQuotas: what objects use, which quotas that concerns, and whether it is still allowed (contract api-server
//! §17). The API server charges with it, the controller counts again with it. Texts are upstream's.

mod charge;
mod limited;
mod names;
mod scope;
mod usage;

#[cfg(test)]
mod tests;

pub use charge::{Attempt, Refusal, charge};
pub use limited::Limited;
pub use names::{Kind, concerns, count_name, is_extended, kind_of_count};
pub use scope::selects;
pub use usage::usage;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::resources::Resources;

/// As quantities are written.
pub fn quantities(resources: &Resources) -> BTreeMap<String, Quantity> {
    let quantity = |(name, amount): (&String, &crate::quantity::Amount)| (name.clone(), amount.to_quantity());
    resources.iter().map(quantity).collect()
}
