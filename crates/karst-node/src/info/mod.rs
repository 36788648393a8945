//! Info: the text commands by which clients and tools learn who serves what, and how it does.
//!
//! One file per family of commands; each file ends in a list of its commands, and the lists together
//! are all there is (`FAMILIES`).
//!
//! Invariants
//!   every command that ends in a newline is answered once, in order, under its own text
//!   a figure is real, or zero because what it counts does not happen here, or it is not there
//!   one request costs at most [`COMMANDS_MAX`] answers, one walk over each namespace's partitions, and
//!   [`TRUNCATIONS_MAX`] writes to disk
//!
//! Failure: a command that cannot be answered says `ERROR:code:message`; others are not affected.

mod agents;
mod agreed;
mod cluster;
mod config;
mod eviction;
mod histograms;
mod identity;
mod jobs;
mod latencies;
mod logs;
mod namespaces;
mod roster;
mod set_config;
mod sets;
mod sindex;
mod statistics;
mod truncate;
mod udf;
mod unsupported;

#[cfg(test)]
mod strong_tests;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use karst_wire::code::ResultCode;
use karst_wire::info::{Command, InfoError, InfoReply, Params, commands};

pub use cluster::{WATCH_LOOK_AGAIN, Watch};

use crate::metrics::Figures;
use crate::node::{NamespaceState, Node};
use crate::user_agents::Introduced;

/// Most commands of one request. Clients send a handful, tools some dozens.
pub const COMMANDS_MAX: usize = 1024;

/// Most truncations, revivals and changes of indexes, modules and settings of one request: most wait for a disk.
pub const TRUNCATIONS_MAX: u32 = 8;

/// What a request is told instead of answers that together exceed the largest reply
/// ([`karst_wire::info::INFO_REPLY_BYTES_MAX`]).
const TOO_BIG: &[u8] = b"ERROR:4:the answers exceed the largest reply";

/// What a request of more than [`COMMANDS_MAX`] commands is told behind the last answer.
const TOO_MANY: &[u8] = b"ERROR:4:too many commands";

/// Commands that answer an empty request.
const SUMMARY: [&str; 15] = [
    "features",
    "node",
    "compatibility-id",
    "edition",
    "build_ee_sha",
    "build_sha",
    "build_arch",
    "build_time",
    "build_os",
    "build",
    "version",
    "statistics",
    "services-alumni",
    "services",
    "partition-generation",
];

/// What the node remembers of a connection between info requests.
#[derive(Default)]
pub struct Session {
    user_agent: Option<Introduced>,
}

impl Session {
    /// Ends with its connection.
    pub fn end(self, node: &Node) {
        if let Some(introduced) = self.user_agent {
            node.user_agents.leave(introduced);
        }
    }
}

/// Whether a request asks for something that all nodes have to agree on: it is for [`answer_agreed`].
pub fn needs_agreement(body: &[u8]) -> bool {
    commands(body)
        .take(COMMANDS_MAX)
        .any(|command| command.name().is_some_and(agreed::is_needed))
}

/// Answers an info request once the cluster has agreed to what it asks for.
pub async fn answer_agreed(node: &Node, body: &[u8], out: &mut Vec<u8>) {
    let agreed = agreed::agree(node, body).await;
    let mut session = Session::default(); // what it introduces of its client ends with it
    answer_after(node, &mut session, body, Some(agreed), out);
    session.end(node);
}

/// Answers one info request: appends one frame to `out`.
pub fn answer(node: &Node, session: &mut Session, body: &[u8], out: &mut Vec<u8>) {
    answer_after(node, session, body, None, out);
}

fn answer_after(
    node: &Node,
    session: &mut Session,
    body: &[u8],
    agreed: Option<agreed::Agreed>,
    out: &mut Vec<u8>,
) {
    let memo = Memo::new(node, agreed);
    let mut reply = InfoReply::begin(out);
    if body.is_empty() {
        for name in SUMMARY {
            answer_one(
                node,
                session,
                &memo,
                &Command::new(name.as_bytes()),
                &mut reply,
            );
        }
    }
    for (at, command) in commands(body).enumerate() {
        if at == COMMANDS_MAX {
            reply.line(TOO_MANY);
            break;
        }
        if reply.is_too_big() {
            break;
        }
        answer_one(node, session, &memo, &command, &mut reply);
    }
    if reply.finish().is_err() {
        let mut reply = InfoReply::begin(out);
        reply.line(TOO_BIG);
        reply.finish().expect("one line is far below the limit");
    }
}

fn answer_one(
    node: &Node,
    session: &mut Session,
    memo: &Memo<'_>,
    command: &Command<'_>,
    reply: &mut InfoReply<'_>,
) {
    let entry = command.name().and_then(find);
    let mut asked = Asked {
        node,
        session,
        memo,
        command,
    };
    match entry.map_or_else(unrecognized, |entry| (entry.answer)(&mut asked)) {
        Ok(value) => reply.answer(command, value.as_bytes()),
        Err(error) => reply.error(command, &error),
    }
}

fn unrecognized() -> Answer {
    Err(InfoError::new(
        ResultCode::Parameter,
        "unrecognized command",
    ))
}

/// A command's value, or why there is none.
type Answer = Result<Cow<'static, str>, InfoError>;

/// A command that the node knows.
struct Entry {
    name: &'static str,
    answer: fn(&mut Asked<'_>) -> Answer,
}

const fn entry(name: &'static str, answer: fn(&mut Asked<'_>) -> Answer) -> Entry {
    Entry { name, answer }
}

/// Every command there is.
const FAMILIES: [&[Entry]; 18] = [
    cluster::COMMANDS,
    identity::COMMANDS,
    namespaces::COMMANDS,
    roster::COMMANDS,
    sets::COMMANDS,
    statistics::COMMANDS,
    config::COMMANDS,
    set_config::COMMANDS,
    latencies::COMMANDS,
    agents::COMMANDS,
    truncate::COMMANDS,
    sindex::COMMANDS,
    udf::COMMANDS,
    eviction::COMMANDS,
    histograms::COMMANDS,
    jobs::COMMANDS,
    logs::COMMANDS,
    unsupported::COMMANDS,
];

fn find(name: &str) -> Option<&'static Entry> {
    FAMILIES
        .iter()
        .flat_map(|family| family.iter())
        .find(|entry| entry.name == name)
}

/// What one request has found out so far, so that many commands cost one look.
struct Memo<'n> {
    node: &'n Node,
    /// As of the beginning: what is told after it may be of a newer map, never of an older one. A client that
    /// took an older map for one of this generation would not ask again.
    partition_generation: i64,
    /// The same of the other nodes.
    peers_generation: u64,
    figures: Box<[OnceCell<Figures>]>,
    truncations: Cell<u32>,
    agreed: Option<agreed::Agreed>,
}

impl<'n> Memo<'n> {
    fn new(node: &'n Node, agreed: Option<agreed::Agreed>) -> Memo<'n> {
        let figures = node.namespaces.iter().map(|_| OnceCell::new()).collect();
        Memo {
            node,
            partition_generation: cluster::partition_generation(node),
            peers_generation: node.sights.peers_generation(),
            figures,
            truncations: Cell::new(0),
            agreed,
        }
    }

    fn figures(&self, position: usize) -> &Figures {
        self.figures[position].get_or_init(|| Figures::of(self.node, position))
    }
}

/// A command and all that may be looked at to answer it.
struct Asked<'a> {
    node: &'a Node,
    session: &'a mut Session,
    memo: &'a Memo<'a>,
    command: &'a Command<'a>,
}

impl<'a> Asked<'a> {
    fn params(&self) -> Params<'a> {
        self.command.params()
    }

    /// The namespace of this name, its position, and the figures of the moment.
    fn namespace(&self, name: &str) -> Option<(usize, &'a NamespaceState, &'a Figures)> {
        let (position, namespace) = self.node.namespace(name.as_bytes())?;
        Some((position, namespace, self.memo.figures(position)))
    }

    /// Figures of every namespace.
    fn all_figures(&self) -> impl Iterator<Item = &'a Figures> {
        let memo = self.memo;
        (0..self.node.namespaces.len()).map(move |position| memo.figures(position))
    }
}

/// A value that is the same whoever asks.
fn text(value: &'static str) -> Answer {
    Ok(Cow::Borrowed(value))
}

/// A value that was put together.
fn made(value: impl ToString) -> Answer {
    Ok(Cow::Owned(value.to_string()))
}

fn refused(code: ResultCode, message: impl Into<Cow<'static, str>>) -> Answer {
    Err(InfoError::new(code, message))
}

fn no_namespace() -> InfoError {
    InfoError::new(ResultCode::Namespace, "namespace not found on node")
}

/// Joins `key=value` items with `;`, without one at the end.
#[derive(Default)]
struct Pairs(String);

impl Pairs {
    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        use std::fmt::Write as _;
        let separator = if self.0.is_empty() { "" } else { ";" };
        // Writing to a string does not fail.
        let _ = write!(self.0, "{separator}{key}={value}");
    }

    fn zeros(&mut self, keys: &[&str]) {
        keys.iter().for_each(|key| self.put(key, 0));
    }

    fn answer(self) -> Answer {
        Ok(Cow::Owned(self.0))
    }
}

/// Bytes that a client chose, as text that cannot be taken for a separator or a line's end.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let safe = |letter: char| !letter.is_control() && !matches!(letter, ';' | ':');
    text.chars()
        .map(|letter| if safe(letter) { letter } else { '?' })
        .collect()
}
