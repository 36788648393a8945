//! What a client noted of one request: what it asked, when, and what it was told. One line of JSON each, so that
//! clients in other languages can note it too.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One request and its answer. Times are nanoseconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked; nobody asks twice at the same time.
    pub client: u32,
    /// Number of the record.
    pub key: i64,
    /// When it was asked.
    pub called_ns: u64,
    /// When it was answered, or given up.
    pub returned_ns: u64,
    /// What was asked.
    pub action: Action,
    /// What was told.
    pub outcome: Outcome,
    /// What a person may want to know besides: how it was asked, the words of an error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Now, on the clock of [`Operation`].
pub fn now_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What is asked of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The whole record, read in a mode that is linearizable, or believed to be.
    Read,
    /// A number, instead of what was there; perhaps it is read as well. No two writes to a key have the same.
    Write {
        /// The number.
        value: i64,
        /// What has to be there.
        expect: Expect,
    },
    /// The record is to go.
    Delete,
    /// Adds to the number, and reads it.
    Add {
        /// How much.
        amount: i64,
    },
    /// Puts an element at the end of the list, and reads it. No two appends to a key have the same.
    Append {
        /// The element.
        element: i64,
    },
}

impl Action {
    /// Whether it changes the record if it is done.
    pub fn changes(&self) -> bool {
        match self {
            Action::Read => false,
            Action::Write { .. } | Action::Delete | Action::Add { .. } | Action::Append { .. } => {
                true
            }
        }
    }
}

/// The state of a record that a write demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Any.
    Any,
    /// There is none.
    Absent,
    /// It has this generation.
    Generation(u16),
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done, and no more.
    Done,
    /// It was done, and this is the record.
    Told(Seen),
    /// There is no record; nothing was done.
    Absent,
    /// The record has another generation than was expected; nothing was done.
    OtherGeneration,
    /// There is a record; nothing was done.
    Exists,
    /// It was not done and never will be.
    Failed,
    /// It was done, is yet to be done, or never will be.
    InDoubt,
}

/// A record as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its generation.
    pub generation: u16,
    /// What it holds.
    pub content: Content,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// What is written and added to.
    Number(i64),
    /// What is appended to.
    List(Vec<i64>),
}

impl Display for Seen {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Number(number) => write!(out, "{number}")?,
            Content::List(elements) => write!(out, "{elements:?}")?,
        }
        write!(out, " in generation {}", self.generation)
    }
}

impl Display for Action {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Action::Read => write!(out, "read"),
            Action::Write { value, expect } => match expect {
                Expect::Any => write!(out, "write {value}"),
                Expect::Absent => write!(out, "create {value}"),
                Expect::Generation(generation) => {
                    write!(out, "write {value} over generation {generation}")
                }
            },
            Action::Delete => write!(out, "delete"),
            Action::Add { amount } => write!(out, "add {amount}"),
            Action::Append { element } => write!(out, "append {element}"),
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => write!(out, "done"),
            Outcome::Told(seen) => write!(out, "{seen}"),
            Outcome::Absent => write!(out, "no record"),
            Outcome::OtherGeneration => write!(out, "refused: another generation"),
            Outcome::Exists => write!(out, "refused: it exists"),
            Outcome::Failed => write!(out, "failed, not applied"),
            Outcome::InDoubt => write!(out, "in doubt"),
        }
    }
}

/// Why a file of operations cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is no operation.
    #[error("line {number}: {source}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The operations of a file, a line each.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn read_file(path: &Path) -> Result<Vec<Operation>, BadFile> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().enumerate();
    let parsed = lines.map(|(at, line)| {
        serde_json::from_str(line).map_err(|source| BadFile::Line {
            number: at + 1,
            source,
        })
    });
    parsed.collect()
}

/// Writes operations to a file, a line each.
///
/// # Errors
/// When the system refuses.
pub fn write_file(path: &Path, history: &[Operation]) -> io::Result<()> {
    let mut text = String::new();
    for operation in history {
        text += &serde_json::to_string(operation)?;
        text.push('\n');
    }
    std::fs::write(path, text)
}
