//! Items of a list that a JSON path picks: `?(@.type=="Ready")`.
use super::path::Path;
use serde_json::Value;
use std::cmp::Ordering;

/// What has to hold of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    left: Operand,
    /// Without one, that there is something is all that has to hold.
    compared: Option<(Operator, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// From the item on.
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longer ones first.
const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Filter {
    /// What is between the brackets; `None` if that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(at) = outside_quotes(text, &['=', '!', '<', '>']) else {
            let left = Operand::parse(text)?;
            let is_path = matches!(left, Operand::Path(_));
            return is_path.then_some(Self { left, compared: None });
        };
        let (left, rest) = text.split_at(at);
        let mut known = OPERATORS.iter();
        let (sign, operator) = known.find(|(sign, _)| rest.starts_with(sign))?;
        let right = Operand::parse(&rest[sign.len()..])?;
        Some(Self {
            left: Operand::parse(left)?,
            compared: Some((*operator, right)),
        })
    }

    pub fn holds_of(&self, item: &Value) -> bool {
        let Some(left) = self.left.first(item) else {
            return false;
        };
        let Some((operator, right)) = &self.compared else {
            return true;
        };
        let order = right.first(item).and_then(|right| order(left, right));
        // What cannot be compared is neither the same nor another.
        order.is_some_and(|order| match operator {
            Operator::Equal => order.is_eq(),
            Operator::Unequal => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        })
    }
}

impl Operand {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix('@') {
            return Path::parse(path).map(Self::Path);
        }
        let quoted = ['"', '\'']
            .iter()
            .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
        if let Some(quoted) = quoted {
            return Some(Self::Literal(quoted.into()));
        }
        let literal: Value = serde_json::from_str(text).ok()?;
        (literal.is_number() || literal.is_boolean()).then_some(Self::Literal(literal))
    }

    fn first<'v>(&'v self, item: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Path(path) => path.find(item).into_iter().next(),
            Self::Literal(literal) => Some(literal),
        }
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        _ => None,
    }
}

/// Where one of these characters stands first, outside of quotes.
fn outside_quotes(text: &str, wanted: &[char]) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(at, character)| {
        match quote {
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if wanted.contains(&character) => return Some(at),
            Some(open) if open == character => quote = None,
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_are_picked_by_what_is_in_them() {
        let items = [
            json!({"type": "Ready", "n": 1, "at": {"zone": "a=b"}, "on": true}),
            json!({"type": "Other", "n": 2.5}),
            json!({"n": 3, "wanted": 3}),
        ];
        let picked = |text: &str| -> Vec<usize> {
            let filter = Filter::parse(text).unwrap();
            let places = items.iter().enumerate();
            places
                .filter(|(_, item)| filter.holds_of(item))
                .map(|(place, _)| place)
                .collect()
        };
        for (text, places) in [
            (r#"@.type=="Ready""#, &[0][..]),
            (" @.type == 'Ready' ", &[0]),
            (r#"@.type!="Ready""#, &[1]),
            (r#"@.at.zone=="a=b""#, &[0]),
            ("@.type", &[0, 1]),
            ("@.n>=2.5", &[1, 2]),
            ("@.n<3", &[0, 1]),
            ("@.n==@.wanted", &[2]),
            ("@.on==true", &[0]),
            ("@.n=='1'", &[]),
        ] {
            assert_eq!(picked(text), places, "{text}");
        }
        for text in ["", "x", "x==1", "@.a=1", "@.a==", "@.a==x", "@.a==[1]", "'a'"] {
            assert_eq!(Filter::parse(text), None, "{text}");
        }
    }
}
