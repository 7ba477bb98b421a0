//! What evaluating an expression may cost at most, by the sizes that a schema allows (contract api-server §18).
//!
//! A rule that would take too long with the largest object that its schema allows is refused with the schema, instead
//! of failing the day such an object comes. Where sizes are not known, the guess is on the low side: evaluation itself
//! is bounded anyway.
use super::ast::{Call, Expr, Fold, FoldKind, Form, Literal};
use super::program::Program;
use super::value::unescape;
use crate::structural::{Additional, Kind, Node};

/// Largest request: nothing in it is longer.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Characters that are looked at for one step.
const CHARACTERS_PER_STEP: u64 = 10;

/// The most that a program costs, evaluated once on a value of that place.
pub fn estimate(program: &Program, own: &Node) -> u64 {
    let place = Guess::of(own);
    let mut estimator = Estimator {
        names: vec![("self", place), ("oldSelf", place)],
    };
    estimator.of(program.expr()).0
}

/// How many items, entries or characters a value of that place can have.
pub fn size_max(node: &Node) -> u64 {
    let limits = &node.limits;
    match node.kind {
        Kind::String => {
            let longest = limits
                .allowed
                .iter()
                .filter_map(|v| v.as_str())
                .map(|text| text.len() as u64)
                .max();
            let format = matches!(
                limits.format.as_str(),
                "date" | "date-time" | "datetime" | "duration"
            )
            .then_some(64);
            longest
                .or(format)
                .or(limits.max_length)
                .unwrap_or(REQUEST_BYTES_MAX)
        }
        Kind::Array => {
            let each = node.items.as_deref().map_or(1, bytes_min) + 1;
            limits.max_items.unwrap_or(REQUEST_BYTES_MAX / each)
        }
        Kind::Object => match &node.additional {
            // A key of one character, in quotes, and a colon.
            Additional::Each(each) => limits
                .max_properties
                .unwrap_or(REQUEST_BYTES_MAX / (bytes_min(each) + 5)),
            _ => 1,
        },
        Kind::Any | Kind::IntOrString => limits.max_length.unwrap_or(1),
        Kind::Integer | Kind::Number | Kind::Boolean => 1,
    }
}

/// The shortest JSON of a value.
fn bytes_min(node: &Node) -> u64 {
    match node.kind {
        Kind::String | Kind::Array => 2,
        Kind::Boolean => 4,
        Kind::Object => {
            let required = node.limits.required.iter().map(|name| {
                let value = node.properties.get(name).map_or(1, bytes_min);
                name.len() as u64 + 4 + value
            });
            2 + required.sum::<u64>()
        }
        Kind::Integer | Kind::Number | Kind::Any | Kind::IntOrString => 1,
    }
}

/// What is known about a value.
#[derive(Clone, Copy)]
struct Guess<'n> {
    node: Option<&'n Node>,
    size: u64,
}

impl<'n> Guess<'n> {
    const SMALL: Self = Guess { node: None, size: 1 };

    fn of(node: &'n Node) -> Self {
        Self {
            node: Some(node),
            size: size_max(node),
        }
    }

    fn sized(size: u64) -> Self {
        Self { node: None, size }
    }

    fn field(self, name: &str) -> Self {
        let Some(node) = self.node else {
            return Self::SMALL;
        };
        let property = node.properties.get(unescape(name).as_ref());
        property.or(each(node)).map_or(Self::SMALL, Guess::of)
    }

    fn item(self) -> Self {
        self.node.and_then(each).map_or(Self::SMALL, Guess::of)
    }

    /// The key of a map.
    fn key(self) -> Self {
        match self.node {
            Some(node) if node.kind == Kind::Object => Self::sized(16),
            _ => Self::SMALL,
        }
    }
}

fn each(node: &Node) -> Option<&Node> {
    match &node.additional {
        Additional::Each(each) => Some(each),
        _ => node.items.as_deref(),
    }
}

struct Estimator<'e> {
    names: Vec<(&'e str, Guess<'e>)>,
}

impl<'e> Estimator<'e> {
    /// Cost, and what is known about the value.
    fn of(&mut self, expr: &'e Expr) -> (u64, Guess<'e>) {
        match &expr.form {
            Form::Literal(Literal::String(text)) => (0, Guess::sized(text.len() as u64)),
            Form::Literal(_) => (0, Guess::SMALL),
            Form::Ident(name) => {
                let known = self.names.iter().rev().find(|(known, _)| known == name);
                (1, known.map_or(Guess::SMALL, |(_, guess)| *guess))
            }
            Form::Select { of, field, .. } => {
                let (cost, guess) = self.of(of);
                (cost.saturating_add(1), guess.field(field))
            }
            Form::Has { of, .. } => (self.of(of).0.saturating_add(1), Guess::SMALL),
            Form::Index { of, index, .. } => {
                let ((cost, guess), (index, _)) = (self.of(of), self.of(index));
                (cost.saturating_add(index).saturating_add(1), guess.item())
            }
            Form::Call(call) => self.call(call),
            Form::And(parts) | Form::Or(parts) => (self.sum(parts), Guess::SMALL),
            Form::Conditional(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                let (condition, then, otherwise) = (self.of(condition).0, self.of(then), self.of(otherwise));
                let larger = if then.1.size >= otherwise.1.size {
                    then.1
                } else {
                    otherwise.1
                };
                (condition.saturating_add(then.0.max(otherwise.0)), larger)
            }
            Form::List(elements) => {
                let costs = elements.iter().map(|element| self.of(&element.value).0);
                let cost = costs.fold(10_u64, u64::saturating_add);
                (cost, Guess::sized(elements.len() as u64))
            }
            Form::Map(entries) => {
                let mut cost = 30_u64;
                for entry in entries {
                    cost = cost
                        .saturating_add(self.of(&entry.key).0)
                        .saturating_add(self.of(&entry.value.value).0);
                }
                (cost, Guess::sized(entries.len() as u64))
            }
            Form::Object { fields, .. } => {
                let costs = fields.iter().map(|(_, element)| self.of(&element.value).0);
                (costs.fold(40_u64, u64::saturating_add), Guess::SMALL)
            }
            Form::Fold(fold) => self.fold(fold),
            Form::OptMap { of, name, body, .. } => {
                let (cost, guess) = self.of(of);
                self.names.push((name, guess));
                let (body, result) = self.of(body);
                self.names.pop();
                (cost.saturating_add(body), result)
            }
        }
    }

    fn sum(&mut self, parts: &'e [Expr]) -> u64 {
        parts
            .iter()
            .fold(0_u64, |cost, part| cost.saturating_add(self.of(part).0))
    }

    fn call(&mut self, call: &'e Call) -> (u64, Guess<'e>) {
        let arguments: Vec<(u64, Guess<'e>)> =
            call.arguments.iter().map(|argument| self.of(argument)).collect();
        let cost = arguments
            .iter()
            .fold(1_u64, |cost, (own, _)| cost.saturating_add(*own));
        let size = |index: usize| arguments.get(index).map_or(1, |(_, guess)| guess.size);
        let scanned = |size: u64| size / CHARACTERS_PER_STEP;
        let (work, result) = match call.name.as_str() {
            "contains" => (
                scanned(size(0)).saturating_mul(scanned(size(1)).max(1)),
                Guess::SMALL,
            ),
            "startsWith" | "endsWith" => (scanned(size(1)), Guess::SMALL),
            "matches" | "find" | "findAll" => (
                scanned(size(0)).saturating_mul((size(1) / 4).max(1)),
                Guess::sized(size(0)),
            ),
            "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
                (scanned(size(0).min(size(1))), Guess::SMALL)
            }
            "_in_" if arguments.get(1).is_some_and(|(_, guess)| !is_map(guess)) => (size(1), Guess::SMALL),
            "_+_" => {
                let both = size(0).saturating_add(size(1));
                (
                    scanned(both),
                    Guess {
                        size: both,
                        ..arguments.first().map_or(Guess::SMALL, |(_, guess)| *guess)
                    },
                )
            }
            "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" | "distinct" | "sort" => (
                scanned(size(0)).max(1),
                arguments.first().map_or(Guess::SMALL, |(_, guess)| guess.item()),
            ),
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                (size(0).saturating_mul(size(1)), Guess::SMALL)
            }
            "split" | "replace" | "lowerAscii" | "upperAscii" | "trim" | "substring" | "join" | "url"
            | "quantity" => (scanned(size(0)), Guess::sized(size(0))),
            // What only passes a value on.
            "dyn" | "value" | "orValue" | "string" => {
                (0, arguments.first().map_or(Guess::SMALL, |(_, guess)| *guess))
            }
            _ => (0, Guess::SMALL),
        };
        (cost.saturating_add(work), result)
    }

    fn fold(&mut self, fold: &'e Fold) -> (u64, Guess<'e>) {
        let (range_cost, range) = self.of(&fold.range);
        let before = self.names.len();
        match (&fold.second, is_map(&range)) {
            (None, false) => self.names.push((&fold.first, range.item())),
            (None, true) => self.names.push((&fold.first, range.key())),
            (Some(second), _) => {
                self.names.push((&fold.first, range.key()));
                self.names.push((second, range.item()));
            }
        }
        let condition = fold
            .condition
            .as_ref()
            .map_or(0, |condition| self.of(condition).0);
        let (yields, made) = fold
            .yields
            .as_ref()
            .map_or((0, Guess::SMALL), |yields| self.of(yields));
        self.names.truncate(before);
        let round = condition.saturating_add(yields).saturating_add(2);
        let cost = range_cost.saturating_add(range.size.saturating_mul(round));
        let result = match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Guess::SMALL,
            FoldKind::Filter | FoldKind::Sort => range,
            FoldKind::List | FoldKind::Map | FoldKind::MapEntry => Guess {
                node: None,
                size: range.size.max(made.size.min(1)),
            },
        };
        (cost, result)
    }
}

fn is_map(guess: &Guess<'_>) -> bool {
    guess.node.is_some_and(|node| node.kind == Kind::Object)
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
}
