//! Expressions, as the parser makes them: macros are forms of their own, so that nothing has to recognise them later.
use super::functions::Overload;

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// An expression, and the byte of the source where it (or its operator) stands.
#[derive(Clone, Debug)]
pub struct Expr {
    pub at: usize,
    /// How deep it nests: everything that walks it recurses as deep.
    pub height: usize,
    pub form: Form,
}

impl Expr {
    pub fn new(at: usize, form: Form) -> Self {
        let mut height = 0;
        form.each(&mut |child| height = height.max(child.height));
        Self {
            at,
            height: height + 1,
            form,
        }
    }

    /// Whether a free variable of that name is used.
    pub fn mentions(&self, name: &str) -> bool {
        if matches!(&self.form, Form::Ident(ident) if ident == name) {
            return true;
        }
        let mut found = false;
        self.form.each(&mut |child| found = found || child.mentions(name));
        found
    }

    /// Whether it reads a field of a variable, or asks whether that is there.
    pub fn selects(&self, name: &str, wanted: &str) -> bool {
        if let Form::Select { of, field, .. } | Form::Has { of, field } = &self.form
            && field == wanted
            && matches!(&of.form, Form::Ident(ident) if ident == name)
        {
            return true;
        }
        let mut found = false;
        self.form
            .each(&mut |child| found = found || child.selects(name, wanted));
        found
    }
}

/// With what names of types of several words begin.
pub const LONG_NAMES_BEGIN: &str = "google";

#[derive(Clone, Debug)]
pub enum Form {
    Literal(Literal),
    Ident(String),
    Select {
        of: Box<Expr>,
        field: String,
        optional: bool,
    },
    /// `has(of.field)`
    Has {
        of: Box<Expr>,
        field: String,
    },
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    /// Functions, methods (the receiver is the first argument) and operators.
    Call(Call),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// Condition, then, else.
    Conditional(Box<[Expr; 3]>),
    List(Vec<Element>),
    Map(Vec<Entry>),
    /// `Name{field: value}`
    Object {
        name: String,
        fields: Vec<(String, Element)>,
    },
    Fold(Box<Fold>),
    /// `of.optMap(name, body)`; `flat`: `optFlatMap`, whose body is an optional itself.
    OptMap {
        of: Box<Expr>,
        name: String,
        body: Box<Expr>,
        flat: bool,
    },
}

impl Form {
    /// The type that this names in several words.
    pub fn long_type_name(&self) -> Option<&'static str> {
        let Self::Select {
            of,
            field,
            optional: false,
        } = self
        else {
            return None;
        };
        let Self::Select {
            of,
            field: package,
            optional: false,
        } = &of.form
        else {
            return None;
        };
        let is_google = matches!(&of.form, Self::Ident(name) if name == LONG_NAMES_BEGIN);
        match (package.as_str(), field.as_str()) {
            ("protobuf", "Timestamp") if is_google => Some("google.protobuf.Timestamp"),
            ("protobuf", "Duration") if is_google => Some("google.protobuf.Duration"),
            _ => None,
        }
    }

    /// Calls `see` with each direct part.
    pub fn each<'e>(&'e self, see: &mut dyn FnMut(&'e Expr)) {
        match self {
            Self::Literal(_) | Self::Ident(_) => {}
            Self::Select { of, .. } | Self::Has { of, .. } => see(of),
            Self::Index { of, index, .. } => {
                see(of);
                see(index);
            }
            Self::Call(call) => call.arguments.iter().for_each(see),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(see),
            Self::Conditional(parts) => parts.iter().for_each(see),
            Self::List(elements) => elements.iter().for_each(|element| see(&element.value)),
            Self::Map(entries) => entries.iter().for_each(|entry| {
                see(&entry.key);
                see(&entry.value.value);
            }),
            Self::Object { fields, .. } => fields.iter().for_each(|(_, element)| see(&element.value)),
            Self::Fold(fold) => {
                see(&fold.range);
                fold.condition.iter().chain(&fold.yields).for_each(see);
            }
            Self::OptMap { of, body, .. } => {
                see(of);
                see(body);
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    pub member: bool,
    pub arguments: Vec<Expr>,
    /// What the name may mean; the types of the arguments decide.
    pub overloads: &'static [Overload],
}

/// An element of a list, or the value of a field or entry; `optional`: left out if it has no value.
#[derive(Clone, Debug)]
pub struct Element {
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Expr,
    pub value: Element,
}

/// A macro over a list's items or a map's keys; with two names over indexes or keys, and values.
#[derive(Clone, Debug)]
pub struct Fold {
    pub kind: FoldKind,
    pub range: Expr,
    pub first: String,
    pub second: Option<String>,
    pub condition: Option<Expr>,
    pub yields: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// `map`, `transformList`
    List,
    /// `transformMap`
    Map,
    /// `transformMapEntry`
    MapEntry,
    /// `sortBy`
    Sort,
}
