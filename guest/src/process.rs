//! From a request's process to the steps that make a child that process.

use hull_protocol::Process;
use rustix::fs::{Gid, Uid};

use crate::{
    failure::{Failure, Reason, Text, text},
    path,
    step::{Fault, Step, StringList},
    sys::Instruction,
    user::User,
};

/// Refuses what no process can be.
///
/// # Errors
/// [`FailureKind::Invalid`], naming the part.
pub fn check(process: &Process) -> Result<(), Failure> {
    if process.args.first().is_none_or(String::is_empty) {
        return Err(Failure::invalid("no command specified"));
    }
    if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
        return Err(Failure::invalid(format!(
            "the working directory {:?} is not an absolute path",
            process.cwd
        )));
    }
    Ok(())
}

/// The steps that set a child's own resource limits, before it loses the right to raise them.
pub fn limits(process: &Process) -> impl Iterator<Item = Step> {
    let limits = process.rlimits.iter();
    limits.map(|limit| Step::Limit { resource: limit.resource, soft: limit.soft, hard: limit.hard })
}

/// The steps from a child that stands in the container's root, with its streams in place, to the program. The
/// `first` process of a container gets its working directory made when it is absent.
///
/// # Errors
/// [`FailureKind::Invalid`] for a string that holds a NUL or a filter that is too long.
pub fn steps(process: &Process, user: &User, first: bool) -> Result<Vec<Step>, Failure> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let mut steps = vec![Step::Session];
    if process.terminal.is_some() {
        steps.push(Step::ControllingTerminal);
        if user.uid != 0 {
            steps.push(Step::TerminalOwner(uid));
        }
    }
    let cwd = if process.cwd.is_empty() { "/" } else { &*process.cwd };
    if cwd != "/" {
        steps.push(Step::WorkingDirectory { path: text("working directory", cwd)?, make: first });
    }
    if process.oom_score_adj != 0 {
        let path = text("path", "/proc/self/oom_score_adj")?;
        let content = process.oom_score_adj.to_string().into_bytes();
        steps.push(Step::Write { path, content, make: false });
    }
    steps.push(Step::Bounding(process.capabilities));
    steps.push(Step::Groups(user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect()));

    // A filter can be installed with CAP_SYS_ADMIN, which goes with the change of user, or with no_new_privs; as late
    // as possible, so that it does not have to allow what is done here.
    let filter = filter(&process.seccomp)?;
    let become_user = (user.uid != 0 || user.gid != 0).then_some(Step::User { uid, gid });
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
        steps.extend(become_user);
        steps.extend(filter);
    } else {
        steps.extend(filter);
        steps.extend(become_user);
    }
    steps.push(execute(process, user)?);
    Ok(steps)
}

fn execute(process: &Process, user: &User) -> Result<Step, Failure> {
    let mut environment = texts("environment variable", &process.env)?;
    if path::variable(&process.env, "HOME").is_none() {
        environment.push(text("home directory", format!("HOME={}", user.home))?);
    }
    let environment = StringList::new(environment);
    let mut arguments = texts("argument", &process.args)?;
    if process.tool.is_some() {
        return Ok(Step::ExecuteInit { arguments: StringList::new(arguments), environment });
    }
    if process.init {
        arguments.insert(0, text("program", crate::init::NAME)?);
        return Ok(Step::ExecuteInit { arguments: StringList::new(arguments), environment });
    }
    let command = process.args.first().map(String::as_str).unwrap_or_default();
    let candidates = texts("command", &path::candidates(command, &process.env))?;
    Ok(Step::Execute { candidates, arguments: StringList::new(arguments), environment })
}

fn texts(what: &str, list: &[String]) -> Result<Vec<Text>, Failure> {
    list.iter().map(|value| text(what, value.as_str())).collect()
}

/// The seccomp filter as the kernel takes it, if there is one.
fn filter(program: &[u64]) -> Result<Option<Step>, Failure> {
    // BPF_MAXINSNS
    const LONGEST: usize = 4096;
    if program.len() > LONGEST {
        return Err(Failure::invalid(format!(
            "the seccomp filter has {} instructions, {LONGEST} are possible",
            program.len()
        )));
    }
    let instructions = program.iter().map(|packed| Instruction {
        code: (packed >> 48) as u16,
        jump_true: (packed >> 40) as u8,
        jump_false: (packed >> 32) as u8,
        operand: *packed as u32,
    });
    Ok((!program.is_empty()).then(|| Step::Filter(instructions.collect())))
}

/// What to tell the user of a step of this process that failed.
pub fn explain(step: &Step, process: &Process, fault: Fault) -> Failure {
    match step {
        Step::Execute { .. } => {
            path::failure(process.args.first().map(String::as_str).unwrap_or_default(), fault)
        }
        Step::WorkingDirectory { .. } => {
            let message = format!("chdir to cwd ({:?}) failed: {}", process.cwd, Reason(fault.error));
            Failure::invalid(message)
        }
        _ => step.explain(fault),
    }
}

#[cfg(test)]
#[path = "process_test.rs"]
mod tests;
