//! Macros: rounds over the items of a list or the entries of a map.
use super::super::ast::{Fold, FoldKind};
use super::super::budget::Error;
use super::super::value::{Key, Value};
use super::Frame;
use std::collections::BTreeMap;

impl<'a> Frame<'_, 'a> {
    pub(super) fn fold(&mut self, fold: &'a Fold) -> Result<Value<'a>, Error> {
        let mut gathered = Gathered::default();
        match self.of(&fold.range)? {
            Value::List(list) => {
                for index in 0..list.len() {
                    let item = list.get(index).unwrap_or(Value::Null);
                    let key = Value::Int(index as i64);
                    if self.step(fold, key, item, true, &mut gathered)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.each() {
                    if self.step(fold, key.value(), value, false, &mut gathered)? {
                        break;
                    }
                }
            }
            other => {
                return Err(Error::failed(format!(
                    "got '{}', expected iterable type",
                    other.go_name()
                )));
            }
        }
        gathered.result(fold.kind)
    }

    /// One round; answers whether the result is known.
    fn step(
        &mut self,
        fold: &'a Fold,
        key: Value<'a>,
        value: Value<'a>,
        is_list: bool,
        gathered: &mut Gathered<'a>,
    ) -> Result<bool, Error> {
        self.context.budget.spend(1)?;
        self.context.budget.copy(value.copied_bytes())?;
        let before = self.locals.len();
        let single = if is_list { &value } else { &key };
        let shown = single.clone();
        match &fold.second {
            None => self.locals.push((&fold.first, shown.clone())),
            Some(second) => {
                self.locals.push((&fold.first, key.clone()));
                self.locals.push((second, value));
            }
        }
        let done = self.round(fold, key, shown, gathered);
        self.locals.truncate(before);
        done
    }

    fn round(
        &mut self,
        fold: &'a Fold,
        key: Value<'a>,
        shown: Value<'a>,
        gathered: &mut Gathered<'a>,
    ) -> Result<bool, Error> {
        let holds = match &fold.condition {
            None => true,
            Some(condition) => match self.of(condition) {
                Ok(Value::Bool(holds)) => holds,
                Err(Error::TooExpensive) => return Err(Error::TooExpensive),
                // What another item decides is decided whatever is wrong with this one.
                result if matches!(fold.kind, FoldKind::All | FoldKind::Exists) => {
                    let error = result.err().unwrap_or_else(Error::no_such_overload);
                    gathered.failed.get_or_insert(error);
                    return Ok(false);
                }
                result => return Err(result.err().unwrap_or_else(Error::no_such_overload)),
            },
        };
        match fold.kind {
            FoldKind::All => gathered.decided = !holds,
            FoldKind::Exists => gathered.decided = holds,
            _ if !holds => {}
            FoldKind::ExistsOne => gathered.count += 1,
            FoldKind::Filter => gathered.items.push(shown),
            FoldKind::List => gathered.items.push(self.yielded(fold)?),
            FoldKind::Sort => gathered.keyed.push((self.yielded(fold)?, shown)),
            FoldKind::Map => {
                let value = self.yielded(fold)?;
                gathered.map.insert(Key::of(&key)?, value);
            }
            FoldKind::MapEntry => {
                let Value::Map(map) = self.yielded(fold)? else {
                    return Err(Error::no_such_overload());
                };
                for (key, value) in map.each() {
                    if gathered.map.insert(key.clone(), value).is_some() {
                        return Err(Error::failed(format!("insert failed: key {key} already exists")));
                    }
                }
            }
        }
        Ok(gathered.decided)
    }

    fn yielded(&mut self, fold: &'a Fold) -> Result<Value<'a>, Error> {
        match &fold.yields {
            Some(yields) => self.of(yields),
            None => Err(Error::no_such_overload()),
        }
    }
}

/// What a macro has found so far.
#[derive(Default)]
struct Gathered<'a> {
    items: Vec<Value<'a>>,
    /// With what they are to be sorted by.
    keyed: Vec<(Value<'a>, Value<'a>)>,
    map: BTreeMap<Key, Value<'a>>,
    count: usize,
    decided: bool,
    failed: Option<Error>,
}

impl<'a> Gathered<'a> {
    fn result(self, kind: FoldKind) -> Result<Value<'a>, Error> {
        if let (false, Some(error)) = (self.decided, self.failed) {
            return Err(error);
        }
        Ok(match kind {
            FoldKind::All => Value::Bool(!self.decided),
            FoldKind::Exists => Value::Bool(self.decided),
            FoldKind::ExistsOne => Value::Bool(self.count == 1),
            FoldKind::Filter | FoldKind::List => Value::list(self.items),
            FoldKind::Sort => sorted(self.keyed)?,
            FoldKind::Map | FoldKind::MapEntry => Value::map(self.map),
        })
    }
}

/// Items by their keys, which have to be of one type.
fn sorted<'a>(mut keyed: Vec<(Value<'a>, Value<'a>)>) -> Result<Value<'a>, Error> {
    Value::sort(&mut keyed, |(key, _)| key)?;
    Ok(Value::list(keyed.into_iter().map(|(_, item)| item).collect()))
}
