//! Karst's own client: it knows which node owns a key, keeps many requests in flight on few
//! connections, and says of every failure whether the request is safe to send again.
//!
//! It speaks the Aerospike client protocol, so it works with any server that does.
//!
//! ```no_run
//! use karst_client::{Bin, Client, Key, Operation, WritePolicy};
//!
//! # async fn example() -> karst_client::Result<()> {
//! let client = Client::connect("127.0.0.1:3000").await?;
//! let key = Key::new("test", "users", "ada")?;
//!
//! client.put(&key, [Bin::new("name", "Ada"), Bin::new("visits", 1)]).await?;
//! if let Some(record) = client.get(&key).await? {
//!     println!("{:?}, generation {}", record.bin("name"), record.generation);
//! }
//!
//! let steps = [Operation::add("visits", 1), Operation::get("visits")];
//! let counted = client.operate(&WritePolicy::default(), &key, &steps).await?;
//! assert_eq!(counted.unwrap().bin("visits").unwrap().as_int(), Some(2));
//!
//! client.delete(&key).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # When a call fails
//!
//! [`Error::in_doubt`] answers the question that matters for writes: false means that the write was
//! not applied and never will be, true that it may have been. [`Error::advice`] says what helps. The
//! client itself retries within a call, as the policy allows: reads freely, writes only after definite
//! failures, or if [`WritePolicy::idempotent`] says that applied twice is as good as once.
//!
//! ```no_run
//! # use karst_client::{Advice, Bin, Client, Key};
//! # async fn example(client: &Client, key: &Key) -> karst_client::Result<()> {
//! if let Err(error) = client.put(key, [Bin::new("paid", true)]).await {
//!     match error.advice() {
//!         Advice::ReadBeforeRetry => println!("read it first: {error}"),
//!         Advice::GiveUp => return Err(error),
//!         _ => println!("try again later: {error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # When the cluster changes
//!
//! Requests go straight to the node that owns the record. The client learns of every change: Karst's nodes
//! tell it at once, others are asked every second and when a request fails. A retry goes to a replica that
//! has not failed the call yet; nodes that cannot be reached, or cause many errors, are passed over for
//! others. With the default policies a call outlasts the loss of a node as long as its timeout does.
//!
//! # Rooms
//!
//! `client` what users hold · `cluster` the tend task, sole owner of the partition map · `watch` nodes
//! that tell of changes · `route` key to partition to node · `pool` nodes and their connections ·
//! `command` the calls · `policy` · `retry` what may be tried again · `hedge` when to ask a second
//! replica · `error` · `raw` the surface for load generators.

#![expect(
    clippy::disallowed_methods,
    reason = "deadlines and the jitter of retries are real here"
)]

mod client;
mod cluster;
mod command;
mod error;
mod hedge;
mod key;
mod operation;
mod peers;
mod policy;
mod pool;
mod raw;
mod record;
mod retry;
mod route;
mod value;
mod watch;

pub use client::{CONNECTIONS_PER_NODE_MAX, Client, ClientBuilder, NodeInfo, PIPELINE_DEPTH_MAX};
pub use command::batch::BatchOp;
pub use command::scan::{Scan, ScanCursor, ScanRecord};
pub use error::{Advice, CloseReason, Error, Result};
pub use karst_data::key::{Digest, PartitionId};
pub use karst_wire::code::ResultCode;
pub use key::{Key, UserKey};
pub use operation::{CallKind, Operation};
pub use policy::{
    BatchPolicy, Bins, CommitLevel, Exists, Generation, Hedge, ReadMode, ReadPolicy, Replica,
    RetryPolicy, ScanPolicy, TTL_SECONDS_MAX, Ttl, WritePolicy,
};
pub use raw::{RawConnection, RawKey, RawMap, RawReply};
pub use record::{Bin, Record};
pub use value::{BadValue, Value};
