//! How results and progress look, for people and for programs.

pub(crate) mod grid;
pub(crate) mod human;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod table;

use std::io::IsTerminal as _;

/// Whether a stream may carry colours and bars: a terminal, and `NO_COLOR` is not set.
fn lively(terminal: bool) -> bool {
    // no-color.org: any value but the empty one counts.
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    terminal && !refused
}

/// Whether standard error may show bars.
pub(crate) fn bars() -> bool {
    lively(std::io::stderr().is_terminal())
}

/// Whether standard output may have colours.
pub(crate) fn colours() -> bool {
    lively(std::io::stdout().is_terminal())
}
