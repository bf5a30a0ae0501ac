//! `hull doctor`: what this host has for hull, line by line, each with its remedy.

mod checks;

use serde::Serialize;

/// How a finding bears on hull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// hull works, but the user should know.
    Warning,
    /// Containers do not start until this is mended.
    Problem,
}

/// One thing about this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How it bears on hull.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; absent when there is nothing to do.
    pub remedy: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, found: found.into(), remedy: None }
    }

    fn warning(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn problem(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at this host.
pub fn examine() -> Vec<Finding> {
    let mut findings = checks::virtualization();
    findings.push(checks::kvm());
    findings.extend(checks::assets());
    findings.push(checks::memory());
    findings.push(checks::confinement());
    findings.push(checks::storage());
    findings
}
