//! From words to what a template does (Go's text/template, "Actions" and "Pipelines").

use std::{iter::Peekable, vec::IntoIter};

use serde_json::Value;

use super::{
    Fault,
    lex::{Piece, Token},
};

/// Actions within actions, and parentheses within parentheses, are followed so far.
const DEEPEST: usize = 40;

/// Something that a template does.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Prints this.
    Text(String),
    /// Prints the value of a pipeline, or only sets a variable.
    Print(Pipeline),
    /// `if`; an `else if` is one in the other list.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`: the value becomes the dot.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range`.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// Leaves the innermost range.
    Break,
    /// Goes on with the innermost range.
    Continue,
}

/// Commands of which each is given the value of the one before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pipeline {
    /// Variables that get the value.
    pub variables: Vec<String>,
    /// They are there already.
    pub assign: bool,
    /// The commands, at least one.
    pub commands: Vec<Vec<Operand>>,
}

/// A value in a command, or what it calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// Where it begins.
    pub root: Root,
    /// Fields of that.
    pub path: Vec<String>,
}

/// Where an operand begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Root {
    /// `.`
    Dot,
    /// `$name`; `$` is empty.
    Variable(String),
    /// What it says.
    Literal(Value),
    /// A function.
    Function(String),
    /// A pipeline in parentheses.
    Pipeline(Box<Pipeline>),
}

/// Parses a template.
///
/// # Errors
/// When it is none, or has something of Go's templates that is not known here.
pub fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Fault> {
    let mut parser = Parser { pieces: pieces.into_iter().peekable(), depth: 0, ranges: 0 };
    match parser.list()? {
        (nodes, None) => Ok(nodes),
        (_, Some(Tail::End)) => Err(Fault::parse("unexpected {{end}}")),
        (_, Some(Tail::Else(_))) => Err(Fault::parse("unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
enum Tail {
    End,
    /// With the words behind it.
    Else(Words),
}

type Words = Peekable<IntoIter<Token>>;

struct Parser {
    pieces: Peekable<IntoIter<Piece>>,
    depth: usize,
    ranges: usize,
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, Option<Tail>), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let mut words = tokens.into_iter().peekable();
            let keyword = match words.peek() {
                Some(Token::Name(name)) => name.clone(),
                _ => String::new(),
            };
            match keyword.as_str() {
                "if" | "with" | "range" => {
                    words.next();
                    nodes.push(self.block(&keyword, words)?);
                }
                "end" => return ended(words, "end").map(|()| (nodes, Some(Tail::End))),
                "else" => {
                    words.next();
                    return Ok((nodes, Some(Tail::Else(words))));
                }
                "break" | "continue" if self.ranges > 0 => {
                    ended(words, &keyword)?;
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                "break" | "continue" => {
                    return Err(Fault::parse(format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                }
                "define" | "template" | "block" => {
                    return Err(Fault::parse(format!("{{{{{keyword}}}}} is not supported here")));
                }
                _ => nodes.push(Node::Print(self.whole(words, "command")?)),
            }
        }
        Ok((nodes, None))
    }

    /// What is between a keyword's words and its end.
    fn block(&mut self, keyword: &str, words: Words) -> Result<Node, Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Fault::parse("actions are nested too deep"));
        }
        let pipeline = self.whole(words, keyword)?;
        let is_range = usize::from(keyword == "range");
        self.ranges += is_range;
        let (body, tail) = self.list()?;
        self.ranges -= is_range;
        let missing = || Fault::parse(format!("unexpected EOF: {{{{{keyword}}}}} without {{{{end}}}}"));
        let otherwise = match tail.ok_or_else(missing)? {
            Tail::End => Vec::new(),
            Tail::Else(mut words) => match words.next() {
                None => match self.list()? {
                    (nodes, Some(Tail::End)) => nodes,
                    (_, Some(Tail::Else(_))) => return Err(Fault::parse("expected end; found {{else}}")),
                    (_, None) => return Err(missing()),
                },
                // The chain has one end, which the innermost takes.
                Some(Token::Name(name)) if name == keyword && is_range == 0 => {
                    vec![self.block(keyword, words)?]
                }
                Some(other) => return Err(Fault::parse(format!("unexpected {other:?} behind else"))),
            },
        };
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }

    /// A pipeline, and nothing behind it.
    fn whole(&mut self, mut words: Words, what: &str) -> Result<Pipeline, Fault> {
        let variables = variables(&mut words);
        let assign = match (variables.is_empty(), words.peek()) {
            (true, _) => false,
            (false, Some(Token::Declare)) => {
                words.next();
                false
            }
            (false, _) => {
                words.next();
                true
            }
        };
        if variables.len() > if what == "range" { 2 } else { 1 } {
            return Err(Fault::parse(format!("too many declarations in {what}")));
        }
        let pipeline = self.pipeline(&mut words, what)?;
        match words.next() {
            None => Ok(Pipeline { variables, assign, ..pipeline }),
            Some(other) => Err(Fault::parse(format!("unexpected {other:?} in {what}"))),
        }
    }

    fn pipeline(&mut self, words: &mut Words, what: &str) -> Result<Pipeline, Fault> {
        let mut commands = vec![Vec::new()];
        loop {
            let operand = match words.peek() {
                None | Some(Token::Close) => break,
                Some(Token::Pipe) => {
                    words.next();
                    if commands.last().is_none_or(Vec::is_empty) {
                        break;
                    }
                    commands.push(Vec::new());
                    continue;
                }
                Some(_) => self.operand(words)?,
            };
            if let Some(command) = commands.last_mut() {
                command.push(operand);
            }
        }
        if commands.last().is_none_or(Vec::is_empty) {
            return Err(Fault::parse(format!("missing value for {what}")));
        }
        let literal =
            |command: &Vec<Operand>| matches!(command.first(), Some(Operand { root: Root::Literal(_), .. }));
        if commands.iter().skip(1).any(literal) {
            return Err(Fault::parse("non executable command in pipeline"));
        }
        Ok(Pipeline { commands, ..Pipeline::default() })
    }

    fn operand(&mut self, words: &mut Words) -> Result<Operand, Fault> {
        let mut path = Vec::new();
        let root = match words.next() {
            Some(Token::Dot) => Root::Dot,
            Some(Token::Field { name, .. }) => {
                path.push(name);
                Root::Dot
            }
            Some(Token::Variable(name)) => Root::Variable(name),
            Some(Token::Literal(value)) => Root::Literal(value),
            Some(Token::Name(name)) => match name.as_str() {
                "true" => Root::Literal(true.into()),
                "false" => Root::Literal(false.into()),
                "nil" => Root::Literal(Value::Null),
                "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block" | "break"
                | "continue" => return Err(Fault::parse(format!("unexpected <{name}> in command"))),
                _ => Root::Function(name),
            },
            Some(Token::Open) => {
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(Fault::parse("parentheses are nested too deep"));
                }
                let inner = self.pipeline(words, "parenthesized pipeline")?;
                self.depth -= 1;
                if words.next() != Some(Token::Close) {
                    return Err(Fault::parse("unclosed left paren"));
                }
                Root::Pipeline(Box::new(inner))
            }
            Some(other) => return Err(Fault::parse(format!("unexpected {other:?} in operand"))),
            None => return Err(Fault::parse("missing value for command")),
        };
        while let Some(Token::Field { name, behind: true }) = words.peek() {
            path.push(name.clone());
            words.next();
        }
        Ok(Operand { root, path })
    }
}

/// Nothing may be behind this keyword.
fn ended(words: Words, keyword: &str) -> Result<(), Fault> {
    match words.len() {
        1 => Ok(()),
        _ => Err(Fault::parse(format!("unexpected words behind {keyword}"))),
    }
}

/// The variables in front of `:=` or `=`, which stays; none if there is neither.
fn variables(words: &mut Words) -> Vec<String> {
    let (mut ahead, mut names) = (words.clone(), Vec::new());
    while let Some(Token::Variable(name)) = ahead.next() {
        names.push(name);
        match ahead.peek() {
            Some(Token::Comma) => drop(ahead.next()),
            Some(Token::Declare | Token::Assign) => {
                *words = ahead;
                return names;
            }
            _ => break,
        }
    }
    Vec::new()
}
