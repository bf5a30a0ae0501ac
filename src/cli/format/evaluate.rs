//! Does what a template says with a document. What a template does is bounded: it comes from a person, the document from anywhere.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Fault,
    function::{self, Shown},
    parse::{Node, Operand, Pipeline, Root},
};

/// Most bytes that a template prints.
const LONGEST: usize = 4 << 20;
/// Most actions and commands that a template performs.
const MOST_STEPS: usize = 1 << 16;

/// What a template is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The document.
    pub document: &'a Value,
    /// What `.Label "name"` finds.
    pub labels: &'a BTreeMap<String, String>,
    /// The document is the headings of a table: functions that would change them leave them alone.
    pub headings: bool,
}

/// What a template prints of a subject.
///
/// # Errors
/// When it asks for what is not there, or for too much.
pub fn evaluate(nodes: &[Node], subject: Subject<'_>) -> Result<String, Fault> {
    let mut evaluation = Evaluation {
        subject,
        variables: vec![(String::new(), subject.document.clone())],
        text: String::new(),
        steps: 0,
    };
    evaluation.run(nodes, subject.document)?;
    Ok(evaluation.text)
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Evaluation<'a> {
    subject: Subject<'a>,
    /// The latest is the innermost.
    variables: Vec<(String, Value)>,
    text: String,
    steps: usize,
}

impl Evaluation<'_> {
    fn step(&mut self) -> Result<(), Fault> {
        self.steps += 1;
        match self.steps > MOST_STEPS || self.text.len() > LONGEST {
            true => Err(Fault::run("the template does or prints too much")),
            false => Ok(()),
        }
    }

    /// Performs nodes; variables that they declare are gone afterwards.
    fn run(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        let known = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            self.step()?;
            flow = self.perform(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(flow)
    }

    fn perform(&mut self, node: &Node, dot: &Value) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot, false)?;
                match pipeline.variables.is_empty() {
                    true => self.text.push_str(&Shown(&value).to_string()),
                    false => self.set(pipeline, 0, value)?,
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::If(pipeline, ..) | Node::With(pipeline, ..) => return self.choose(node, pipeline, dot),
            Node::Range(pipeline, body, otherwise) => {
                let value = self.pipeline(pipeline, dot, false)?;
                return self.range(pipeline, value, body, otherwise, dot);
            }
        }
        Ok(Flow::On)
    }

    fn choose(&mut self, node: &Node, pipeline: &Pipeline, dot: &Value) -> Result<Flow, Fault> {
        // Whether there is such a field may be the question.
        let value = self.pipeline(pipeline, dot, true)?;
        let known = self.variables.len();
        let truth = function::truth(&value);
        if !pipeline.variables.is_empty() {
            self.set(pipeline, 0, value.clone())?;
        }
        let flow = match node {
            Node::If(_, body, _) if truth => self.run(body, dot),
            Node::With(_, body, _) if truth => self.run(body, &value),
            Node::If(.., otherwise) | Node::With(.., otherwise) => self.run(otherwise, dot),
            _ => Ok(Flow::On),
        };
        self.variables.truncate(known);
        flow
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        value: Value,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let items: Vec<(Value, Value)> = match value {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(items) => items.into_iter().map(|(name, item)| (name.into(), item)).collect(),
            Value::Null => Vec::new(),
            other => return Err(Fault::run(format!("range can't iterate over {}", Shown(&other)))),
        };
        if items.is_empty() {
            return self.run(otherwise, dot);
        }
        for (key, item) in items {
            let known = self.variables.len();
            match pipeline.variables.len() {
                0 => {}
                1 => self.set(pipeline, 0, item.clone())?,
                _ => {
                    self.set(pipeline, 0, key)?;
                    self.set(pipeline, 1, item.clone())?;
                }
            }
            let flow = self.run(body, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, pipeline: &Pipeline, which: usize, value: Value) -> Result<(), Fault> {
        let name = &pipeline.variables[which];
        if !pipeline.assign {
            self.variables.push((name.clone(), value));
            return Ok(());
        }
        let place = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        place.ok_or_else(|| undefined(name))?.1 = value;
        Ok(())
    }

    /// The value of the last command. With `lenient` a field that is not there is nothing.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value, lenient: bool) -> Result<Value, Fault> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot, lenient)?);
        }
        Ok(value.unwrap_or_default())
    }

    fn command(
        &mut self,
        command: &[Operand],
        given: Option<Value>,
        dot: &Value,
        lenient: bool,
    ) -> Result<Value, Fault> {
        self.step()?;
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Null) };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        match &first.root {
            Root::Function(name) => {
                let short = matches!(name.as_str(), "and" | "or");
                for operand in rest {
                    let value = self.operand(operand, dot, lenient)?;
                    // These do not look at what follows once they know.
                    let decided = short && function::truth(&value) == (name == "or");
                    arguments.push(value);
                    if decided {
                        return field(arguments.pop().unwrap_or_default(), &first.path, lenient);
                    }
                }
                arguments.extend(given);
                let value = function::call(name, arguments, self.subject.headings)?;
                if value.as_str().is_some_and(|text| text.len() > LONGEST) {
                    return Err(Fault::run("the template makes too long a text"));
                }
                field(value, &first.path, lenient)
            }
            Root::Dot if first.path == ["Label"] && (!rest.is_empty() || given.is_some()) => {
                let name = match rest.first() {
                    Some(operand) => self.operand(operand, dot, lenient)?,
                    None => given.unwrap_or_default(),
                };
                self.label(name.as_str().unwrap_or_default(), rest.len())
            }
            _ if rest.is_empty() && given.is_none() => self.operand(first, dot, lenient),
            _ => Err(Fault::run(format!("can't give argument to non-function {}", shown(first)))),
        }
    }

    /// `.Label "name"`.
    fn label(&self, name: &str, arguments: usize) -> Result<Value, Fault> {
        if arguments > 1 {
            return Err(Fault::run("wrong number of args for Label: want 1"));
        }
        if self.subject.headings {
            let last = name.rsplit('.').next().unwrap_or(name);
            return Ok(last.replace(['-', '_'], " ").into());
        }
        Ok(self.subject.labels.get(name).cloned().unwrap_or_default().into())
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, lenient: bool) -> Result<Value, Fault> {
        let root = match &operand.root {
            Root::Dot => return look(dot, &operand.path, lenient),
            Root::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                return look(&known.ok_or_else(|| undefined(name))?.1, &operand.path, lenient);
            }
            Root::Literal(value) => value.clone(),
            Root::Function(_) => return self.command(std::slice::from_ref(operand), None, dot, lenient),
            Root::Pipeline(inner) => self.pipeline(inner, dot, lenient)?,
        };
        field(root, &operand.path, lenient)
    }
}

fn undefined(name: &str) -> Fault {
    Fault::run(format!("undefined variable: ${name}"))
}

fn shown(operand: &Operand) -> String {
    let root = match &operand.root {
        Root::Variable(name) => format!("${name}"),
        Root::Literal(value) => value.to_string(),
        _ => String::new(),
    };
    operand.path.iter().fold(root, |text, name| text + "." + name)
}

fn field(value: Value, path: &[String], lenient: bool) -> Result<Value, Fault> {
    if path.is_empty() { Ok(value) } else { look(&value, path, lenient) }
}

/// What is at these fields.
fn look(mut value: &Value, path: &[String], lenient: bool) -> Result<Value, Fault> {
    for name in path {
        value = match value {
            Value::Object(fields) => match fields.get(name) {
                Some(value) => value,
                None if lenient => &Value::Null,
                None => {
                    return Err(Fault::run(format!(
                        "<.{}>: map has no entry for key {name:?}",
                        path.join(".")
                    )));
                }
            },
            Value::Null if lenient => &Value::Null,
            Value::Null => {
                return Err(Fault::run(format!(
                    "<.{}>: nil data; no entry for key {name:?}",
                    path.join(".")
                )));
            }
            other => {
                let kind = function::kind(other);
                return Err(Fault::run(format!(
                    "<.{}>: can't evaluate field {name} in type {kind}",
                    path.join(".")
                )));
            }
        };
    }
    Ok(value.clone())
}
