//! Volumes and claims are not taken away from those who use them (`StorageObjectInUseProtection`): a controller takes
//! the finalizer off when nobody does.
use super::{Attempt, Operation};
use crate::status::ApiError;
use serde_json::{Value, json};

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let finalizer = match attempt.resource.plural {
        "persistentvolumeclaims" => "kubernetes.io/pvc-protection",
        "persistentvolumes" => "kubernetes.io/pv-protection",
        _ => return Ok(()),
    };
    let creates = attempt.operation == Operation::Create && attempt.subresource.is_empty();
    let ours = creates && attempt.resource.group.is_empty();
    if let Some(object) = attempt.object.as_deref_mut().filter(|_| ours) {
        add(object, finalizer);
    }
    Ok(())
}

fn add(object: &mut Value, finalizer: &str) {
    let metadata = &mut object["metadata"];
    match metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        Some(finalizers) if finalizers.iter().any(|own| own == finalizer) => {}
        Some(finalizers) => finalizers.push(json!(finalizer)),
        None => metadata["finalizers"] = json!([finalizer]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finalizer_is_added_once() {
        let mut claim = json!({"metadata": {"finalizers": ["own"]}});
        add(&mut claim, "f");
        add(&mut claim, "f");
        assert_eq!(claim["metadata"]["finalizers"], json!(["own", "f"]));
        let mut bare = json!({"metadata": {}});
        add(&mut bare, "f");
        assert_eq!(bare["metadata"]["finalizers"], json!(["f"]));
    }
}
