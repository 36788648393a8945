//! The client against servers that answer late, lie, fall silent, close and move: each test names the
//! promise that would be false if it failed. The servers are fakes on real sockets.

mod fake;

mod batch;
mod cluster;
mod doubt;
mod failure;
mod pipeline;
mod query;
mod raw;
mod scan;

use std::time::Duration;

use fake::Fake;
use karst_client::{Bin, Client, ClientBuilder, Key, RetryPolicy, WritePolicy};

/// A client with one connection to each node and a quick tend task.
async fn client(fake: &Fake) -> Client {
    builder(fake).connect().await.unwrap()
}

fn builder(fake: &Fake) -> ClientBuilder {
    ClientBuilder::new([fake.address.clone()])
        .connections_per_node(1)
        .tend_interval(Duration::from_millis(50))
        .connect_timeout(Duration::from_secs(5))
}

/// A node that owns everything.
async fn lone_fake() -> Fake {
    Fake::start("A", |_| true).await
}

fn key(number: i64) -> Key {
    Key::new("test", "demo", number).unwrap()
}

fn bin(value: i64) -> [Bin; 1] {
    [Bin::new("a", value)]
}

fn short(timeout_ms: u64) -> WritePolicy {
    WritePolicy::default().with_timeout(Duration::from_millis(timeout_ms))
}

fn once() -> WritePolicy {
    WritePolicy::default().with_retry(RetryPolicy::NEVER)
}
