//! Whether an expression can have a value, and of which type.
mod algebra;

pub(super) use algebra::{field_type, index_type, join, literal_type, meaning, optional_of, unwrap};

use super::ast::{Call, Element, Expr, Fold, FoldKind, Form, LONG_NAMES_BEGIN};
use super::lex::Fault;
use super::literals;
use super::types::Type;
use algebra::{is_comparable, mismatches, same, told};

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
/// All that keeps it from having a value; if nothing does, what is wrong with its literals.
pub fn check(expr: &Expr, declarations: &Declarations) -> Result<Type, Vec<Fault>> {
    let mut checker = Checker {
        variables: declarations.variables.clone(),
        makes_objects: declarations.makes_objects,
        takes_mixed: false,
        faults: Vec::new(),
        literals: Vec::new(),
    };
    let ty = checker.of(expr);
    for faults in [checker.faults, checker.literals] {
        if !faults.is_empty() {
            return Err(faults);
        }
    }
    Ok(ty)
}

struct Checker {
    variables: Vec<(String, Type)>,
    makes_objects: bool,
    /// Whether literals may hold values of several types: they are formatted.
    takes_mixed: bool,
    faults: Vec<Fault>,
    /// What is wrong with literals whose types fit.
    literals: Vec<Fault>,
}

impl Checker {
    /// What has no type is taken for anything: it is wrong once.
    fn fault(&mut self, fault: Fault) -> Type {
        self.faults.push(fault);
        Type::Dyn
    }

    fn known(&mut self, found: Result<Type, Fault>) -> Type {
        found.unwrap_or_else(|fault| self.fault(fault))
    }

    fn of(&mut self, expr: &Expr) -> Type {
        let at = expr.at;
        match &expr.form {
            Form::Literal(literal) => literal_type(literal),
            Form::Ident(name) => match self.variable(name) {
                Some(ty) => ty,
                None => self.fault(undeclared(at, name)),
            },
            Form::Select { of, field, optional } => {
                let long = expr
                    .form
                    .long_type_name()
                    .filter(|_| !self.knows(LONG_NAMES_BEGIN));
                if let Some(ty) = long.and_then(Type::of_name) {
                    return Type::of_type(ty);
                }
                let (of, chained) = unwrap(self.of(of));
                let ty = self.known(field_type(at, &of, field));
                if chained || *optional { optional_of(ty) } else { ty }
            }
            Form::Has { of, field } => {
                let (of, _) = unwrap(self.of(of));
                self.known(field_type(at, &of, field));
                Type::Bool
            }
            Form::Index { of, index, optional } => {
                let (of, chained) = unwrap(self.of(of));
                let index = self.of(index);
                let ty = self.known(index_type(at, &of, &index));
                if chained || *optional { optional_of(ty) } else { ty }
            }
            Form::Call(call) => self.call(at, call),
            Form::And(parts) | Form::Or(parts) => {
                for part in parts {
                    self.bool(part);
                }
                Type::Bool
            }
            Form::Conditional(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                let (condition, then, otherwise) = (self.of(condition), self.of(then), self.of(otherwise));
                let joined = matches!(condition, Type::Bool | Type::Dyn)
                    .then(|| join(&then, &otherwise))
                    .flatten();
                match joined {
                    Some(ty) => ty,
                    None => self.fault(no_overload(at, "_?_:_", &[condition, then, otherwise])),
                }
            }
            Form::List(elements) => {
                let items = elements.iter();
                let items: Vec<_> = items.map(|e| (e.value.at, self.element(e))).collect();
                let told = told(&items, elements.iter());
                if let Some((at, first, other)) = mismatches(&told).into_iter().next() {
                    self.mixed(at, first, other);
                }
                Type::list(same(&items))
            }
            Form::Map(entries) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for entry in entries {
                    keys.push((entry.key.at, self.of(&entry.key)));
                    values.push((entry.value.value.at, self.element(&entry.value)));
                }
                let told = told(&values, entries.iter().map(|entry| &entry.value));
                for (at, first, other) in [mismatches(&keys), mismatches(&told)].concat() {
                    self.mixed(at, first, other);
                }
                Type::map(same(&keys), same(&values))
            }
            Form::Object { name, fields } => {
                let known = name == "JSONPatch" || name == "Object" || name.starts_with("Object.");
                if !self.makes_objects || !known {
                    return self.fault(undeclared(at, name));
                }
                for (_, element) in fields {
                    self.element(element);
                }
                if name == "JSONPatch" {
                    Type::Opaque(JSON_PATCH)
                } else {
                    Type::Opaque(OBJECT)
                }
            }
            Form::Fold(fold) => self.fold(at, fold),
            Form::OptMap { of, name, body, flat } => {
                let inner = match self.of(of) {
                    Type::Optional(inner) => inner.as_ref().clone(),
                    Type::Dyn => Type::Dyn,
                    other => {
                        let name = if *flat { "optFlatMap" } else { "optMap" };
                        self.fault(no_overload(at, name, &[other]))
                    }
                };
                let result = self.bound(&[(name, inner)], |checker| checker.of(body));
                if *flat { result } else { Type::optional(result) }
            }
        }
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        let known = found.map(|(_, ty)| ty.clone());
        known.or_else(|| Type::of_name(name).map(Type::of_type))
    }

    fn knows(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| known == name)
    }

    fn bound<R>(&mut self, names: &[(&String, Type)], then: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.variables.len();
        self.variables
            .extend(names.iter().map(|(name, ty)| ((*name).clone(), ty.clone())));
        let result = then(self);
        self.variables.truncate(before);
        result
    }

    fn bool(&mut self, expr: &Expr) {
        let ty = self.of(expr);
        if !matches!(ty, Type::Bool | Type::Dyn) {
            self.fault(mismatch(expr.at, &Type::Bool, &ty));
        }
    }

    fn mixed(&mut self, at: usize, first: Type, other: Type) {
        if !self.takes_mixed {
            self.literals.push(mismatch(at, &first, &other));
        }
    }

    fn element(&mut self, element: &Element) -> Type {
        let ty = self.of(&element.value);
        if !element.optional {
            return ty;
        }
        match ty {
            Type::Optional(inner) => inner.as_ref().clone(),
            Type::Dyn => Type::Dyn,
            other => {
                let wanted = Type::optional(other.clone());
                self.fault(mismatch(element.value.at, &wanted, &other))
            }
        }
    }

    fn call(&mut self, at: usize, call: &Call) -> Type {
        let before = self.takes_mixed;
        // What is formatted need not be of one type.
        self.takes_mixed |= call.member && call.name == "format";
        let given: Vec<Type> = call.arguments.iter().map(|argument| self.of(argument)).collect();
        self.takes_mixed = before;
        if call.overloads.is_empty() {
            return self.fault(undeclared(at, &call.name));
        }
        let Some(result) = meaning(call, &given) else {
            return self.fault(no_meaning(at, call, &given));
        };
        literals::check(at, call, &mut self.literals);
        result
    }

    fn fold(&mut self, at: usize, fold: &Fold) -> Type {
        let range = self.of(&fold.range);
        let (key, value) = match &range {
            Type::List(item) => (Type::Int, item.as_ref().clone()),
            Type::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(Fault::new(fold.range.at, why));
                (Type::Dyn, Type::Dyn)
            }
        };
        let names: Vec<(&String, Type)> = match &fold.second {
            Some(second) => vec![(&fold.first, key.clone()), (second, value.clone())],
            None if matches!(range, Type::List(_)) => vec![(&fold.first, value.clone())],
            None => vec![(&fold.first, key.clone())],
        };
        let item = names[0].1.clone();
        self.bound(&names, |checker| {
            let condition = match &fold.condition {
                Some(condition) if matches!(fold.kind, FoldKind::All | FoldKind::Exists) => {
                    checker.bool(condition);
                    Type::Bool
                }
                Some(condition) => checker.of(condition),
                None => Type::Bool,
            };
            let yields = match &fold.yields {
                Some(yields) => checker.of(yields),
                None => Type::Dyn,
            };
            if !matches!(condition, Type::Bool | Type::Dyn) {
                // What is gathered goes on with one more, or as it is.
                let gathered = match fold.kind {
                    FoldKind::ExistsOne => Type::Int,
                    FoldKind::Filter => Type::list(item.clone()),
                    _ => Type::list(yields.clone()),
                };
                checker.fault(no_overload(at, "_?_:_", &[condition, gathered.clone(), gathered]));
            }
            match fold.kind {
                FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
                FoldKind::Sort if !is_comparable(&yields) => {
                    let why = format!(
                        "found no matching overload for '@sortByAssociatedKeys' applied to 'list({item}).(list({yields}))'"
                    );
                    checker.fault(Fault::new(at, why))
                }
                FoldKind::Filter | FoldKind::Sort => Type::list(item),
                FoldKind::List => Type::list(yields),
                FoldKind::Map => Type::map(key, yields),
                FoldKind::MapEntry => yields,
            }
        })
    }
}

/// What `Object{…}` and `JSONPatch{…}` make.
pub const OBJECT: &str = "Object";
pub const JSON_PATCH: &str = "JSONPatch";

fn undeclared(at: usize, name: &str) -> Fault {
    Fault::new(at, format!("undeclared reference to '{name}' (in container '')"))
}

fn mismatch(at: usize, wanted: &Type, found: &Type) -> Fault {
    Fault::new(at, format!("expected type '{wanted}' but found '{found}'"))
}

/// That a call's arguments don't fit.
fn no_meaning(at: usize, call: &Call, given: &[Type]) -> Fault {
    let (Some((receiver, arguments)), true) = (given.split_first(), call.member) else {
        return no_overload(at, &call.name, given);
    };
    let texts: Vec<String> = arguments.iter().map(Type::to_string).collect();
    let why = format!(
        "found no matching overload for '{}' applied to '{receiver}.({})'",
        call.name,
        texts.join(", ")
    );
    Fault::new(at, why)
}

fn no_overload(at: usize, name: &str, given: &[Type]) -> Fault {
    let texts: Vec<String> = given.iter().map(Type::to_string).collect();
    // As the language calls it, whose name shows itself nowhere else.
    let name = if name == "_in_" { "@in" } else { name };
    let why = format!(
        "found no matching overload for '{name}' applied to '({})'",
        texts.join(", ")
    );
    Fault::new(at, why)
}
