//! From JSON trees to typed objects and back, where a rule needs types.
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Runs a typed function over a tree. Bodies were checked against the type when they were decoded, so
/// a mismatch here is our own mistake: it is logged and the tree stays as it was.
pub fn edit<T: Serialize + DeserializeOwned>(value: &mut Value, change: impl FnOnce(&mut T)) {
    let Some(mut object) = typed::<T>(value) else {
        return;
    };
    change(&mut object);
    match serde_json::to_value(&object) {
        Ok(changed) => *value = changed,
        Err(error) => tracing::error!(%error, "an object could not be written back"),
    }
}

/// Reads something from a tree through its type.
pub fn read<T: DeserializeOwned, R>(value: &Value, look: impl FnOnce(&T) -> R) -> Option<R> {
    typed::<T>(value).as_ref().map(look)
}

fn typed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value)
        .inspect_err(|error| tracing::error!(%error, "an object does not have its type"))
        .ok()
}
