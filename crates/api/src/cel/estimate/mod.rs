//! What evaluating an expression may cost at most, by the sizes that a schema allows (contract api-server §18).
//!
//! A rule that would take too long with the largest object that its schema allows is refused with the schema, instead
//! of failing the day such an object comes. Numbers are upstream's: a definition that is taken there has to be taken here,
//! and the other way round.
//!
//! | file | knows |
//! |---|---|
//! | `sizes` | how large a value can be |
//! | `calls` | what a call costs, and how large its value is |
mod calls;
mod sizes;

pub use sizes::{many, parts_max};

use super::ast::{Call, Element, Expr, Fold, FoldKind, Form, Literal};
use super::check::{field_type, index_type, join, literal_type, meaning, optional_of, unwrap};
use super::program::Program;
use super::types::Type;
use crate::structural::Node;
use sizes::{Place, Size, Step};

/// What making a list, a map and an object costs.
const LIST: u64 = 10;
const MAP: u64 = 30;
const OBJECT: u64 = 40;

/// The most that a program costs, evaluated once on a value of that place, which has the type `ty`.
pub fn estimate(program: &Program, own: &Node, ty: &Type) -> u64 {
    let mut estimator = Estimator {
        root: own,
        own: ty.clone(),
        locals: Vec::new(),
    };
    estimator.of(program.expr()).cost
}

/// What is known about the value of an expression.
#[derive(Clone)]
struct Guess<'n> {
    /// Of finding it.
    cost: u64,
    ty: Type,
    place: Place<'n>,
    size: Option<Size>,
    /// Of keys and values, or items, of something that was made.
    parts: Option<(Size, Size)>,
}

impl<'n> Guess<'n> {
    fn made(cost: u64, ty: Type) -> Self {
        let size = is_scalar(&ty).then_some(Size::exactly(1));
        Self {
            cost,
            ty,
            place: Place::Made,
            size,
            parts: None,
        }
    }

    fn sized(mut self, size: Size) -> Self {
        self.size = Some(size);
        self
    }

    /// At a place, whose size counts before what its type says.
    fn at(mut self, place: Place<'n>) -> Self {
        self.place = place;
        self.size = place.size().or(self.size);
        self
    }

    fn any_size(&self) -> Size {
        self.size.unwrap_or(Size::ANY)
    }
}

/// Whether values of a type are all as large.
fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}

struct Estimator<'e> {
    root: &'e Node,
    own: Type,
    /// Names of macros, with what they stand for.
    locals: Vec<(&'e str, Guess<'e>)>,
}

impl<'e> Estimator<'e> {
    fn of(&mut self, expr: &'e Expr) -> Guess<'e> {
        match &expr.form {
            Form::Literal(literal) => {
                let size = match literal {
                    Literal::String(text) => text.chars().count() as u64,
                    Literal::Bytes(bytes) => bytes.len() as u64,
                    _ => 1,
                };
                Guess::made(0, literal_type(literal)).sized(Size::exactly(size))
            }
            Form::Ident(name) => self.named(name),
            Form::Select { of, field, optional } => {
                let of = self.of(of);
                let (own, chained) = unwrap(of.ty.clone());
                let ty = field_type(expr.at, &own, field).unwrap_or(Type::Dyn);
                if *optional || chained {
                    return Guess::made(of.cost.saturating_add(u64::from(*optional)), optional_of(ty));
                }
                let step = u64::from(matches!(own, Type::Map(..) | Type::Object(_)));
                let place = of.place.step(Step::Field(field), self.root);
                Guess::made(of.cost.saturating_add(step), ty).at(place)
            }
            Form::Has { of, .. } => Guess::made(self.of(of).cost, Type::Bool),
            Form::Index { of, index, optional } => {
                let (of, index) = (self.of(of), self.of(index));
                let cost = of.cost.saturating_add(index.cost).saturating_add(1);
                let (own, chained) = unwrap(of.ty.clone());
                let ty = index_type(expr.at, &own, &index.ty).unwrap_or(Type::Dyn);
                if *optional || chained {
                    return Guess::made(cost, optional_of(ty));
                }
                let known = of.parts.map(|(_, value)| value);
                let mut found = Guess::made(cost, ty).at(of.place.step(Step::Item, self.root));
                found.size = known.or(found.size);
                found
            }
            Form::Call(call) => self.call(call),
            Form::And(parts) | Form::Or(parts) => {
                let costs = parts.iter().map(|part| self.of(part).cost);
                Guess::made(costs.fold(0, u64::saturating_add), Type::Bool)
            }
            Form::Conditional(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                let (condition, then, otherwise) = (self.of(condition), self.of(then), self.of(otherwise));
                let cost = condition.cost.saturating_add(then.cost.max(otherwise.cost));
                let ty = join(&then.ty, &otherwise.ty).unwrap_or(Type::Dyn);
                let size = then.any_size().or(otherwise.any_size());
                let mut either = Guess::made(cost, ty).sized(size);
                either.parts = both(then.parts, otherwise.parts);
                either
            }
            Form::List(elements) => self.list(elements),
            Form::Map(entries) => {
                let mut cost = MAP;
                let (mut keys, mut values) = (None, None);
                for entry in entries {
                    let (key, value) = (self.of(&entry.key), self.of(&entry.value.value));
                    cost = cost.saturating_add(key.cost).saturating_add(value.cost);
                    keys = larger(keys, key.any_size());
                    values = larger(values, value.any_size());
                }
                let ty = Type::map(Type::Dyn, Type::Dyn);
                let mut map = Guess::made(cost, ty).sized(Size::exactly(entries.len() as u64));
                let none = Size::exactly(0);
                map.parts = Some((keys.unwrap_or(none), values.unwrap_or(none)));
                map
            }
            Form::Object { fields, .. } => {
                let costs = fields.iter().map(|(_, element)| self.of(&element.value).cost);
                Guess::made(costs.fold(OBJECT, u64::saturating_add), Type::Dyn)
            }
            Form::Fold(fold) => self.fold(fold),
            Form::OptMap { of, name, body, flat } => {
                let of = self.of(of);
                let inner = match &of.ty {
                    Type::Optional(inner) => inner.as_ref().clone(),
                    _ => Type::Dyn,
                };
                self.locals.push((name, Guess::made(1, inner)));
                let body = self.of(body);
                self.locals.pop();
                // Asked whether it has a value, which is then bound to the name, and whose value is made an optional.
                let twice = of.cost.saturating_mul(2);
                let cost = twice
                    .saturating_add(2 + LIST + u64::from(!flat))
                    .saturating_add(body.cost);
                Guess::made(cost, if *flat { body.ty } else { Type::optional(body.ty) })
            }
        }
    }

    fn named(&self, name: &str) -> Guess<'e> {
        if let Some((_, guess)) = self.locals.iter().rev().find(|(known, _)| *known == name) {
            return Guess {
                cost: 1,
                ..guess.clone()
            };
        }
        let ty = match name {
            "self" | "oldSelf" => self.own.clone(),
            _ => Type::of_name(name).map_or(Type::Dyn, Type::of_type),
        };
        Guess::made(1, ty).at(Place::At(self.root))
    }

    fn list(&mut self, elements: &'e [Element]) -> Guess<'e> {
        let mut cost = LIST;
        let (mut ty, mut items) = (None, None);
        for element in elements {
            let item = self.of(&element.value);
            cost = cost.saturating_add(item.cost);
            items = larger(items, item.any_size());
            ty = Some(match ty {
                None => item.ty,
                Some(before) => join(&before, &item.ty).unwrap_or(Type::Dyn),
            });
        }
        let ty = Type::list(ty.unwrap_or(Type::Dyn));
        let mut list = Guess::made(cost, ty).sized(Size::exactly(elements.len() as u64));
        list.parts = Some((Size::exactly(1), items.unwrap_or(Size::exactly(0))));
        list
    }

    fn call(&mut self, call: &'e Call) -> Guess<'e> {
        let arguments: Vec<Guess<'e>> = call.arguments.iter().map(|argument| self.of(argument)).collect();
        let cost = arguments
            .iter()
            .fold(0_u64, |cost, argument| cost.saturating_add(argument.cost));
        if let ("dyn", [only]) = (call.name.as_str(), arguments.as_slice()) {
            return Guess {
                cost: cost.saturating_add(1),
                ty: Type::Dyn,
                place: Place::Made,
                ..only.clone()
            };
        }
        let types: Vec<Type> = arguments.iter().map(|argument| argument.ty.clone()).collect();
        let ty = meaning(call, &types).unwrap_or(Type::Dyn);
        let (own, size) = calls::of(call, &arguments, self.root);
        let mut made = Guess::made(cost.saturating_add(own), ty);
        made.size = size.or(made.size);
        if call.name == "_+_"
            && let [first, second] = arguments.as_slice()
        {
            made.parts = both(first.parts, second.parts);
        }
        made
    }

    fn fold(&mut self, fold: &'e Fold) -> Guess<'e> {
        let range = self.of(&fold.range);
        let is_map = matches!(range.ty, Type::Map(..) | Type::Object(_));
        let is_list = matches!(range.ty, Type::List(_));
        let (key_type, item_type) = match &range.ty {
            Type::List(item) => (Type::Int, item.as_ref().clone()),
            Type::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            _ => (Type::Dyn, Type::Dyn),
        };
        let part = |step, ty: Type, known: Option<Size>| {
            let mut part = Guess::made(1, ty).at(range.place.step(step, self.root));
            part.size = part.size.or(known);
            part
        };
        let key = part(Step::Key, key_type, range.parts.map(|(key, _)| key));
        let item = part(Step::Item, item_type, range.parts.map(|(_, item)| item));
        let before = self.locals.len();
        let single = if is_list { item.clone() } else { key.clone() };
        match &fold.second {
            None => self.locals.push((&fold.first, single.clone())),
            Some(second) => {
                self.locals.push((&fold.first, key));
                self.locals.push((second, item));
            }
        }
        let condition = fold.condition.as_ref().map(|condition| self.of(condition).cost);
        let yields = fold.yields.as_ref().map(|yields| self.of(yields));
        self.locals.truncate(before);
        let tested = condition.unwrap_or(0);
        let yielded = yields.as_ref().map_or(0, |yields| yields.cost);
        // What is there so far is named, asked whether that decides, and put together with the next.
        let (begin, round, end) = match fold.kind {
            FoldKind::All => (0, tested.saturating_add(3), 1),
            FoldKind::Exists => (0, tested.saturating_add(4), 1),
            FoldKind::ExistsOne => (0, tested.saturating_add(2), 2),
            FoldKind::Filter => (LIST, tested.saturating_add(LIST + 3), 1),
            FoldKind::List => (LIST, tested.saturating_add(yielded).saturating_add(LIST + 2), 1),
            FoldKind::Map => (MAP, tested.saturating_add(yielded).saturating_add(3), 1),
            FoldKind::MapEntry => (MAP, tested.saturating_add(yielded).saturating_add(2), 1),
            // The list is bound to a name, and sorted by another one of the same length.
            FoldKind::Sort => (2 * LIST, yielded.saturating_add(LIST + 2), 4 + LIST),
        };
        let rounds = range.any_size();
        let mut cost = range
            .cost
            .saturating_add(begin)
            .saturating_add(rounds.max.saturating_mul(round))
            .saturating_add(end);
        let made = |cost, ty, size: Option<Size>| {
            let mut made = Guess::made(cost, ty).sized(rounds);
            let part = Size::exactly(0).or(size.unwrap_or(Size::ANY));
            made.parts = Some((Size::exactly(1), part));
            made
        };
        let yields_type = yields.as_ref().map_or(Type::Dyn, |yields| yields.ty.clone());
        match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => {
                Guess::made(cost, Type::Bool).sized(Size::exactly(1))
            }
            FoldKind::Filter => made(cost, Type::list(single.ty), single.size),
            FoldKind::Sort => {
                cost = cost.saturating_add(calls::sorting(rounds, &yields_type));
                made(cost, Type::list(single.ty), single.size)
            }
            FoldKind::List => made(
                cost,
                Type::list(yields_type),
                yields.and_then(|yields| yields.size),
            ),
            FoldKind::Map | FoldKind::MapEntry => {
                let ty = Type::map(if is_map { Type::String } else { Type::Int }, yields_type);
                Guess::made(cost, ty).sized(rounds)
            }
        }
    }
}

fn larger(before: Option<Size>, size: Size) -> Option<Size> {
    Some(before.map_or(size, |before| before.or(size)))
}

fn both(first: Option<(Size, Size)>, second: Option<(Size, Size)>) -> Option<(Size, Size)> {
    let ((first_key, first_value), (second_key, second_value)) = (first?, second?);
    Some((first_key.or(second_key), first_value.or(second_value)))
}

#[cfg(test)]
mod tests {
    use crate::structural::{compile, too_expensive};
    use serde_json::{Value, json};

    fn told(list: Value, rule: &str) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"list": list},
            "x-kubernetes-validations": [{"rule": rule}]});
        let node = compile(&schema, "s").unwrap();
        too_expensive(&node, "s")
            .into_iter()
            .map(|m| m.to_string())
            .collect()
    }

    #[test]
    fn rules_that_may_take_too_long_are_told() {
        let strings = |list: Option<u64>, text: Option<u64>| {
            let mut made = json!({"type": "array", "items": {"type": "string"}});
            if let Some(max) = list {
                made["maxItems"] = json!(max);
            }
            if let Some(max) = text {
                made["items"]["maxLength"] = json!(max);
            }
            made
        };
        let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
        let nested = "self.list.all(a, self.list.all(b, a != b))";
        assert_eq!(told(strings(Some(100), Some(50)), nested), Vec::<String>::new());
        assert_eq!(
            told(strings(None, None), "self.list.size() > 1"),
            Vec::<String>::new()
        );
        assert_eq!(
            told(strings(None, None), nested)[0],
            format!(
                "s.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {hint}"
            )
        );
        assert_eq!(
            told(strings(None, Some(10)), "self.list.all(a, a.startsWith('x'))"),
            Vec::<String>::new()
        );
        assert_eq!(told(strings(Some(3000), Some(10)), nested).len(), 1);
    }
    #[test]
    fn how_much_too_long_is_what_upstream_says() {
        let texts = |list: Option<u64>, text: Option<u64>| {
            let mut items = json!({"type": "string"});
            let mut made = json!({"type": "array"});
            list.inspect(|max| made["maxItems"] = json!(max));
            text.inspect(|max| items["maxLength"] = json!(max));
            made["items"] = items;
            made
        };
        let numbers = |list: Option<u64>| {
            let mut made = json!({"type": "array", "items": {"type": "integer"}});
            list.inspect(|max| made["maxItems"] = json!(max));
            made
        };
        for (list, rule, factor) in [
            (
                texts(Some(3000), Some(10)),
                "self.list.all(a, self.list.all(b, a != b))",
                "8.1x",
            ),
            (
                texts(Some(1000), Some(100)),
                "self.list.all(a, self.list.exists_one(b, a == b))",
                "4.4x",
            ),
            (
                texts(None, Some(100)),
                "self.list.all(a, a.contains('xxxxxxxxxxxxxxxxxxxx'))",
                "8.8x",
            ),
            (
                texts(None, None),
                "self.list.filter(x, x == 'a').size() > 0",
                "1.6x",
            ),
            (texts(None, None), "self.list.isSorted()", "more than 100x"),
            (
                numbers(Some(300)),
                "self.list.all(x, self.list.all(y, self.list.all(z, x == y && y == z)))",
                "19.0x",
            ),
            (
                numbers(None),
                "self.list.all(x, x > 0 ? x < 100 : x > -100)",
                "1.101004x",
            ),
            (
                numbers(None),
                "self.list.exists(i, v, self.list[i] == v)",
                "1.415577x",
            ),
        ] {
            let told = told(list, rule);
            let wanted = format!("estimated rule cost exceeds budget by factor of {factor} (");
            assert!(told.iter().any(|told| told.contains(&wanted)), "{rule}: {told:?}");
        }
    }
}
