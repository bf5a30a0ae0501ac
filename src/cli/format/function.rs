//! The functions of templates: Go's own as far as they make sense for documents, and Docker's.

use std::{cmp::Ordering, fmt};

use serde_json::Value;

use super::Fault;

/// A value as Go prints it (`%v`).
pub struct Shown<'a>(pub &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<no value>"),
            Value::String(text) => f.write_str(text),
            Value::Bool(_) | Value::Number(_) => self.0.fmt(f),
            Value::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if at > 0 { " " } else { "" }, Inner(item))?;
                }
                f.write_str("]")
            }
            Value::Object(fields) => {
                f.write_str("map[")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}:{}", if at > 0 { " " } else { "" }, Inner(value))?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A value in another.
struct Inner<'a>(&'a Value);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_null() { f.write_str("<nil>") } else { Shown(self.0).fmt(f) }
    }
}

/// What Go would call a value's type.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// Whether a value is what Go's templates take for true.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Calls a function.
///
/// # Errors
/// When there is none of this name, or it is given what it cannot take.
pub fn call(name: &str, mut arguments: Vec<Value>, headings: bool) -> Result<Value, Fault> {
    if headings
        && matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate" | "pad")
    {
        return arguments.drain(..).next().ok_or_else(|| count(name, 1, 0));
    }
    let given = arguments.len();
    let want = |wanted: usize| if given == wanted { Ok(()) } else { Err(count(name, wanted, given)) };
    let least = |wanted: usize| if given >= wanted { Ok(()) } else { Err(count(name, wanted, given)) };
    match name {
        "json" => want(1).map(|()| arguments[0].to_string().into()),
        "lower" => want(1).and_then(|()| Ok(text(name, &arguments[0])?.to_lowercase().into())),
        "upper" => want(1).and_then(|()| Ok(text(name, &arguments[0])?.to_uppercase().into())),
        "title" => want(1).and_then(|()| Ok(title(text(name, &arguments[0])?).into())),
        "split" => want(2).and_then(|()| split(text(name, &arguments[0])?, text(name, &arguments[1])?)),
        "join" => want(2).and_then(|()| join(&arguments[0], text(name, &arguments[1])?)),
        "truncate" => want(2).and_then(|()| {
            let length = size(name, &arguments[1])?;
            Ok(text(name, &arguments[0])?.chars().take(length).collect::<String>().into())
        }),
        "pad" => want(3).and_then(|()| {
            let (before, after) = (size(name, &arguments[1])?, size(name, &arguments[2])?);
            let text = text(name, &arguments[0])?;
            let padded = || format!("{}{text}{}", " ".repeat(before), " ".repeat(after));
            Ok(if text.is_empty() { String::new() } else { padded() }.into())
        }),
        "print" => Ok(print(&arguments).into()),
        "println" => {
            let words: Vec<_> = arguments.iter().map(|value| Shown(value).to_string()).collect();
            Ok((words.join(" ") + "\n").into())
        }
        "printf" => least(1).and_then(|()| printf(text(name, &arguments[0])?, &arguments[1..])),
        "len" => want(1).and_then(|()| len(&arguments[0])),
        "index" => least(1).and_then(|()| {
            let value = arguments.remove(0);
            arguments.iter().try_fold(value, |value, at| index(&value, at))
        }),
        "slice" => least(1).and_then(|()| slice(&arguments[0], &arguments[1..])),
        "not" => want(1).map(|()| (!truth(&arguments[0])).into()),
        "and" | "or" => least(1).map(|()| arguments.pop().unwrap_or_default()),
        "eq" => least(2).and_then(|()| {
            let found = arguments[1..].iter().map(|other| equal(&arguments[0], other));
            Ok(found.collect::<Result<Vec<_>, _>>()?.contains(&true).into())
        }),
        "ne" => want(2).and_then(|()| Ok((!equal(&arguments[0], &arguments[1])?).into())),
        "lt" | "le" | "gt" | "ge" => want(2).and_then(|()| {
            let order = order(&arguments[0], &arguments[1])?;
            let holds = match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            };
            Ok(holds.into())
        }),
        _ => Err(Fault::parse(format!("function {name:?} not defined"))),
    }
}

fn count(name: &str, wanted: usize, given: usize) -> Fault {
    Fault::run(format!("wrong number of args for {name}: want {wanted} got {given}"))
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Fault> {
    let wrong =
        || Fault::run(format!("wrong type for value of {name}; expected string; got {}", kind(value)));
    value.as_str().ok_or_else(wrong)
}

/// A length that is printed: small, since spaces are made of it.
fn size(name: &str, value: &Value) -> Result<usize, Fault> {
    const MOST: u64 = 1 << 16;
    let number =
        value.as_u64().filter(|number| *number <= MOST).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Fault::run(format!("error calling {name}: {value} is no length")))
}

/// Each word with a large first letter.
fn title(text: &str) -> String {
    let mut before = ' ';
    let large = |c: char| {
        let last = std::mem::replace(&mut before, c);
        if !last.is_alphanumeric() && last != '\'' {
            c.to_uppercase().collect::<String>()
        } else {
            c.to_string()
        }
    };
    text.chars().map(large).collect()
}

fn split(text: &str, separator: &str) -> Result<Value, Fault> {
    if separator.is_empty() {
        return Ok(text.chars().map(|c| c.to_string()).collect());
    }
    Ok(text.split(separator).collect())
}

fn join(list: &Value, separator: &str) -> Result<Value, Fault> {
    let items = match list {
        Value::Null => return Ok("".into()),
        Value::Array(items) => items,
        other => {
            return Err(Fault::run(format!(
                "wrong type for value of join; expected []string; got {}",
                kind(other)
            )));
        }
    };
    let texts = items.iter().map(|item| text("join", item)).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join(separator).into())
}

/// Spaces stand between what are no texts.
fn print(values: &[Value]) -> String {
    let mut all = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            all.push(' ');
        }
        all += &Shown(value).to_string();
    }
    all
}

/// `%v`, `%s`, `%d`, `%t`, `%q` and `%%`, with a width and `-`.
fn printf(format: &str, arguments: &[Value]) -> Result<Value, Fault> {
    let (mut all, mut arguments, mut chars) = (String::new(), arguments.iter(), format.chars().peekable());
    while let Some(c) = chars.next() {
        if c != '%' {
            all.push(c);
            continue;
        }
        let left = chars.next_if_eq(&'-').is_some();
        let mut width = 0;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            chars.next();
            width = (width * 10 + digit as usize).min(1 << 10);
        }
        let verb = chars.next();
        if verb == Some('%') {
            all.push('%');
            continue;
        }
        let value = arguments.next().ok_or_else(|| Fault::run("printf: missing argument"))?;
        let shown = match (verb, value) {
            (Some('v'), _) | (Some('s'), Value::String(_)) | (Some('t'), Value::Bool(_)) => {
                Shown(value).to_string()
            }
            (Some('d'), Value::Number(number)) if !number.is_f64() => number.to_string(),
            (Some('q'), Value::String(text)) => format!("{text:?}"),
            (Some(verb), value) => {
                return Err(Fault::run(format!("printf: %{verb} of a {} is not supported", kind(value))));
            }
            (None, _) => return Err(Fault::run("printf: % without a verb")),
        };
        all += &if left { format!("{shown:<width$}") } else { format!("{shown:>width$}") };
    }
    if arguments.next().is_some() {
        return Err(Fault::run("printf: too many arguments"));
    }
    Ok(all.into())
}

fn len(value: &Value) -> Result<Value, Fault> {
    Ok(match value {
        Value::String(text) => text.len().into(),
        Value::Array(items) => items.len().into(),
        Value::Object(fields) => fields.len().into(),
        Value::Null => 0.into(),
        other => return Err(Fault::run(format!("error calling len: len of type {}", kind(other)))),
    })
}

fn index(value: &Value, at: &Value) -> Result<Value, Fault> {
    match (value, at) {
        (Value::Object(fields), Value::String(name)) => Ok(match fields.get(name) {
            Some(found) => found.clone(),
            // What is not in a map of texts is an empty one.
            None if fields.values().all(Value::is_string) => "".into(),
            None => Value::Null,
        }),
        (Value::Array(items), Value::Number(number)) => {
            let found = number.as_u64().and_then(|number| items.get(usize::try_from(number).ok()?));
            found
                .cloned()
                .ok_or_else(|| Fault::run(format!("error calling index: index out of range: {number}")))
        }
        (Value::Null, Value::String(_)) => Ok(Value::Null),
        (Value::Null, _) => Err(Fault::run("error calling index: index of untyped nil")),
        (other, at) => {
            let (of, by) = (kind(other), kind(at));
            Err(Fault::run(format!("error calling index: can't index item of type {of} by {by}")))
        }
    }
}

fn slice(value: &Value, ends: &[Value]) -> Result<Value, Fault> {
    let outside = || Fault::run("error calling slice: index out of range");
    let end = |at: usize, otherwise: usize| match ends.get(at) {
        None => Ok(otherwise),
        Some(end) => end.as_u64().and_then(|end| usize::try_from(end).ok()).ok_or_else(outside),
    };
    match value {
        Value::String(text) => {
            let part = text.get(end(0, 0)?..end(1, text.len())?);
            part.map(Value::from).ok_or_else(outside)
        }
        Value::Array(items) => {
            let part = items.get(end(0, 0)?..end(1, items.len())?);
            part.map(|part| part.to_vec().into()).ok_or_else(outside)
        }
        other => Err(Fault::run(format!("error calling slice: can't slice item of type {}", kind(other)))),
    }
}

fn equal(one: &Value, other: &Value) -> Result<bool, Fault> {
    match (one, other) {
        (Value::Null, _) | (_, Value::Null) => Ok(one == other),
        _ => order(one, other).map(Ordering::is_eq),
    }
}

fn order(one: &Value, other: &Value) -> Result<Ordering, Fault> {
    let order = match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other)),
        },
        _ => None,
    };
    order.ok_or_else(|| Fault::run("incompatible types for comparison"))
}
