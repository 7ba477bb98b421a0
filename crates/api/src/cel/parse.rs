//! From tokens to expressions.
mod calls;
mod next;

use super::ast::{Element, Entry, Expr, Form, Literal};
use super::lex::{Fault, Found, Token, tokens};
use super::property::KEYWORDS;
use calls::{function, method, operator};

/// Longest expression, in code points.
const LENGTH_MAX: usize = 100_000;
/// Deepest nesting of brackets: parsing recurses as deep, several functions each time.
const DEPTH_MAX: usize = 80;
/// Highest expression: checks and evaluation recurse as deep.
const HEIGHT_MAX: usize = 250;

/// With what an expression may begin.
const STARTS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const RELATIONS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "in"];

/// # Errors
/// What is no token, and where the first thing stands that cannot stand there.
pub fn parse(text: &str) -> Result<Expr, Vec<Fault>> {
    if text.chars().count() > LENGTH_MAX {
        let why = format!(
            "expression code point size exceeds limit: size: {}, limit {LENGTH_MAX}",
            text.chars().count()
        );
        return Err(vec![Fault::new(0, why)]);
    }
    let (tokens, mut faults) = tokens(text);
    let mut parser = Parser {
        text,
        tokens,
        next: 0,
        depth: 0,
    };
    let parsed = match (parser.expr(), parser.peek()) {
        (Ok(expr), Token::End) => Ok(expr),
        (Ok(_), _) => Err(parser.unexpected("<EOF>")),
        (Err(fault), _) => Err(fault),
    };
    match parsed {
        Ok(expr) if faults.is_empty() => Ok(expr),
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault);
            Err(faults)
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Found>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
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
            let is_literal = matches!(self.peek(), Token::Literal(_));
            let mut operand = self.member()?;
            if mark == "-" && is_literal {
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
                let field = match self.peek().clone() {
                    Token::Ident(name) | Token::Quoted(name) => name,
                    Token::Mark("in") => "in".to_owned(),
                    _ if optional => return Err(self.mismatched("{IDENTIFIER, ESC_IDENTIFIER}")),
                    Token::End => {
                        let why = "Syntax error: no viable alternative at input '.'";
                        return Err(Fault::new(self.at(), why));
                    }
                    _ => return Err(self.unexpected("IDENTIFIER")),
                };
                self.next += 1;
                let call_at = self.at();
                if !optional && self.take("(") {
                    let arguments = self.arguments()?;
                    expr = method(call_at, expr, field, arguments)?;
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
                    return Err(self.unexpected("<EOF>"));
                };
                self.next += 1;
                expr = make(
                    at,
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
        let rooted = matches!(self.ahead(), Some(Token::Ident(_))) && self.take(".");
        let token = self.peek().clone();
        let form = match token {
            Token::Literal(literal) if !rooted => {
                self.next += 1;
                Form::Literal(literal)
            }
            Token::Ident(name) => {
                self.next += 1;
                // Those that mean something are tokens of their own.
                if KEYWORDS.contains(&name.as_str()) {
                    return Err(Fault::new(at, format!("reserved identifier: {name}")));
                }
                let call_at = self.at();
                if !self.take("(") {
                    return make(at, Form::Ident(name));
                }
                let arguments = self.arguments()?;
                return function(call_at, name, arguments);
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
            _ => return Err(self.unexpected(STARTS)),
        };
        make(at, form)
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Fault> {
        let mut arguments = Vec::new();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expr()?);
            if !self.take(",") {
                self.expect(")")?;
                return Ok(arguments);
            }
        }
    }

    fn elements(&mut self) -> Result<Vec<Element>, Fault> {
        let mut elements = Vec::new();
        self.skip_only_comma("]");
        while !self.take("]") {
            let optional = self.take("?");
            elements.push(Element {
                value: self.expr()?,
                optional,
            });
            if !self.take(",") {
                self.end("]")?;
                break;
            }
            if self.is(",") {
                return Err(self.mismatched("']'"));
            }
        }
        Ok(elements)
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        self.skip_only_comma("}");
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
                self.end("}")?;
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
                _ => return Err(self.unexpected("IDENTIFIER")),
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
