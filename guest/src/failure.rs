//! Why something could not be done, in words for the user.

use std::{
    borrow::Cow,
    ffi::{CStr, CString},
    fmt,
};

use hull_protocol::FailureKind;
use rustix::io::Errno;

/// A request that could not be served: what [`hull_protocol::AgentMessage::Failed`] carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind, which decides the exit code.
    pub kind: FailureKind,
    /// For the user.
    pub message: String,
}

impl Failure {
    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Invalid, message: message.into() }
    }

    /// The guest failed at `what`.
    pub fn internal(what: impl fmt::Display, error: Errno) -> Self {
        Self { kind: FailureKind::Internal, message: format!("{what}: {}", Reason(error)) }
    }
}

/// What went wrong, as every other program words it.
pub struct Reason(pub Errno);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            Errno::PERM => "operation not permitted",
            Errno::NOENT => "no such file or directory",
            Errno::IO => "input/output error",
            Errno::NXIO => "no such device or address",
            Errno::TOOBIG => "argument list too long",
            Errno::NOEXEC => "exec format error",
            Errno::AGAIN => "resource temporarily unavailable",
            Errno::NOMEM => "cannot allocate memory",
            Errno::ACCESS => "permission denied",
            Errno::BUSY => "device or resource busy",
            Errno::EXIST => "file exists",
            Errno::NODEV => "no such device",
            Errno::NOTDIR => "not a directory",
            Errno::ISDIR => "is a directory",
            Errno::INVAL => "invalid argument",
            Errno::NFILE | Errno::MFILE => "too many open files",
            Errno::TXTBSY => "text file busy",
            Errno::NOSPC => "no space left on device",
            Errno::ROFS => "read-only file system",
            Errno::RANGE => "numerical result out of range",
            Errno::NAMETOOLONG => "file name too long",
            Errno::NOSYS => "function not implemented",
            Errno::LOOP => "too many levels of symbolic links",
            Errno::CONNRESET => "connection reset by peer",
            Errno::TIMEDOUT => "connection timed out",
            Errno::CONNREFUSED => "connection refused",
            Errno::UCLEAN => "structure needs cleaning",
            other => return write!(f, "error {}", other.raw_os_error()),
        };
        f.write_str(text)
    }
}

/// A string as the kernel takes it.
pub type Text = Cow<'static, CStr>;

/// A string of a request as the kernel takes it; `what` names it when it cannot be one.
pub fn text(what: &str, value: impl Into<Vec<u8>>) -> Result<Text, Failure> {
    match CString::new(value) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(error) => {
            let value = error.into_vec();
            Err(Failure::invalid(format!("the {what} {:?} holds a NUL", String::from_utf8_lossy(&value))))
        }
    }
}
