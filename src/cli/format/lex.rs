//! Cuts a template into text and actions, and an action into words (Go's text/template, "Text and spaces" and "Arguments").

use serde_json::{Number, Value};

use super::Fault;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Printed as it is.
    Text(String),
    /// What is between `{{` and `}}`, without comments.
    Action(Vec<Token>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A keyword or a function.
    Name(String),
    /// `.name`; directly behind something else it is a field of that.
    Field {
        /// Its name.
        name: String,
        /// Nothing is between it and what is before it.
        behind: bool,
    },
    /// `.` alone.
    Dot,
    /// `$` or `$name`, without the `$`.
    Variable(String),
    /// A number or a text.
    Literal(Value),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";

/// Cuts a template into pieces.
///
/// # Errors
/// When an action does not end, or has a word that is none.
pub fn pieces(template: &str) -> Result<Vec<Piece>, Fault> {
    let (mut pieces, mut rest, mut trimmed) = (Vec::new(), template, false);
    while let Some((text, after)) = rest.split_once(LEFT) {
        let inside = after.strip_prefix('-').filter(|inside| inside.starts_with(char::is_whitespace));
        push_text(&mut pieces, text, trimmed, inside.is_some());
        let (tokens, behind) = action(inside.unwrap_or(after))?;
        let behind_mark = behind.strip_prefix('-');
        trimmed = behind_mark.is_some();
        rest = behind_mark
            .unwrap_or(behind)
            .strip_prefix(RIGHT)
            .ok_or_else(|| Fault::parse("unclosed action"))?;
        if !tokens.is_empty() {
            pieces.push(Piece::Action(tokens));
        }
    }
    push_text(&mut pieces, rest, trimmed, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The words of an action up to its end, and what is there: `}}`, or `-}}` with the space before it taken.
fn action(mut rest: &str) -> Result<(Vec<Token>, &str), Fault> {
    let mut tokens = Vec::new();
    if let Some(comment) = rest.trim_start().strip_prefix("/*") {
        let (_, after) = comment.split_once("*/").ok_or_else(|| Fault::parse("unclosed comment"))?;
        let end = after.trim_start();
        return Ok((tokens, end));
    }
    loop {
        let word = rest.trim_start();
        let spaced = word.len() != rest.len();
        if word.starts_with(RIGHT)
            || (spaced && word.strip_prefix('-').is_some_and(|it| it.starts_with(RIGHT)))
        {
            if tokens.is_empty() {
                return Err(Fault::parse("missing value for command"));
            }
            return Ok((tokens, word));
        }
        let behind =
            !spaced && matches!(tokens.last(), Some(Token::Field { .. } | Token::Variable(_) | Token::Close));
        let (token, after) = next(word, behind)?;
        let stuck = !spaced && tokens.last().is_some_and(is_value) && is_value(&token);
        if stuck && !matches!(token, Token::Field { behind: true, .. }) {
            return Err(Fault::parse(format!("unexpected {} without a space before it", excerpt(word))));
        }
        tokens.push(token);
        rest = after;
    }
}

fn is_value(token: &Token) -> bool {
    !matches!(token, Token::Pipe | Token::Open | Token::Close | Token::Comma | Token::Declare | Token::Assign)
}

fn excerpt(text: &str) -> String {
    format!("{:?}", text.chars().take(12).collect::<String>())
}

/// The first word of `text`, which is not empty and does not begin with a space.
fn next(text: &str, behind: bool) -> Result<(Token, &str), Fault> {
    let mut chars = text.chars();
    let first = chars.next().ok_or_else(|| Fault::parse("unclosed action"))?;
    let after = chars.as_str();
    let simple = |token| Ok((token, after));
    match first {
        '|' => simple(Token::Pipe),
        '(' => simple(Token::Open),
        ')' => simple(Token::Close),
        ',' => simple(Token::Comma),
        '=' => simple(Token::Assign),
        ':' if after.starts_with('=') => Ok((Token::Declare, &after[1..])),
        '$' => {
            let (name, after) = name(after);
            Ok((Token::Variable(name.to_owned()), after))
        }
        '.' if !after.starts_with(|c: char| c.is_ascii_digit()) => match name(after) {
            ("", after) => Ok((Token::Dot, after)),
            (name, after) => Ok((Token::Field { name: name.to_owned(), behind }, after)),
        },
        '"' => quoted(text),
        '`' => {
            let (raw, after) =
                after.split_once('`').ok_or_else(|| Fault::parse("unterminated raw quoted string"))?;
            Ok((Token::Literal(raw.into()), after))
        }
        '+' | '-' | '.' | '0'..='9' => number(text),
        c if c.is_alphabetic() || c == '_' => {
            let (word, after) = name(text);
            Ok((Token::Name(word.to_owned()), after))
        }
        _ => Err(Fault::parse(format!("unexpected {} in command", excerpt(text)))),
    }
}

/// The letters, digits and underscores that a text begins with.
fn name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

fn number(text: &str) -> Result<(Token, &str), Fault> {
    let end = text[1..].find(|c: char| !c.is_alphanumeric() && c != '.').map_or(text.len(), |end| end + 1);
    let (digits, after) = text.split_at(end);
    let bad = || Fault::parse(format!("bad number syntax: {digits:?}"));
    let number = match digits.parse::<i64>() {
        Ok(whole) => Number::from(whole),
        Err(_) => digits.parse().ok().and_then(Number::from_f64).ok_or_else(bad)?,
    };
    Ok((Token::Literal(Value::Number(number)), after))
}

/// A text in double quotes, with Go's escapes as far as JSON has them.
fn quoted(text: &str) -> Result<(Token, &str), Fault> {
    let unterminated = || Fault::parse("unterminated quoted string");
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let (whole, after) = text.split_at(at + 1);
                // A tab may stand in Go's texts as it is.
                let value = serde_json::from_str(&whole.replace('\t', "\\t"));
                return value.map(|value: Value| (Token::Literal(value), after)).map_err(|_| unterminated());
            }
            _ => {}
        }
    }
    Err(unterminated())
}
