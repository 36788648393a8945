//! Records on their way between nodes, other than a client's write on its way to its followers: what a primary
//! has to do about other nodes, one comparison step by step, and the side that answers.
//!
//! - [`duty`]: which nodes a primary has to compare with now, and what follows when that has ended.
//! - [`compare`]: one comparison of one partition with one node.
//! - [`adopt`]: a write that a comparison, or a former primary, asks of the primary of now.
//! - [`answer`]: what a node answers to who asks it for a partition.
//!
//! All of it decides and nothing waits: whoever drives it carries messages, keeps the time that an answer may
//! take, and reads devices.

pub mod adopt;
pub mod answer;
pub mod compare;
pub mod duty;

use karst_cluster::fabric::Ack;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The map has changed, or the other node has another one: look again.
    Overtaken,
    /// The other node does not answer, or something failed: try again later.
    Later,
}

impl Cut {
    /// Why a request was refused by the other node.
    pub fn of(ack: Ack) -> Cut {
        match ack {
            Ack::Stale | Ack::Misled => Cut::Overtaken,
            Ack::Done | Ack::Early | Ack::Full | Ack::Failed => Cut::Later,
        }
    }
}
