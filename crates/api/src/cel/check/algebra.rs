//! Types that follow from types: of what is taken out of a value, and of what is made of several.
use super::super::ast::{Call, Element, Literal};
use super::super::lex::Fault;
use super::super::opaque::{AUTHORIZER, REQUEST_RESOURCE, RESOURCE_CHECK};
use super::super::types::{Bindings, Type};
use super::{JSON_PATCH, OBJECT, no_overload};

/// The type of a call's values, if there is a meaning for arguments of these types; anything, if there are several.
pub(in crate::cel) fn meaning(call: &Call, given: &[Type]) -> Option<Type> {
    let mut result: Option<Type> = None;
    for overload in call.overloads {
        let mut bindings = Bindings::default();
        let mut pairs = overload.parameters.iter().zip(given);
        let fits = overload.member == call.member
            && overload.parameters.len() == given.len()
            && pairs.all(|(wanted, given)| bindings.accept(wanted, given));
        if fits {
            let ty = bindings.fill(&overload.result);
            result = Some(match result {
                Some(before) if before != ty => Type::Dyn,
                _ => ty,
            });
        }
    }
    result
}

/// Whether values of a type have an order.
pub(super) fn is_comparable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Dyn
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::Bool
            | Type::Duration
            | Type::Timestamp
            | Type::String
            | Type::Bytes
    )
}

pub(in crate::cel) fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// What is in an optional, and whether it was one.
pub(in crate::cel) fn unwrap(ty: Type) -> (Type, bool) {
    match ty {
        Type::Optional(inner) => (inner.as_ref().clone(), true),
        other => (other, false),
    }
}

pub(in crate::cel) fn optional_of(ty: Type) -> Type {
    match ty {
        Type::Optional(_) => ty,
        other => Type::optional(other),
    }
}

pub(in crate::cel) fn field_type(at: usize, of: &Type, field: &str) -> Result<Type, Fault> {
    match of {
        Type::Dyn => Ok(Type::Dyn),
        Type::Map(_, value) => Ok(value.as_ref().clone()),
        Type::Object(object) => match object.fields.get(field) {
            Some(ty) => Ok(ty.clone()),
            None if object.open => Ok(Type::Dyn),
            None => Err(Fault::new(at, format!("undefined field '{field}'"))),
        },
        Type::Opaque(OBJECT | JSON_PATCH) => Ok(Type::Dyn),
        Type::Opaque(AUTHORIZER) if field == REQUEST_RESOURCE => Ok(Type::Opaque(RESOURCE_CHECK)),
        other => Err(Fault::new(
            at,
            format!("type '{other}' does not support field selection"),
        )),
    }
}

pub(in crate::cel) fn index_type(at: usize, of: &Type, index: &Type) -> Result<Type, Fault> {
    let fits = |wanted: &Type| Bindings::default().accept(wanted, index);
    match of {
        Type::Dyn => Ok(Type::Dyn),
        Type::List(item) if matches!(index, Type::Int | Type::Dyn) => Ok(item.as_ref().clone()),
        Type::Map(key, value) if fits(key) => Ok(value.as_ref().clone()),
        _ => Err(no_overload(at, "_[_]", &[of.clone(), index.clone()])),
    }
}

/// One type for both; `None` if they differ.
pub(in crate::cel) fn join(a: &Type, b: &Type) -> Option<Type> {
    let mut bindings = Bindings::default();
    let letter = Type::Param('A');
    let fits = bindings.accept(&letter, a) && bindings.accept(&letter, b);
    fits.then(|| match (a, b) {
        (Type::Dyn, _) | (_, Type::Dyn) => Type::Dyn,
        (Type::List(x), Type::List(y)) => join(x, y).map_or(Type::Dyn, Type::list),
        (Type::Null, other) | (other, _) => other.clone(),
    })
}

/// The type of all items of a literal: one, or any.
pub(super) fn same(items: &[(usize, Type)]) -> Type {
    let mut types = items.iter().map(|(_, ty)| ty);
    let Some(first) = types.next() else {
        return Type::Dyn;
    };
    types.fold(first.clone(), |all, ty| join(&all, ty).unwrap_or(Type::Dyn))
}

/// Items without those that may be left out and be of any type: what is nothing may be anything.
pub(super) fn told<'e>(
    items: &[(usize, Type)],
    elements: impl Iterator<Item = &'e Element>,
) -> Vec<(usize, Type)> {
    let told = items.iter().zip(elements);
    let told = told.filter(|((_, ty), element)| !(element.optional && *ty == Type::Dyn));
    told.map(|(item, _)| item.clone()).collect()
}

/// Items whose type is not the first's: where, what was to be, and what is.
pub(super) fn mismatches(items: &[(usize, Type)]) -> Vec<(usize, Type, Type)> {
    let Some((_, first)) = items.first() else {
        return Vec::new();
    };
    let is_other = |ty: &Type| match (first, ty) {
        (Type::Dyn, Type::Dyn) => false,
        (Type::Dyn | Type::Null, _) | (_, Type::Dyn | Type::Null) => first != ty,
        _ => join(first, ty).is_none(),
    };
    let others = items.iter().filter(|(_, ty)| is_other(ty));
    others.map(|(at, ty)| (*at, first.clone(), ty.clone())).collect()
}
