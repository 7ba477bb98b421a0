//! From JSON trees to typed objects and back, where a rule needs types.
use orlop_api::quantity::Amount;
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

/// Sets a member that is absent or null, if there is an object to set it in.
pub fn fill(object: &mut Value, key: &str, value: impl FnOnce() -> Value) {
    if let Some(object) = object.as_object_mut()
        && object.get(key).is_none_or(Value::is_null)
    {
        object.insert(key.to_owned(), value());
    }
}

/// A quantity; `None` where there is none, or what does not parse (decoding refuses it earlier).
pub fn amount(quantity: &Value) -> Option<Amount> {
    quantity.as_str()?.parse().ok()
}

/// The items of a list; none if it isn't one.
pub fn items(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

/// The items of the list at a JSON pointer; none if there isn't one. Indexing would leave a null where there was nothing,
/// which is another object to all who look for the member.
pub fn items_at<'v>(object: &'v mut Value, pointer: &str) -> impl Iterator<Item = &'v mut Value> {
    object.pointer_mut(pointer).into_iter().flat_map(items)
}
