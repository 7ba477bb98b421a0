//! From tokens to expressions.
use super::ast::{Call, Element, Entry, Expr, Fold, FoldKind, Form, Literal};
use super::functions;
use super::lex::{Fault, Token, tokens};

/// Longest expression, in code points.
const LENGTH_MAX: usize = 100_000;
/// Deepest nesting of brackets: parsing recurses as deep, several functions each time.
const DEPTH_MAX: usize = 80;
/// Highest expression: checks and evaluation recurse as deep.
const HEIGHT_MAX: usize = 250;

/// Words that name nothing.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const RELATIONS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "in"];

pub fn parse(text: &str) -> Result<Expr, Fault> {
    if text.chars().count() > LENGTH_MAX {
        let why = format!(
            "expression code point size exceeds limit: size: {}, limit {LENGTH_MAX}",
            text.chars().count()
        );
        return Err(Fault::new(0, why));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(0, |(at, _)| *at)
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(m) if *m == mark)
    }

    fn take(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, mark: &str) -> Result<(), Fault> {
        if self.take(mark) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> Fault {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Mark(mark) => (*mark).to_owned(),
            Token::Ident(name) | Token::Quoted(name) => name.clone(),
            Token::Literal(Literal::String(text)) => format!("\"{text}\""),
            Token::Literal(literal) => format!("{literal:?}"),
        };
        Fault::new(self.at(), format!("Syntax error: unexpected input '{found}'"))
    }

    fn expr(&mut self) -> Result<Expr, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_deep(self.at()));
        }
        let condition = self.or()?;
        let at = self.at();
        let expr = if self.take("?") {
            let then = self.or()?;
            self.expect(":")?;
            let otherwise = self.expr()?;
            make(at, Form::Conditional(Box::new([condition, then, otherwise])))?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        self.chain("||", Self::and, Form::Or)
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        self.chain("&&", |parser| parser.binary(0), Form::And)
    }

    fn chain(
        &mut self,
        mark: &str,
        part: fn(&mut Self) -> Result<Expr, Fault>,
        form: fn(Vec<Expr>) -> Form,
    ) -> Result<Expr, Fault> {
        let first = part(self)?;
        if !self.is(mark) {
            return Ok(first);
        }
        let (at, mut parts) = (self.at(), vec![first]);
        while self.take(mark) {
            parts.push(part(self)?);
        }
        make(at, form(parts))
    }

    /// Relations, sums, products: each level binds closer.
    fn binary(&mut self, level: usize) -> Result<Expr, Fault> {
        const LEVELS: [&[&str]; 3] = [RELATIONS, &["+", "-"], &["*", "/", "%"]];
        let Some(marks) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        loop {
            let at = self.at();
            let Some(mark) = marks.iter().find(|mark| self.is(mark)) else {
                return Ok(left);
            };
            self.next += 1;
            let right = self.binary(level + 1)?;
            let call = operator(&format!("_{mark}_"), vec![left, right]);
            left = make(at, call)?;
        }
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let at = self.at();
        for (mark, name) in [("!", "!_"), ("-", "-_")] {
            let mut times = 0;
            while self.take(mark) {
                times += 1;
            }
            if times == 0 {
                continue;
            }
            let mut operand = self.member()?;
            if mark == "-" {
                // The smallest number has no positive counterpart: its sign belongs to the literal.
                match &mut operand.form {
                    Form::Literal(Literal::Int(value)) => {
                        *value = value.wrapping_neg();
                        times -= 1;
                    }
                    Form::Literal(Literal::Double(value)) => {
                        *value = -*value;
                        times -= 1;
                    }
                    _ => {}
                }
            }
            for _ in 0..times {
                operand = make(at, operator(name, vec![operand]))?;
            }
            return Ok(operand);
        }
        let expr = self.member()?;
        match &expr.form {
            Form::Literal(Literal::Int(i64::MIN)) => Err(Fault::new(at, "invalid int literal")),
            _ => Ok(expr),
        }
    }

    fn member(&mut self) -> Result<Expr, Fault> {
        let mut expr = self.primary()?;
        loop {
            let at = self.at();
            if self.take(".") {
                let optional = self.take("?");
                let name_at = self.at();
                let field = match self.peek().clone() {
                    Token::Ident(name) | Token::Quoted(name) => name,
                    Token::Mark("in") => "in".to_owned(),
                    _ => return Err(self.unexpected()),
                };
                self.next += 1;
                if !optional && self.is("(") {
                    self.next += 1;
                    let arguments = self.arguments()?;
                    expr = method(name_at, expr, field, arguments)?;
                } else {
                    expr = make(
                        at,
                        Form::Select {
                            of: Box::new(expr),
                            field,
                            optional,
                        },
                    )?;
                }
            } else if self.take("[") {
                let optional = self.take("?");
                let index = Box::new(self.expr()?);
                self.expect("]")?;
                expr = make(
                    at,
                    Form::Index {
                        of: Box::new(expr),
                        index,
                        optional,
                    },
                )?;
            } else if self.is("{") {
                let Some(name) = dotted(&expr) else {
                    return Err(self.unexpected());
                };
                self.next += 1;
                expr = make(
                    expr.at,
                    Form::Object {
                        name,
                        fields: self.fields()?,
                    },
                )?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let at = self.at();
        // A leading dot only says where a name is looked for; there is one place.
        let rooted = matches!(self.tokens.get(self.next + 1), Some((_, Token::Ident(_)))) && self.take(".");
        let token = self.peek().clone();
        let form = match token {
            Token::Literal(literal) if !rooted => {
                self.next += 1;
                Form::Literal(literal)
            }
            Token::Ident(name) => {
                self.next += 1;
                if RESERVED.contains(&name.as_str()) {
                    return Err(Fault::new(at, format!("reserved identifier: {name}")));
                }
                if !self.take("(") {
                    return make(at, Form::Ident(name));
                }
                let arguments = self.arguments()?;
                return function(at, name, arguments);
            }
            Token::Mark("(") => {
                self.next += 1;
                let expr = self.expr()?;
                self.expect(")")?;
                return Ok(expr);
            }
            Token::Mark("[") => {
                self.next += 1;
                Form::List(self.elements()?)
            }
            Token::Mark("{") => {
                self.next += 1;
                Form::Map(self.entries()?)
            }
            _ => return Err(self.unexpected()),
        };
        make(at, form)
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Fault> {
        let mut arguments = Vec::new();
        while !self.take(")") {
            arguments.push(self.expr()?);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(arguments)
    }

    fn elements(&mut self) -> Result<Vec<Element>, Fault> {
        let mut elements = Vec::new();
        while !self.take("]") {
            let optional = self.take("?");
            elements.push(Element {
                value: self.expr()?,
                optional,
            });
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(elements)
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expr()?;
            self.expect(":")?;
            let value = Element {
                value: self.expr()?,
                optional,
            };
            entries.push(Entry { key, value });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(entries)
    }

    fn fields(&mut self) -> Result<Vec<(String, Element)>, Fault> {
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let name = match self.peek().clone() {
                Token::Ident(name) | Token::Quoted(name) => name,
                _ => return Err(self.unexpected()),
            };
            self.next += 1;
            self.expect(":")?;
            fields.push((
                name,
                Element {
                    value: self.expr()?,
                    optional,
                },
            ));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(fields)
    }
}

/// # Errors
/// The expression would be too high.
fn make(at: usize, form: Form) -> Result<Expr, Fault> {
    let expr = Expr::new(at, form);
    if expr.height > HEIGHT_MAX {
        return Err(too_deep(at));
    }
    Ok(expr)
}

fn too_deep(at: usize) -> Fault {
    Fault::new(at, format!("expression recursion limit exceeded: {HEIGHT_MAX}"))
}

/// `a.b.c` as a name.
fn dotted(expr: &Expr) -> Option<String> {
    match &expr.form {
        Form::Ident(name) => Some(name.clone()),
        Form::Select {
            of,
            field,
            optional: false,
        } => Some(format!("{}.{field}", dotted(of)?)),
        _ => None,
    }
}

fn operator(name: &str, arguments: Vec<Expr>) -> Form {
    call(name.to_owned(), false, arguments)
}

fn call(name: String, member: bool, arguments: Vec<Expr>) -> Form {
    let overloads = functions::named(&name);
    Form::Call(Call {
        name,
        member,
        arguments,
        overloads,
    })
}

fn function(at: usize, name: String, mut arguments: Vec<Expr>) -> Result<Expr, Fault> {
    if name == "has" && arguments.len() == 1 {
        return match arguments.pop().map(|argument| argument.form) {
            Some(Form::Select {
                of,
                field,
                optional: false,
            }) => make(at, Form::Has { of, field }),
            _ => Err(Fault::new(at, "invalid argument to has() macro")),
        };
    }
    make(at, call(name, false, arguments))
}

/// A method, a macro, or a function whose name has a dot: `optional.of(x)`.
fn method(at: usize, of: Expr, name: String, mut arguments: Vec<Expr>) -> Result<Expr, Fault> {
    if let Some(space) = dotted(&of) {
        let qualified = format!("{space}.{name}");
        if !functions::named(&qualified).is_empty() {
            return make(at, call(qualified, false, arguments));
        }
    }
    let Some((kind, names)) = fold_kind(&name, arguments.len()) else {
        if matches!(name.as_str(), "optMap" | "optFlatMap") && arguments.len() == 2 {
            let variable = variable(&arguments[0])?;
            let body = Box::new(arguments.remove(1));
            let flat = name == "optFlatMap";
            let of = Box::new(of);
            return make(
                at,
                Form::OptMap {
                    of,
                    name: variable,
                    body,
                    flat,
                },
            );
        }
        arguments.insert(0, of);
        return make(at, call(name, true, arguments));
    };
    let mut expressions = arguments.split_off(names);
    let first = variable(&arguments[0])?;
    let second = arguments.get(1).map(variable).transpose()?;
    if second.as_ref() == Some(&first) {
        return Err(Fault::new(arguments[1].at, "overlapping variable names in macro"));
    }
    let last = expressions.pop();
    let tests = matches!(
        kind,
        FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne | FoldKind::Filter
    );
    let (condition, yields) = if tests {
        (last, None)
    } else {
        (expressions.pop(), last)
    };
    let fold = Fold {
        kind,
        range: of,
        first,
        second,
        condition,
        yields,
    };
    make(at, Form::Fold(Box::new(fold)))
}

/// The macro that a method's name and number of arguments mean, and how many of them are names.
fn fold_kind(name: &str, arguments: usize) -> Option<(FoldKind, usize)> {
    Some(match (name, arguments) {
        ("all", 2 | 3) => (FoldKind::All, arguments - 1),
        ("exists", 2 | 3) => (FoldKind::Exists, arguments - 1),
        ("exists_one" | "existsOne", 2 | 3) => (FoldKind::ExistsOne, arguments - 1),
        ("filter", 2) => (FoldKind::Filter, 1),
        ("map", 2 | 3) => (FoldKind::List, 1),
        ("transformList", 3 | 4) => (FoldKind::List, 2),
        ("transformMap", 3 | 4) => (FoldKind::Map, 2),
        ("transformMapEntry", 3 | 4) => (FoldKind::MapEntry, 2),
        _ => return None,
    })
}

fn variable(expr: &Expr) -> Result<String, Fault> {
    match &expr.form {
        Form::Ident(name) => Ok(name.clone()),
        _ => Err(Fault::new(expr.at, "argument must be a simple name")),
    }
}
