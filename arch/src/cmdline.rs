//! The kernel's command line.

use std::ffi::CString;

use crate::tables::MmioDevice;

/// Most bytes of a command line with its final NUL: `COMMAND_LINE_SIZE` of x86.
pub const MAX_SIZE: usize = 2048;

/// Why an argument cannot be on the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// A character that ends or breaks the line.
    #[error(
        "kernel argument {argument:?} has {character:?} in it; take it out, the kernel would cut the line there"
    )]
    Character {
        /// The argument.
        argument: String,
        /// What is wrong in it.
        character: char,
    },
    /// No room left.
    #[error(
        "kernel argument {argument:?} makes the command line {size} bytes long, the kernel takes {}; \
         shorten it or drop other arguments",
        MAX_SIZE - 1
    )]
    TooLong {
        /// The argument that did not fit; cut after 60 characters.
        argument: String,
        /// Bytes the line would have.
        size: usize,
    },
}

/// A command line under construction. It never holds more than the kernel takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends arguments, separated by spaces from what is there. Empty ones are skipped.
    ///
    /// On an error the line is as it was before.
    pub fn push(&mut self, arguments: &str) -> Result<(), CommandLineError> {
        let arguments = arguments.trim_matches(' ');
        if let Some(character) = arguments.chars().find(|c| matches!(c, '\0' | '\n' | '\r')) {
            return Err(CommandLineError::Character { argument: shown(arguments), character });
        }
        if arguments.is_empty() {
            return Ok(());
        }
        let separator = usize::from(!self.0.is_empty());
        let size = self.0.len() + separator + arguments.len();
        if size >= MAX_SIZE {
            return Err(CommandLineError::TooLong { argument: shown(arguments), size });
        }
        if separator == 1 {
            self.0.push(' ');
        }
        self.0.push_str(arguments);
        Ok(())
    }

    /// Appends each of `arguments`.
    pub fn extend<'a>(
        &mut self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), CommandLineError> {
        arguments.into_iter().try_for_each(|argument| self.push(argument))
    }

    /// Appends `virtio_mmio.device=` for each device: what tells a kernel of them that has no ACPI.
    ///
    /// Linux numbers them in this order, so the first disk is `vda`.
    pub fn push_devices(&mut self, devices: &[MmioDevice]) -> Result<(), CommandLineError> {
        devices.iter().try_for_each(|device| {
            self.push(&format!(
                "virtio_mmio.device={}@{:#x}:{}",
                size(device.size),
                device.base.0,
                device.gsi
            ))
        })
    }

    /// The line without its final NUL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The line as the kernel reads it.
    pub fn to_c_string(&self) -> CString {
        CString::new(self.0.as_str()).expect("push refuses NUL")
    }
}

/// Bytes in the kernel's `memparse` notation.
fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) { format!("{}K", bytes / 1024) } else { bytes.to_string() }
}

/// An argument as an error message shows it.
fn shown(argument: &str) -> String {
    let mut characters = argument.chars();
    let mut shown: String = characters.by_ref().take(60).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
#[path = "cmdline_test.rs"]
mod tests;
