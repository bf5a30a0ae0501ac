//! A container's files, from outside: what is copied out and in, what has changed, and images made of it.
//!
//! Only a guest can read a container's disk, so each of these is done by a tool there, which the agent starts beside the container's
//! processes. For a container that does not run a VM is started as if it did, and with it a process that does nothing; no state, event or log
//! tells of that.

mod access;
pub mod commit;
pub mod copy;

use std::io::{self, Read, Write};

use hull_protocol::{Process, Tool};

pub use access::Access;

use super::{
    capability::Capabilities,
    error::{Error, Result},
};

/// The name under which the guest's tool is executed.
const NAME: &str = "hull-tool";
/// Most bytes of a list that is not a file.
const MOST_TEXT: u64 = 64 << 20;

/// The process of a container that is not to run.
pub(super) fn hold() -> Process {
    tool(Tool::Inside, &["hold"])
}

/// The guest's tool with these arguments.
fn tool(place: Tool, arguments: &[&str]) -> Process {
    let args = [NAME].iter().chain(arguments).map(|it| (*it).to_owned()).collect();
    Process {
        args,
        cwd: "/".to_owned(),
        capabilities: Capabilities::ALL.0,
        tool: Some(place),
        ..Process::default()
    }
}

/// What has been added (`A`), changed (`C`) and deleted (`D`) since the container was created, a line each.
///
/// # Errors
/// When there is no such container, or its files cannot be looked at.
pub fn diff(access: &Access) -> Result<String> {
    text(access, Tool::Beside, &["diff"])
}

/// The processes of a container that runs: a table with tabulators between columns, its titles first.
///
/// # Errors
/// When it does not run, or `ps` has no such options.
pub fn top(access: &Access, options: &[String]) -> Result<String> {
    let mut arguments = vec!["top"];
    arguments.extend(options.iter().map(String::as_str));
    text(access, Tool::Inside, &arguments)
}

fn text(access: &Access, place: Tool, arguments: &[&str]) -> Result<String> {
    let mut running = access.start(place, arguments, false)?;
    let mut text = Vec::new();
    let read = (&mut running.output).take(MOST_TEXT).read_to_end(&mut text);
    running.finish()?;
    read.map_err(|error| Error::Keeper(format!("cannot be listened to: {error}")))?;
    Ok(printable(&text))
}

/// What a guest says, fit for a terminal: lines and columns, and nothing that a terminal would obey.
fn printable(text: &[u8]) -> String {
    let harmless = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    let text = String::from_utf8_lossy(text);
    text.chars().map(|letter| if harmless(letter) { letter } else { '?' }).collect()
}

/// Writes the container's file system as an archive, without what is mounted in it.
///
/// # Errors
/// When it cannot be read, or the archive not be written.
pub fn export(access: &Access, to: &mut impl Write) -> Result<()> {
    let mut running = access.start(Tool::Inside, &["export"], false)?;
    let copied = io::copy(&mut running.output, to).and_then(|_| to.flush());
    copied.map_err(|error| Error::Invalid(format!("cannot write the archive: {error}")))?;
    running.finish()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_that_a_guest_says_is_obeyed_by_a_terminal() {
        let said = b"A /tab\there\nC /\x1b]0;x\x07\r\xc2\x9b\xff \xc3\xa4\n";
        assert_eq!(printable(said), "A /tab\there\nC /?]0;x???\u{fffd} \u{e4}\n");
    }
}
