//! `--format`: the part of Go's text/template that Docker's documentation uses.
//!
//! | what | which |
//! | --- | --- |
//! | actions | `if`, `else`, `else if`, `with`, `range`, `break`, `continue`, `end`, variables, comments, `{{-` and `-}}` |
//! | functions | `json`, `split`, `join`, `title`, `lower`, `upper`, `pad`, `truncate`, `print`, `printf`, `println`, `len`, `index`, `slice`, `and`, `or`, `not`, `eq`, `ne`, `lt`, `le`, `gt`, `ge` |
//! | of lists | `table …`, `json`, `\t` and `\n` |
//!
//! Everything else is refused by name. Written here because the crates that there are for it are not kept up any more.

mod evaluate;
mod function;
mod lex;
mod parse;

use std::{collections::BTreeMap, fmt, process::ExitCode};

use serde_json::{Map, Value};

use self::{
    evaluate::{Subject, evaluate},
    parse::Node,
};
use super::{output, table};

/// Longest template, in bytes.
const LONGEST: usize = 64 << 10;

/// What is wrong with a template, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// It is no template.
    fn parse(what: impl fmt::Display) -> Self {
        Self(format!("template parsing error: template: :1: {what}"))
    }

    /// It cannot be done with this document.
    fn run(what: impl fmt::Display) -> Self {
        Self(format!("template: :1: executing \"\": {what}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// A template that was understood.
#[derive(Debug, Clone)]
pub struct Template(Vec<Node>);

impl Template {
    /// Understands a template.
    ///
    /// # Errors
    /// When it is none, or of a kind that is not known here.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > LONGEST {
            return Err(Fault::parse(format!("it is longer than {LONGEST} bytes")));
        }
        parse::parse(lex::pieces(text)?).map(Self)
    }

    /// What it prints of a document.
    ///
    /// # Errors
    /// When it asks for what is not there.
    pub fn render(&self, document: &Value) -> Result<String, Fault> {
        evaluate(&self.0, Subject { document, labels: &BTreeMap::new(), headings: false })
    }
}

/// One line of a list.
#[derive(Debug, Clone)]
pub struct Row {
    fields: Value,
    labels: BTreeMap<String, String>,
}

impl Row {
    /// A line with these fields, by Docker's names.
    pub fn new<const N: usize>(fields: [(&str, Value); N]) -> Self {
        let fields: Map<_, _> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { fields: fields.into(), labels: BTreeMap::new() }
    }

    /// The same for something with labels, which are its field `Labels`, too.
    #[must_use]
    pub fn with_labels(mut self, labels: &BTreeMap<String, String>) -> Self {
        let all: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.fields["Labels"] = all.join(",").into();
        self.labels = labels.clone();
        self
    }
}

/// A list that is shown as a table unless somebody wants it otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// What stands above each field.
    pub headings: &'a [(&'a str, &'a str)],
    /// The columns that are shown when nobody says.
    pub columns: &'a [&'a str],
}

impl Listing<'_> {
    /// Prints the lines as `format` says: `table`, `table TEMPLATE`, `json`, a template, or nothing.
    ///
    /// # Errors
    /// When the template is none, or asks for what is not there.
    pub fn print(&self, format: Option<&str>, rows: &[Row]) -> anyhow::Result<ExitCode> {
        output::print(&self.render(format.unwrap_or_default(), rows)?)
    }

    fn render(&self, format: &str, rows: &[Row]) -> Result<String, Fault> {
        if format == "json" {
            return Ok(rows.iter().map(|row| format!("{}\n", row.fields)).collect());
        }
        let columns =
            || self.columns.iter().map(|name| format!("{{{{.{name}}}}}")).collect::<Vec<_>>().join("\t");
        let (is_table, text) = match format.strip_prefix("table") {
            _ if format.is_empty() => (true, columns()),
            Some("") => (true, columns()),
            Some(rest) if rest.starts_with(' ') => (true, rest.trim_matches(' ').to_owned()),
            _ => (false, format.to_owned()),
        };
        let template = Template::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))?;
        let mut text = String::new();
        if is_table {
            let headings: Map<_, _> =
                self.headings.iter().map(|(name, heading)| ((*name).to_owned(), (*heading).into())).collect();
            let subject = Subject { document: &headings.into(), labels: &BTreeMap::new(), headings: true };
            text = evaluate(&template.0, subject)? + "\n";
        }
        for row in rows {
            let subject = Subject { document: &row.fields, labels: &row.labels, headings: false };
            text += &evaluate(&template.0, subject)?;
            text.push('\n');
        }
        Ok(if is_table { table::align(&text) } else { text })
    }
}

/// Prints documents as `inspect` does: all of them as an array, or each by a template.
///
/// # Errors
/// When the template is none, or asks for what is not there; those before are printed.
pub fn inspect(format: Option<&str>, documents: &[Value]) -> anyhow::Result<ExitCode> {
    match format {
        None | Some("") => output::print(&format!("{}\n", serde_json::to_string_pretty(documents)?)),
        Some("json") => output::print(&format!("{}\n", serde_json::to_string(documents)?)),
        Some(text) => {
            let template = Template::parse(text)?;
            for document in documents {
                output::print(&(template.render(document)? + "\n"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints one document by a template, or as a line of JSON.
///
/// # Errors
/// When the template is none, or asks for what is not there.
pub fn one(format: &str, document: &Value) -> anyhow::Result<ExitCode> {
    match format {
        "json" => output::print(&format!("{document}\n")),
        text => output::print(&(Template::parse(text)?.render(document)? + "\n")),
    }
}

/// A time as lists show it: `2026-11-22 13:58:03 +0000 UTC`; `N/A` for what is none.
pub fn created_at(time: &str) -> String {
    let shown = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string();
    time.parse().map_or_else(|_| "N/A".to_owned(), shown)
}

#[cfg(test)]
#[path = "format_test.rs"]
mod tests;
