//! What concerns the whole cluster: secondary indexes and modules of functions. One node is asked and tells
//! the others; a [`Task`] waits until all have followed.

mod index;
mod module;

pub use index::{Index, IndexInfo, IndexType};
pub use module::UdfModule;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use karst_wire::code::ResultCode;
use tokio::time::sleep;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::retry::deadline;

/// Pauses between two looks at whether all nodes have followed.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// What all nodes are to come to.
#[derive(Clone, Debug)]
enum Goal {
    IndexBuilt { namespace: String, name: String },
    IndexGone { namespace: String, name: String },
    ModuleThere { file: String },
    ModuleGone { file: String },
}

impl Goal {
    /// The info command that tells whether a node has come to it.
    fn question(&self) -> String {
        match self {
            Goal::IndexBuilt { namespace, name } => {
                format!("sindex-stat:namespace={namespace};indexname={name}")
            }
            Goal::IndexGone { namespace, name } => {
                format!("sindex-exists:namespace={namespace};indexname={name}")
            }
            Goal::ModuleThere { .. } | Goal::ModuleGone { .. } => "udf-list".to_owned(),
        }
    }

    /// Whether the node that answered has come to it.
    ///
    /// # Errors
    /// Those of the info command that do not pass.
    fn is_reached(&self, answer: Result<String>) -> Result<bool> {
        let answer = match answer {
            Ok(answer) => answer,
            // A node that has not heard of an index yet says so with an error.
            Err(Error::Info { code, .. }) if code == ResultCode::SindexNotFound.as_u8() => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        Ok(match self {
            Goal::IndexBuilt { .. } => {
                let stats = pairs(&answer, ';');
                stats
                    .get("load_pct")
                    .is_some_and(|percent| percent == "100")
            }
            Goal::IndexGone { .. } => answer == "false",
            Goal::ModuleThere { file } => module::listed(&answer).any(|it| it.file == *file),
            Goal::ModuleGone { file } => module::listed(&answer).all(|it| it.file != *file),
        })
    }
}

/// Something that one node has agreed to and all are to follow. Nothing is lost if nobody waits for it.
#[derive(Clone, Debug)]
pub struct Task {
    client: Client,
    goal: Goal,
}

impl Task {
    /// Whether all nodes have followed.
    ///
    /// # Errors
    /// Those of info commands.
    pub async fn is_done(&self) -> Result<bool> {
        self.behind().await.map(|node| node.is_none())
    }

    /// Waits until all nodes have followed.
    ///
    /// # Errors
    /// [`Error::NotDone`] if it takes longer than this; those of info commands.
    pub async fn wait(&self, timeout: Duration) -> Result<()> {
        let started = Instant::now();
        let deadline = deadline(started, timeout);
        let mut pause = LOOK_FIRST;
        while let Some(node) = self.behind().await? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let after = started.elapsed();
                return Err(Error::NotDone { node, after });
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
        Ok(())
    }

    /// A node that has not followed.
    async fn behind(&self) -> Result<Option<String>> {
        for (node, answer) in self.client.ask_all(&self.goal.question()).await {
            if !self.goal.is_reached(answer)? {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }
}

/// `key=value` pairs of an info answer.
fn pairs(text: &str, separator: char) -> BTreeMap<String, String> {
    let pairs = text
        .split(separator)
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_when_the_node_says_so() {
        let (namespace, name) = ("test".to_owned(), "ix".to_owned());
        let built = Goal::IndexBuilt {
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let reached = |goal: &Goal, text: &str| goal.is_reached(Ok(text.to_owned())).unwrap();
        assert!(!reached(&built, "entries=1;load_pct=99"));
        assert!(reached(&built, "entries=1;load_pct=100;load_time=1"));
        let unheard = Error::Info {
            command: built.question(),
            code: 201,
            message: "no index".into(),
        };
        assert!(!built.is_reached(Err(unheard)).unwrap());
        let gone = Goal::IndexGone { namespace, name };
        assert!(!reached(&gone, "true"));
        assert!(reached(&gone, "false"));
        let list = "filename=a.lua,hash=00,type=LUA;filename=b.lua,hash=11,type=LUA;";
        let there = |file: &str| Goal::ModuleThere { file: file.into() };
        assert!(reached(&there("b.lua"), list));
        assert!(!reached(&there("c.lua"), list));
        let gone = |file: &str| Goal::ModuleGone { file: file.into() };
        assert!(reached(&gone("c.lua"), list));
        assert!(!reached(&gone("a.lua"), list));
        assert!(reached(&gone("a.lua"), ""));
    }
}
