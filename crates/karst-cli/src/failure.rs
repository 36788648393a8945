//! Why a verb ended without its result, and the exit code that says so.

use std::fmt::Display;
use std::io;

/// The end of a verb that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What was typed makes no sense: exit code 2.
    Usage(String),
    /// It made sense and did not work: exit code 1.
    Failed(String),
    /// Whoever read our output has read enough: exit code 0, as the reader is content.
    OutputClosed,
}

/// Result of a verb or a part of one.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Bad usage.
    pub(crate) fn usage(what: impl Display) -> Failure {
        Failure::Usage(what.to_string())
    }

    /// It did not work.
    pub(crate) fn failed(what: impl Display) -> Failure {
        Failure::Failed(what.to_string())
    }

    /// For the person; nothing when there is nobody to tell.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Failure::Usage(message) | Failure::Failed(message) => Some(message),
            Failure::OutputClosed => None,
        }
    }

    /// For the shell.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Failed(_) => 1,
            Failure::OutputClosed => 0,
        }
    }

    /// A failed write to standard output.
    pub(crate) fn output(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Failed(format!("standard output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is_one() {
        let left = Failure::output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((left.exit_code(), left.message()), (0, None));
        let full = Failure::output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit_code(), 1);
        assert_eq!(Failure::usage("x").exit_code(), 2);
    }
}
