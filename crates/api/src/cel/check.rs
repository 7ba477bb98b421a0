//! Whether an expression can have a value, and of which type.
use super::ast::{Call, Element, Expr, Fold, FoldKind, Form, Literal};
use super::lex::Fault;
use super::opaque::{AUTHORIZER, REQUEST_RESOURCE, RESOURCE_CHECK};
use super::types::{Bindings, Type};

/// Names of types that are values themselves.
pub const TYPES: &[&str] = &[
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];

/// What an expression may name.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    variables: Vec<(String, Type)>,
    /// Whether `Object{…}` and `JSONPatch{…}` make objects.
    makes_objects: bool,
}

impl Declarations {
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.variables.push((name.into(), ty));
        self
    }

    #[must_use]
    pub fn making_objects(self) -> Self {
        Self {
            makes_objects: true,
            ..self
        }
    }
}

/// The type of an expression.
///
/// # Errors
/// It cannot have a value.
pub fn check(expr: &Expr, declarations: &Declarations) -> Result<Type, Fault> {
    Checker {
        variables: declarations.variables.clone(),
        makes_objects: declarations.makes_objects,
    }
    .of(expr)
}

struct Checker {
    variables: Vec<(String, Type)>,
    makes_objects: bool,
}

impl Checker {
    fn of(&mut self, expr: &Expr) -> Result<Type, Fault> {
        let at = expr.at;
        match &expr.form {
            Form::Literal(literal) => Ok(literal_type(literal)),
            Form::Ident(name) => self.variable(name).ok_or_else(|| undeclared(at, name)),
            Form::Select { of, field, optional } => {
                let of = self.of(of)?;
                let (of, chained) = unwrap(of);
                let ty = field_type(at, &of, field)?;
                Ok(if chained || *optional { optional_of(ty) } else { ty })
            }
            Form::Has { of, field } => {
                let (of, _) = unwrap(self.of(of)?);
                field_type(at, &of, field)?;
                Ok(Type::Bool)
            }
            Form::Index { of, index, optional } => {
                let (of, chained) = unwrap(self.of(of)?);
                let index = self.of(index)?;
                let ty = index_type(at, &of, &index)?;
                Ok(if chained || *optional { optional_of(ty) } else { ty })
            }
            Form::Call(call) => self.call(at, call),
            Form::And(parts) | Form::Or(parts) => {
                for part in parts {
                    self.bool(part)?;
                }
                Ok(Type::Bool)
            }
            Form::Conditional(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                self.bool(condition)?;
                let (then, otherwise) = (self.of(then)?, self.of(otherwise)?);
                join(&then, &otherwise)
                    .ok_or_else(|| no_overload(at, "_?_:_", &[Type::Bool, then, otherwise]))
            }
            Form::List(elements) => {
                let items = elements
                    .iter()
                    .map(|element| Ok((element.value.at, self.element(element)?)));
                let item = same(items.collect::<Result<Vec<_>, Fault>>()?)?;
                Ok(Type::list(item))
            }
            Form::Map(entries) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for entry in entries {
                    keys.push((entry.key.at, self.of(&entry.key)?));
                    values.push((entry.value.value.at, self.element(&entry.value)?));
                }
                Ok(Type::map(same(keys)?, same(values)?))
            }
            Form::Object { name, fields } => {
                let known = name == "JSONPatch" || name == "Object" || name.starts_with("Object.");
                if !self.makes_objects || !known {
                    return Err(undeclared(at, name));
                }
                for (_, element) in fields {
                    self.element(element)?;
                }
                Ok(if name == "JSONPatch" {
                    Type::Opaque(JSON_PATCH)
                } else {
                    Type::Opaque(OBJECT)
                })
            }
            Form::Fold(fold) => self.fold(fold),
            Form::OptMap { of, name, body, flat } => {
                let inner = match self.of(of)? {
                    Type::Optional(inner) => inner.as_ref().clone(),
                    Type::Dyn => Type::Dyn,
                    other => {
                        return Err(no_overload(
                            at,
                            if *flat { "optFlatMap" } else { "optMap" },
                            &[other],
                        ));
                    }
                };
                let result = self.bound(&[(name, inner)], |checker| checker.of(body))?;
                Ok(if *flat { result } else { Type::optional(result) })
            }
        }
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        let known = found.map(|(_, ty)| ty.clone());
        known.or_else(|| TYPES.contains(&name).then_some(Type::Type))
    }

    fn bound<R>(&mut self, names: &[(&String, Type)], then: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.variables.len();
        self.variables
            .extend(names.iter().map(|(name, ty)| ((*name).clone(), ty.clone())));
        let result = then(self);
        self.variables.truncate(before);
        result
    }

    fn bool(&mut self, expr: &Expr) -> Result<(), Fault> {
        match self.of(expr)? {
            Type::Bool | Type::Dyn => Ok(()),
            other => Err(Fault::new(
                expr.at,
                format!("expected type 'bool' but found '{other}'"),
            )),
        }
    }

    fn element(&mut self, element: &Element) -> Result<Type, Fault> {
        let ty = self.of(&element.value)?;
        if !element.optional {
            return Ok(ty);
        }
        match ty {
            Type::Optional(inner) => Ok(inner.as_ref().clone()),
            Type::Dyn => Ok(Type::Dyn),
            other => {
                let why = format!("expected type 'optional_type({other})' but found '{other}'");
                Err(Fault::new(element.value.at, why))
            }
        }
    }

    fn call(&mut self, at: usize, call: &Call) -> Result<Type, Fault> {
        let mut given = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            given.push(match &argument.form {
                // What is formatted need not be of one type.
                Form::List(elements) if call.name == "format" => {
                    for element in elements {
                        self.element(element)?;
                    }
                    Type::list(Type::Dyn)
                }
                _ => self.of(argument)?,
            });
        }
        if !call
            .overloads
            .iter()
            .any(|overload| overload.member == call.member)
        {
            return Err(undeclared(at, &call.name));
        }
        let mut result: Option<Type> = None;
        for overload in call.overloads {
            let mut bindings = Bindings::default();
            let fits = overload.member == call.member
                && overload.parameters.len() == given.len()
                && overload
                    .parameters
                    .iter()
                    .zip(&given)
                    .all(|(wanted, given)| bindings.accept(wanted, given));
            if fits {
                let ty = bindings.fill(&overload.result);
                result = Some(match result {
                    Some(before) if before != ty => Type::Dyn,
                    _ => ty,
                });
            }
        }
        result.ok_or_else(|| {
            if !call.member {
                return no_overload(at, &call.name, &given);
            }
            let (receiver, arguments) = given.split_first().map_or((&Type::Dyn, &[][..]), |(r, a)| (r, a));
            let texts: Vec<String> = arguments.iter().map(Type::to_string).collect();
            let why = format!(
                "found no matching overload for '{}' applied to '{receiver}.({})'",
                call.name,
                texts.join(", ")
            );
            Fault::new(at, why)
        })
    }

    fn fold(&mut self, fold: &Fold) -> Result<Type, Fault> {
        let range = self.of(&fold.range)?;
        let (key, value) = match &range {
            Type::List(item) => (Type::Int, item.as_ref().clone()),
            Type::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return Err(Fault::new(fold.range.at, why));
            }
        };
        let names: Vec<(&String, Type)> = match &fold.second {
            Some(second) => vec![(&fold.first, key.clone()), (second, value.clone())],
            None if matches!(range, Type::List(_)) => vec![(&fold.first, value.clone())],
            None => vec![(&fold.first, key.clone())],
        };
        let item = names[0].1.clone();
        self.bound(&names, |checker| {
            if let Some(condition) = &fold.condition {
                checker.bool(condition)?;
            }
            let yields = match &fold.yields {
                Some(yields) => checker.of(yields)?,
                None => Type::Dyn,
            };
            Ok(match fold.kind {
                FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
                FoldKind::Filter => Type::list(item),
                FoldKind::List => Type::list(yields),
                FoldKind::Map => Type::map(key, yields),
                FoldKind::MapEntry => yields,
            })
        })
    }
}

/// What `Object{…}` and `JSONPatch{…}` make.
pub const OBJECT: &str = "Object";
pub const JSON_PATCH: &str = "JSONPatch";

fn literal_type(literal: &Literal) -> Type {
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

fn undeclared(at: usize, name: &str) -> Fault {
    Fault::new(at, format!("undeclared reference to '{name}' (in container '')"))
}

fn no_overload(at: usize, name: &str, given: &[Type]) -> Fault {
    let texts: Vec<String> = given.iter().map(Type::to_string).collect();
    let why = format!(
        "found no matching overload for '{name}' applied to '({})'",
        texts.join(", ")
    );
    Fault::new(at, why)
}

/// What is in an optional, and whether it was one.
fn unwrap(ty: Type) -> (Type, bool) {
    match ty {
        Type::Optional(inner) => (inner.as_ref().clone(), true),
        other => (other, false),
    }
}

fn optional_of(ty: Type) -> Type {
    match ty {
        Type::Optional(_) => ty,
        other => Type::optional(other),
    }
}

fn field_type(at: usize, of: &Type, field: &str) -> Result<Type, Fault> {
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

fn index_type(at: usize, of: &Type, index: &Type) -> Result<Type, Fault> {
    let fits = |wanted: &Type| Bindings::default().accept(wanted, index);
    match of {
        Type::Dyn => Ok(Type::Dyn),
        Type::List(item) if matches!(index, Type::Int | Type::Dyn) => Ok(item.as_ref().clone()),
        Type::Map(key, value) if fits(key) => Ok(value.as_ref().clone()),
        _ => Err(no_overload(at, "_[_]", &[of.clone(), index.clone()])),
    }
}

/// One type for both; `None` if they differ.
fn join(a: &Type, b: &Type) -> Option<Type> {
    let mut bindings = Bindings::default();
    let letter = Type::Param('A');
    let fits = bindings.accept(&letter, a) && bindings.accept(&letter, b);
    fits.then(|| match (a, b) {
        (Type::Dyn, _) | (_, Type::Dyn) => Type::Dyn,
        (Type::List(x), Type::List(y)) => join(x, y).map_or(Type::Dyn, Type::list),
        (Type::Null, other) | (other, _) => other.clone(),
    })
}

/// The type of all items of a literal.
fn same(items: Vec<(usize, Type)>) -> Result<Type, Fault> {
    let mut all: Option<Type> = None;
    for (at, ty) in items {
        all = Some(match &all {
            None => ty,
            Some(before) => join(before, &ty)
                .ok_or_else(|| Fault::new(at, format!("expected type '{before}' but found '{ty}'")))?,
        });
    }
    Ok(all.unwrap_or(Type::Dyn))
}
