//! Between nodes: a link of every core to every other node, and the door at which theirs arrive.
//!
//! - [`peer`]: one core's link to one node. Requests go out on it, and their replies come back on it, so
//!   to the core that asked.
//! - [`door`]: requests of other nodes, carried out by the core that was handed their connection.
//! - [`copy`]: a write on its way to the nodes that are to have it.
//! - [`flight`]: the same where it has to be confirmed.
//! - [`fill`]: a primary brings who joins to hold what it holds.
//! - [`let_go`]: a node lets go of what others hold.
//! - [`pace`]: how fast, beside what clients ask.
//! - [`lag`]: how far other nodes are behind.
//! - `adopt`: a primary takes over what was written elsewhere.

mod adopt;
pub mod copy;
pub mod door;
pub mod fill;
pub mod flight;
pub mod lag;
pub mod let_go;
pub mod pace;
pub mod peer;
