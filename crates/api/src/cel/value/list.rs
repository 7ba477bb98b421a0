//! Lists.
use super::super::unordered::within;
use super::{Shape, Value};
use crate::structural::ListType;
use serde_json::Value as Json;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum List<'a> {
    /// The items, the shape of each, and how they are told apart.
    Json(&'a [Json], Shape<'a>, &'a ListType),
    Made(Arc<Vec<Value<'a>>>),
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, ..) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items, shape, _) => items.get(index).map(|item| Value::of(item, *shape)),
            Self::Made(items) => items.get(index).cloned(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub fn contains(&self, value: &Value<'_>) -> bool {
        (0..self.len()).any(|index| self.get(index).is_some_and(|item| item.equals(value)))
    }

    /// The fields that tell the items of a map-like list apart; empty for a set, `None` if order counts.
    pub fn keys(&self) -> Option<&'a [String]> {
        match self {
            Self::Json(_, _, ListType::Set) => Some(&[]),
            Self::Json(_, _, ListType::Map(keys)) => Some(keys),
            _ => None,
        }
    }

    pub(super) fn equals(&self, other: &List<'_>) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let same = self.iter().zip(other.iter()).all(|(a, b)| a.equals(&b));
        // Sets and map-like lists have no order.
        match (self.keys(), other.keys()) {
            _ if same => true,
            (None, None) => false,
            (Some(keys), _) | (None, Some(keys)) => within(self, other, keys) && within(other, self, keys),
        }
    }
}
