//! What all nodes have to agree on before a command that asks for it is answered: truncations, revivals, which
//! secondary indexes there are, and modules of functions.
//!
//! A request is read twice: first for what it asks the cluster to change, which is proposed, then to be answered with what
//! the cluster said.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use karst_cluster::state::{Command, Outcome};
use karst_wire::code::ResultCode;
use karst_wire::info::{InfoError, commands};

use super::truncate::{Scope, marked, unmarked};
use super::{Asked, COMMANDS_MAX, Memo, Session, TRUNCATIONS_MAX, find, roster, sindex, udf};
use crate::node::{Node, now};

/// How long an answer waits for this node to do what the cluster has agreed on.
const IN_FORCE_MAX: Duration = Duration::from_millis(400);

/// Whether a command of this name is answered once the cluster has agreed to what it asks for.
pub(super) fn is_needed(name: &str) -> bool {
    let others = [
        "revive",
        "sindex-create",
        "sindex-delete",
        "udf-put",
        "udf-remove",
    ];
    name.starts_with("truncate") || others.contains(&name)
}

/// What the cluster said to the commands of one request.
pub(super) struct Agreed {
    /// The moment that the request means by "now".
    at_ms: u64,
    /// One for each, in order.
    outcomes: RefCell<VecDeque<Result<(), InfoError>>>,
}

impl Agreed {
    /// The moment that the request means by "now", in ms since 2010.
    pub(super) fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

/// What the cluster said to this command, which is the next of those that it was asked.
pub(super) fn next(asked: &Asked<'_>) -> Result<(), InfoError> {
    let Some(agreed) = &asked.memo.agreed else {
        return Ok(()); // nobody else has to
    };
    let next = agreed.outcomes.borrow_mut().pop_front();
    next.unwrap_or_else(|| Err(InfoError::new(ResultCode::Unknown, "not agreed on")))
}

/// Has the cluster agree to what a request asks for, as far as it makes sense.
pub(super) async fn agree(node: &Node, body: &[u8]) -> Agreed {
    let agreed = Agreed {
        at_ms: now().epoch_ms(),
        outcomes: RefCell::default(),
    };
    for change in changes(node, body, agreed.at_ms) {
        let mut outcome = Ok(());
        for command in change {
            outcome = outcome.and(propose(node, command).await);
        }
        agreed.outcomes.borrow_mut().push_back(outcome);
    }
    agreed
}

async fn propose(node: &Node, command: Command) -> Result<(), InfoError> {
    if let Command::PutModule(module) = &command {
        udf::check(node, module).await?;
    }
    let wanted = command.clone();
    match node.cluster.propose(command).await {
        Ok(Outcome::Applied) => {
            sindex_in_force(node, &wanted).await;
            Ok(())
        }
        Ok(Outcome::Refused(why)) => Err(InfoError::new(sindex::refusal(&why), why)),
        Err(error) => Err(InfoError::new(ResultCode::Timeout, error.to_string())),
    }
}

/// Waits until an index that the cluster has agreed on is there, or gone, at this node too: who has it made asks
/// for it next.
async fn sindex_in_force(node: &Node, command: &Command) {
    let mut changes = node.sights.changes();
    let is_there = |namespace: &str, name: &str| {
        let sight = node.sights.now();
        sight.state.sindexes_of(namespace).any(|it| it.name == name)
    };
    let is_done = || match command {
        Command::CreateSindex(it) => is_there(&it.namespace, &it.name),
        Command::DropSindex { namespace, name } => !is_there(namespace, name),
        _ => true,
    };
    let waiting = async { while !is_done() && changes.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(IN_FORCE_MAX, waiting).await;
}

/// What each command of a request asks the cluster to change, as far as it is well formed.
fn changes(node: &Node, body: &[u8], at_ms: u64) -> Vec<Vec<Command>> {
    let (memo, mut session) = (Memo::new(node, None), Session::default());
    let mut changes = Vec::new();
    for command in commands(body).take(COMMANDS_MAX) {
        let mut asked = Asked {
            node,
            session: &mut session,
            memo: &memo,
            command: &command,
        };
        let one = |change: Result<Command, InfoError>| change.map(|change| vec![change]);
        let name = command.name().and_then(find).map(|entry| entry.name);
        let change = match name {
            Some("truncate") => one(marked(&mut asked, Scope::Set, at_ms)),
            Some("truncate-namespace") => one(marked(&mut asked, Scope::Namespace, at_ms)),
            Some("truncate-undo") => one(unmarked(&mut asked, Scope::Set)),
            Some("truncate-namespace-undo") => one(unmarked(&mut asked, Scope::Namespace)),
            Some("sindex-create") => one(sindex::created(&asked)),
            Some("sindex-delete") => one(sindex::dropped(&asked)),
            Some("udf-put") => one(udf::put(&asked)),
            Some("udf-remove") => one(udf::removed(&asked)),
            Some("revive") => roster::revivals(&asked),
            Some(_) | None => continue,
        };
        changes.extend(change);
    }
    changes.truncate(TRUNCATIONS_MAX as usize);
    changes
}
