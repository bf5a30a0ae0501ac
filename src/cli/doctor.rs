//! `hull doctor`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use crate::doctor::{self, Verdict};

/// The arguments of `hull doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Prints what this host has; fails when containers cannot start on it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let findings = doctor::examine();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            let colour =
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
            for finding in &findings {
                let (mark, code) = match finding.verdict {
                    Verdict::Good => ("ok     ", "32"),
                    Verdict::Warning => ("warning", "33"),
                    Verdict::Problem => ("PROBLEM", "31"),
                };
                let mark = if colour { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_owned() };
                println!("{mark}  {:width$}  {}", finding.subject, finding.found);
                if let Some(remedy) = &finding.remedy {
                    println!("         {:width$}  → {remedy}", "");
                }
            }
        }
        let usable = findings.iter().all(|finding| finding.verdict != Verdict::Problem);
        Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
