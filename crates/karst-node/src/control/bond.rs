//! Which cluster this node belongs to, or has given its word to.
//!
//! ```text
//! none -> word given, may be taken back while the log is empty -> kept: the log has been begun, for good
//! ```
//!
//! Invariants
//!   no message of the group is taken but of the one cluster
//!   a word is durable before it is given; while it is changed, this node belongs to none

use std::fmt;
use std::io;

use karst_cluster::formation::{Word, may_give};
use karst_cluster::node::ClusterId;
use karst_io::clock;
use parking_lot::Mutex;

use super::store::Store;

/// See [the module](self).
pub(crate) struct Bond {
    given: Mutex<Option<Given>>,
    /// Held while the word is changed.
    changing: tokio::sync::Mutex<Store>,
}

#[derive(Clone, Copy)]
struct Given {
    cluster: ClusterId,
    since_us: u64,
    kept: bool,
}

/// Another cluster asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// Where this node belongs.
    pub(crate) mine: Option<ClusterId>,
    /// Who asked.
    pub(crate) asked: ClusterId,
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.asked;
        match self.mine {
            Some(mine) => write!(f, "this node belongs to cluster {mine}, not to {asked}"),
            None => write!(f, "this node is in no cluster yet, so not in {asked}"),
        }
    }
}

impl Bond {
    /// A node that has given its word before, or not; `kept` if its log is begun.
    pub(crate) fn new(cluster: Option<ClusterId>, kept: bool, store: Store) -> Bond {
        let given = cluster.map(|cluster| Given {
            cluster,
            since_us: clock::boot_us(),
            kept,
        });
        Bond {
            given: Mutex::new(given),
            changing: tokio::sync::Mutex::new(store),
        }
    }

    /// The cluster that it belongs to.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.given.lock().map(|given| given.cluster)
    }

    /// Keeps its word: the log is about to be written by this cluster.
    ///
    /// # Errors
    /// When its word was given to another one, or to none.
    pub(crate) fn keep(&self, asked: ClusterId) -> Result<(), Elsewhere> {
        let mut given = self.given.lock();
        match given.as_mut().filter(|given| given.cluster == asked) {
            Some(given) => {
                given.kept = true;
                Ok(())
            }
            None => Err(Elsewhere {
                mine: given.map(|given| given.cluster),
                asked,
            }),
        }
    }

    /// Gives its word to a cluster.
    ///
    /// # Errors
    /// When another one has it; inside, when it cannot be made durable.
    pub(crate) async fn give(&self, asked: ClusterId) -> io::Result<Result<(), Elsewhere>> {
        let store = self.changing.lock().await;
        if let Err(elsewhere) = self.withdraw(asked) {
            return Ok(Err(elsewhere));
        }
        store.set_cluster(asked).await?;
        let mut given = self.given.lock();
        given.get_or_insert(Given {
            cluster: asked,
            since_us: clock::boot_us(),
            kept: false,
        });
        Ok(Ok(()))
    }

    /// Takes back a word to another cluster, if it may be.
    fn withdraw(&self, asked: ClusterId) -> Result<(), Elsewhere> {
        let mut given = self.given.lock();
        let word = given.map(|given| Word {
            cluster: given.cluster,
            age_ms: clock::boot_us().saturating_sub(given.since_us) / 1000,
            kept: given.kept,
        });
        if !may_give(word, asked) {
            return Err(Elsewhere {
                mine: word.map(|word| word.cluster),
                asked,
            });
        }
        if word.is_some_and(|word| word.cluster != asked) {
            *given = None;
        }
        Ok(())
    }
}
