//! A request becomes a result: where index, log and operations meet.
//!
//! Everything here decides and nothing acts: a request comes in with the time, an answer or a device
//! operation comes out. No clock, socket, file or thread is touched, so the same code runs in a node
//! and in a simulation. Nothing here knows how a client spells its requests.

pub mod checkpoint;
pub mod damage;
pub mod error;
pub mod evict;
pub mod fingerprint;
pub mod floor;
pub mod iterate;
pub mod life;
mod look;
pub mod migrate;
pub mod namespace;
pub mod read;
pub mod reconcile;
pub mod recover;
mod refill;
pub mod replica;
pub mod scrub;
pub mod seen;
pub mod sets;
mod sieve;
pub mod sindex;
pub mod take_over;
pub mod tenure;
pub mod walk;
pub mod write;

pub use error::{Reason, Refusal};
pub use evict::EvictionMark;
pub use life::{Life, SetRules};
pub use namespace::{Fetched, Namespace, NamespaceConfig, NamespaceReport, Step};
