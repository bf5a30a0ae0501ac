//! The guest's tool: what the host wants of the files of a container is done by this program, started by the agent.
//!
//! It runs in the container's namespaces, where paths mean what they mean to the container's processes and links lead nowhere else, or
//! beside the container, where its writable layer is to be seen. A program of its own, because the agent is to be small. What is wrong it says on standard
//! error, in Docker's words where there are some.
//!
//! | arguments | what |
//! | --- | --- |
//! | `hold` | does nothing: the first process of a container that is not to run |
//! | `read [-L] CONTAINER PATH` | `d` or `f`, then an archive of what is there |
//! | `write CONTAINER PATH KIND NAME OWNER` | unpacks an archive (`hull cp`) |
//! | `export` | an archive of the root |
//! | `top [OPTION…]` | the processes |
//! | `diff CGROUP UPPER LAYER…` | what has changed |
//! | `remove DIRECTORY` | removes a directory and all that is in it |
//! | `layer freeze\|run CGROUP UPPER LAYER…` | the same as a layer of an image |

mod beside;
mod copy;
mod find;
mod top;

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Bytes that are read or written at once: a call costs more than they do.
const BUFFER: usize = 64 << 10;

/// What went wrong, for whoever asked.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    umask(rustix::fs::Mode::empty());
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["hold"] => loop {
            rustix::event::pause();
        },
        ["read", "-L", container, path] => copy::read(container, path, true),
        ["read", container, path] => copy::read(container, path, false),
        ["write", container, path, kind, name, owner] => {
            copy::write(container, path, &copy::Source::parse(kind, name, owner)?)
        }
        ["export"] => copy::export(),
        ["top", options @ ..] => top::top(options),
        ["diff", _, upper, layers @ ..] => beside::diff(upper, layers),
        ["layer", pause, cgroup, upper, ..] => beside::layer(upper, (*pause == "freeze").then_some(*cgroup)),
        _ => Err(format!("the host wants something that this guest does not know: {arguments:?}")),
    }
}

/// Standard output, unbuffered by anything else.
fn output() -> Result<BufWriter<File>> {
    let file = rustix::io::dup(rustix::stdio::stdout()).map_err(|error| error.to_string())?;
    Ok(BufWriter::with_capacity(BUFFER, File::from(file)))
}

fn input() -> Result<BufReader<File>> {
    let file: io::Result<OwnedFd> = rustix::io::dup(rustix::stdio::stdin()).map_err(Into::into);
    Ok(BufReader::with_capacity(BUFFER, File::from(file.map_err(|error| error.to_string())?)))
}
