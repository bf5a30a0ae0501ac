//! The command line: a file a verb. What a verb does lives in the module it is about; here is only how it is
//! asked for and how its answer is shown.

mod bench;
mod bench_network;
mod completion;
pub mod container;
mod doctor;
mod each;
mod format;
pub mod image;
mod info;
mod internal;
mod label;
mod network;
mod network_attach;
mod output;
mod pool;
mod system;
mod table;
mod template;
pub mod terminal;
mod vm;
mod volume;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// OCI containers inside KVM microVMs: one binary, no root, no daemon.
#[derive(Debug, Parser)]
#[command(name = "hull", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    #[command(flatten)]
    Container(container::Verb),
    #[command(flatten)]
    Image(image::Verb),
    /// Work with containers
    #[command(name = "container", subcommand)]
    ContainerGroup(container::GroupVerb),
    /// Work with images
    #[command(name = "image", subcommand)]
    ImageGroup(image::GroupVerb),
    /// Work with volumes
    #[command(subcommand)]
    Volume(volume::Verb),
    /// Work with plain VMs
    #[command(subcommand)]
    Vm(vm::Verb),
    /// Work with the booted VMs that containers are started from
    #[command(subcommand)]
    Template(template::Verb),
    /// Have VMs wait for containers
    #[command(subcommand)]
    Pool(pool::Verb),
    /// Work with networks
    #[command(subcommand)]
    Network(network::Verb),
    /// See what hull takes of the disk, and give it back
    #[command(subcommand)]
    System(system::Verb),
    /// Measure what the boundary costs on this host
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Show what there is: containers, images, and the host
    Info(info::Info),
    /// Show the version of hull and of what it works with
    Version(info::Version),
    /// Say what this host has for hull, and what to do about what is missing
    Doctor(doctor::Doctor),
    /// Print the completion script of a shell
    Completion(completion::Completion),
}

/// Steps of hull's own build and processes that hull starts; not for people. They live as long as a VM, and are not to have the
/// descriptions of all verbs in their memory.
#[derive(Debug, Parser)]
#[command(name = "hull internal", disable_help_subcommand = true)]
struct Internal {
    #[command(subcommand)]
    verb: internal::Verb,
}

/// Exit code of a command line that is not understood, as with Docker.
const USAGE: u8 = 125;

/// Runs the command line this process was started with and returns its exit code.
pub fn main() -> ExitCode {
    let internal = std::env::args_os().nth(1).is_some_and(|verb| verb == "internal");
    let result = if internal {
        Internal::try_parse_from(std::env::args_os().skip(1)).map(|internal| internal.verb.run())
    } else {
        Cli::try_parse().map(|cli| run(cli.command))
    };
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            // Nobody is left to be told when even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("hull: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Container(verb) => verb.run(),
        Command::ContainerGroup(verb) => verb.run(),
        Command::Image(verb) => verb.run(),
        Command::ImageGroup(verb) => verb.run(),
        Command::Volume(verb) => verb.run(),
        Command::Vm(verb) => verb.run(),
        Command::Template(verb) => verb.run(),
        Command::Pool(verb) => verb.run(),
        Command::Network(verb) => verb.run(),
        Command::System(verb) => verb.run(),
        Command::Bench(verb) => verb.run(),
        Command::Info(verb) => verb.run(),
        Command::Version(verb) => verb.run(),
        Command::Doctor(verb) => verb.run(),
        Command::Completion(verb) => verb.run(),
    }
}
