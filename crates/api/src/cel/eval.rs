//! The value of an expression.
mod fold;

use super::ast::{Call, Element, Expr, Form, LONG_NAMES_BEGIN, Literal};
use super::budget::Error;
use super::functions::Context;
use super::opaque::{Opaque, REQUEST_RESOURCE};
use super::program::Program;
use super::types::Type;
use super::value::{Key, Value};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What names stand for.
#[derive(Default)]
pub struct Activation<'a> {
    roots: Vec<(&'a str, Value<'a>)>,
    variables: Vec<Variable<'a>>,
}

/// A named expression, evaluated when something first asks for it.
struct Variable<'a> {
    name: &'a str,
    program: &'a Program,
    value: OnceCell<Result<Value<'a>, Error>>,
}

impl<'a> Activation<'a> {
    #[must_use]
    pub fn with(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.roots.push((name, value));
        self
    }

    /// Adds `variables.name`; it may use those that were added before.
    pub fn define(&mut self, name: &'a str, program: &'a Program) {
        self.variables.push(Variable {
            name,
            program,
            value: OnceCell::new(),
        });
    }
}

/// # Errors
/// There is no value, or finding it would cost too much.
pub fn eval<'a>(
    expr: &'a Expr,
    names: &Activation<'a>,
    context: &mut Context<'a>,
) -> Result<Value<'a>, Error> {
    Frame {
        names,
        locals: Vec::new(),
        context,
    }
    .of(expr)
}

struct Frame<'f, 'a> {
    names: &'f Activation<'a>,
    locals: Vec<(&'a str, Value<'a>)>,
    context: &'f mut Context<'a>,
}

const VARIABLES: &str = "variables";

impl<'a> Frame<'_, 'a> {
    fn of(&mut self, expr: &'a Expr) -> Result<Value<'a>, Error> {
        let value = self.value_of(expr)?;
        self.context.budget.copy(value.copied_bytes())?;
        Ok(value)
    }

    fn value_of(&mut self, expr: &'a Expr) -> Result<Value<'a>, Error> {
        match &expr.form {
            Form::Literal(literal) => Ok(value_of(literal)),
            Form::Ident(name) => {
                self.context.budget.spend(1)?;
                self.named(name)
            }
            Form::Select { of, field, optional } => {
                self.context.budget.spend(1)?;
                if let Some(value) = self.variable(of, field) {
                    return value;
                }
                let long = expr.form.long_type_name();
                if let Some(name) = long.filter(|_| self.known(LONG_NAMES_BEGIN).is_none()) {
                    return Ok(Value::Type(name.to_owned()));
                }
                let of = self.of(of)?;
                if let (Value::Opaque(Opaque::Authorizer(_)), REQUEST_RESOURCE, Some(authorizer)) =
                    (&of, field.as_str(), self.context.authorizer)
                {
                    let check = Arc::new(authorizer.request_resource());
                    return Ok(Value::Opaque(Opaque::ResourceCheck(check)));
                }
                select(of, field, *optional)
            }
            Form::Has { of, field } => {
                self.context.budget.spend(1)?;
                if self.is_variables(of) {
                    return Ok(Value::Bool(self.names.variables.iter().any(|v| v.name == field)));
                }
                match self.of(of)? {
                    Value::Optional(None) => Ok(Value::Bool(false)),
                    Value::Optional(Some(value)) => present(&value, field),
                    value => present(&value, field),
                }
            }
            Form::Index { of, index, optional } => {
                self.context.budget.spend(1)?;
                let of = self.of(of)?;
                let index = self.of(index)?;
                at(of, &index, *optional)
            }
            Form::Call(call) => self.call(call),
            Form::And(parts) => self.logic(parts, false),
            Form::Or(parts) => self.logic(parts, true),
            Form::Conditional(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                match self.of(condition)? {
                    Value::Bool(true) => self.of(then),
                    Value::Bool(false) => self.of(otherwise),
                    _ => Err(Error::no_such_overload()),
                }
            }
            Form::List(elements) => {
                self.context.budget.spend(10)?;
                let mut items = Vec::with_capacity(elements.len());
                for element in elements {
                    items.extend(self.element(element)?);
                }
                Ok(Value::list(items))
            }
            Form::Map(entries) => {
                self.context.budget.spend(30)?;
                let mut map = BTreeMap::new();
                for entry in entries {
                    let key = Key::of(&self.of(&entry.key)?)?;
                    if let Some(value) = self.element(&entry.value)? {
                        map.insert(key, value);
                    }
                }
                Ok(Value::map(map))
            }
            Form::Object { fields, .. } => {
                self.context.budget.spend(40)?;
                let mut map = BTreeMap::new();
                for (name, element) in fields {
                    if let Some(value) = self.element(element)? {
                        map.insert(Key::String(super::property::unescape(name).into_owned()), value);
                    }
                }
                Ok(Value::map(map))
            }
            Form::Fold(fold) => self.fold(fold),
            Form::OptMap { of, name, body, flat } => match self.of(of)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(value)) => {
                    self.locals.push((name, value.as_ref().clone()));
                    let result = self.of(body);
                    self.locals.pop();
                    Ok(if *flat { result? } else { Value::some(result?) })
                }
                _ => Err(Error::no_such_overload()),
            },
        }
    }

    fn known(&self, name: &str) -> Option<&Value<'a>> {
        let local = self.locals.iter().rev().find(|(known, _)| *known == name);
        let found = local.or_else(|| self.names.roots.iter().find(|(known, _)| *known == name));
        found.map(|(_, value)| value)
    }

    fn named(&self, name: &str) -> Result<Value<'a>, Error> {
        match self.known(name) {
            Some(value) => Ok(value.clone()),
            None if Type::of_name(name).is_some() => Ok(Value::Type(name.to_owned())),
            None => Err(Error::failed(format!("no such attribute(s): {name}"))),
        }
    }

    fn is_variables(&self, of: &Expr) -> bool {
        let free = || !self.locals.iter().any(|(name, _)| *name == VARIABLES);
        matches!(&of.form, Form::Ident(name) if name == VARIABLES) && free()
    }

    /// `variables.name`, evaluated once.
    fn variable(&mut self, of: &Expr, name: &str) -> Option<Result<Value<'a>, Error>> {
        if !self.is_variables(of) {
            return None;
        }
        let names = self.names;
        let variable = names.variables.iter().find(|variable| variable.name == name)?;
        if let Some(value) = variable.value.get() {
            return Some(value.clone());
        }
        let value = eval(variable.program.expr(), names, self.context);
        Some(variable.value.get_or_init(|| value).clone())
    }

    /// The value of an element; `None` if it is optional and has none.
    fn element(&mut self, element: &'a Element) -> Result<Option<Value<'a>>, Error> {
        let value = self.of(&element.value)?;
        if !element.optional {
            return Ok(Some(value));
        }
        match value {
            Value::Optional(inner) => Ok(inner.map(|value| value.as_ref().clone())),
            _ => Err(Error::no_such_overload()),
        }
    }

    fn call(&mut self, call: &'a Call) -> Result<Value<'a>, Error> {
        self.context.budget.spend(1)?;
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            arguments.push(self.of(argument)?);
        }
        let fits = |overload: &&super::functions::Overload| {
            overload.member == call.member
                && overload.parameters.len() == arguments.len()
                && overload
                    .parameters
                    .iter()
                    .zip(&arguments)
                    .all(|(wanted, given)| given.is(wanted))
        };
        let overload = call
            .overloads
            .iter()
            .find(fits)
            .ok_or_else(Error::no_such_overload)?;
        (overload.run)(self.context, &arguments)
    }

    /// `&&` and `||`: the side that decides wins over an error on the other one.
    fn logic(&mut self, parts: &'a [Expr], decides: bool) -> Result<Value<'a>, Error> {
        let mut failed = None;
        for part in parts {
            match self.of(part) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.or(Some(Error::no_such_overload())),
                Err(Error::TooExpensive) => return Err(Error::TooExpensive),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }
}

fn value_of(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Cow::Borrowed(text)),
        Literal::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
    }
}

fn select<'a>(of: Value<'a>, field: &str, optional: bool) -> Result<Value<'a>, Error> {
    match of {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => select(inner.as_ref().clone(), field, true),
        Value::Map(map) => match map.field(field) {
            Some(value) if optional => Ok(Value::some(value)),
            Some(value) => Ok(value),
            None if optional => Ok(Value::Optional(None)),
            None => Err(Error::no_such_key(field)),
        },
        _ if optional => Ok(Value::Optional(None)),
        Value::List(_) => Err(Error::failed("unsupported index type 'string' in list")),
        _ => Err(Error::no_such_key(field)),
    }
}

fn present<'a>(of: &Value<'_>, field: &str) -> Result<Value<'a>, Error> {
    match of {
        Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
        Value::List(_) => Err(Error::failed("unsupported index type 'string' in list")),
        _ => Ok(Value::Bool(false)),
    }
}

fn at<'a>(of: Value<'a>, index: &Value<'a>, optional: bool) -> Result<Value<'a>, Error> {
    let found = match &of {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => return at(inner.as_ref().clone(), index, true),
        Value::List(list) => {
            let position = match (index, Key::of(index)) {
                (_, Ok(Key::Int(position))) => position,
                (Value::Double(value), _) => {
                    return Err(Error::failed(format!("unsupported index value {value} in list")));
                }
                _ => {
                    let found = index.type_name();
                    return Err(Error::failed(format!("unsupported index type '{found}' in list")));
                }
            };
            let found = usize::try_from(position)
                .ok()
                .and_then(|position| list.get(position));
            found.ok_or_else(|| Error::failed(format!("index out of bounds: {position}")))
        }
        Value::Map(map) => {
            let key = Key::of(index)?;
            map.get(&key).ok_or_else(|| Error::no_such_key(key))
        }
        _ => return Err(Error::no_such_overload()),
    };
    match (found, optional) {
        (Ok(value), true) => Ok(Value::some(value)),
        (Err(_), true) => Ok(Value::Optional(None)),
        (found, false) => found,
    }
}
