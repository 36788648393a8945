//! Standard output. Results go through here, so that a reader who leaves early ends us quietly.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// Prints text and a line end.
pub(crate) fn line(text: &str) -> Outcome {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(Failure::output)
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Outcome {
    line(&serde_json::to_string_pretty(value).map_err(Failure::failed)?)
}

/// Prints a value as JSON on one line, for programs that read lines.
pub(crate) fn json_line(value: &impl Serialize) -> Outcome {
    line(&serde_json::to_string(value).map_err(Failure::failed)?)
}
