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
//! # Inside records, and many at a time
//!
//! | to | use |
//! |---|---|
//! | change and read lists, maps, bits, sketches | [`list`], [`map`], [`bits`], [`hll`], many elements at once [`path`] |
//! | reach into nested collections | [`Context`] |
//! | filter and compute on the server | [`Expr`], as the `filter` of every policy and in [`Operation::read_expr`] |
//! | work on many records by their keys | [`Client::batch`], rows of [`BatchOp`] |
//! | find records | [`Client::scan`], [`Client::query`] by a [`Lookup`] |
//! | change what is found | [`Client::background_operate`], [`Client::background_execute`] |
//! | make indexes | [`Client::create_index`] |
//! | run Lua functions | [`Client::register_udf`], [`Client::execute`] |
//!
//! ```no_run
//! # use karst_client::*;
//! # async fn example(client: &Client, ada: Key, bob: Key, old: Key) -> karst_client::Result<()> {
//! // Rows of every kind in one batch; a row of its own condition.
//! let rows = vec![
//!     BatchOp::get(ada.clone()).with_filter(Expr::int_bin("visits").gt(0)),
//!     BatchOp::operate(bob, vec![list::append("new").bin("tags"), list::size().bin("tags")]),
//!     BatchOp::execute(ada, Udf::new("counters", "raise").arg("visits")),
//!     BatchOp::delete(old),
//! ];
//! for row in client.batch(&BatchPolicy::default(), rows).await {
//!     println!("{row:?}");
//! }
//!
//! // A page of a query, and later the next one.
//! let adults = Query::new("test", "users").by(Lookup::range("age", 18..));
//! let page = ScanPolicy::default().with_records_max(100);
//! let mut found = client.query(&adults, page.clone())?;
//! while let Some(record) = found.next().await {
//!     println!("{}", record?.key);
//! }
//! let cursor = ScanCursor::from_bytes(&found.cursor().to_bytes())?;
//! let mut more = client.query_from(&adults, page, cursor)?;
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
//! `command` the calls · `operation` single steps · `call` what `list` `map` `bits` `hll` `path` make ·
//! `context` paths · `expr` expressions · `query` what to look for · `udf` · `admin` indexes and modules ·
//! `policy` · `retry` what may be tried again · `hedge` when to ask a second
//! replica · `error` · `raw` the surface for load generators.

#![expect(
    clippy::disallowed_methods,
    reason = "deadlines and the jitter of retries are real here"
)]

mod admin;
pub mod bits;
mod call;
mod client;
mod cluster;
mod command;
mod context;
mod error;
pub mod expr;
mod flags;
mod hedge;
pub mod hll;
mod key;
pub mod list;
pub mod map;
mod operation;
pub mod path;
mod peers;
mod policy;
mod pool;
mod query;
mod raw;
mod record;
mod retry;
mod route;
mod udf;
mod value;
mod watch;

pub use admin::{Index, IndexInfo, IndexType, Task, UdfModule};
pub use bits::{BitsFlags, NumberFlags, ResizeFlags};
pub use call::{Bound, Call, CallKind, CallPolicy};

pub use client::{CONNECTIONS_PER_NODE_MAX, Client, ClientBuilder, NodeInfo, PIPELINE_DEPTH_MAX};
pub use command::background::BackgroundJob;
pub use command::batch::BatchOp;
pub use command::scan::{Scan, ScanCursor, ScanRecord};
pub use context::Context;
pub use error::{Advice, CloseReason, Error, Result};
pub use expr::{Expr, RegexFlags};
pub use hll::HllFlags;
pub use karst_data::key::{Digest, PartitionId};
pub use karst_wire::code::ResultCode;
pub use key::{Key, UserKey};
pub use list::{ListFlags, ListOrder, ListPolicy, ListReturn, SortFlags};
pub use map::{MapFlags, MapOrder, MapPolicy, MapReturn};
pub use operation::{ExprFlags, Operation};
pub use path::Unknown;
pub use policy::{
    BackgroundPolicy, BatchPolicy, Bins, CommitLevel, Exists, Generation, Hedge, ReadMode,
    ReadPolicy, Replica, RetryPolicy, ScanPolicy, TTL_SECONDS_MAX, Ttl, WritePolicy,
};
pub use query::{Elements, Indexed, Lookup, Query};
pub use raw::{RawConnection, RawKey, RawMap, RawReply};
pub use record::{Bin, Record};
pub use udf::Udf;
pub use value::{BadValue, Value};
