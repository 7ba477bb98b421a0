//! What calls mean: functions, methods, and macros, which become forms of their own.
use super::super::ast::{Call, Expr, Fold, FoldKind, Form};
use super::super::functions;
use super::super::lex::Fault;
use super::{dotted, make};

pub(super) fn operator(name: &str, arguments: Vec<Expr>) -> Form {
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

pub(super) fn function(at: usize, name: String, mut arguments: Vec<Expr>) -> Result<Expr, Fault> {
    if name == "has"
        && arguments.len() == 1
        && let Some(argument) = arguments.pop()
    {
        return match argument.form {
            Form::Select {
                of,
                field,
                optional: false,
            } => make(at, Form::Has { of, field }),
            _ => Err(Fault::new(argument.at, "invalid argument to has() macro")),
        };
    }
    make(at, call(name, false, arguments))
}

/// A method, a macro, or a function whose name has a dot: `optional.of(x)`.
pub(super) fn method(at: usize, of: Expr, name: String, mut arguments: Vec<Expr>) -> Result<Expr, Fault> {
    if let Some(space) = dotted(&of) {
        let qualified = format!("{space}.{name}");
        if !functions::named(&qualified).is_empty() {
            return make(at, call(qualified, false, arguments));
        }
    }
    let Some((kind, names)) = fold_kind(&name, arguments.len()) else {
        if matches!(name.as_str(), "optMap" | "optFlatMap") && arguments.len() == 2 {
            let variable = variable(&arguments[0], NO_IDENTIFIER)?;
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
    let wrong = match kind {
        FoldKind::Filter | FoldKind::Sort => NO_IDENTIFIER,
        FoldKind::List if names == 1 => NO_IDENTIFIER,
        _ => "argument must be a simple name",
    };
    let variable = |expr: &Expr| variable(expr, wrong);
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
        ("sortBy", 2) => (FoldKind::Sort, 1),
        ("transformMapEntry", 3 | 4) => (FoldKind::MapEntry, 2),
        _ => return None,
    })
}

const NO_IDENTIFIER: &str = "argument is not an identifier";

/// `wrong`: what is said of anything else than a name.
fn variable(expr: &Expr, wrong: &str) -> Result<String, Fault> {
    match &expr.form {
        Form::Ident(name) => Ok(name.clone()),
        _ => Err(Fault::new(expr.at, wrong)),
    }
}
