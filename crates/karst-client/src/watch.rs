//! The watch on one node: a connection of its own on which Karst's servers answer when their map changes.
//!
//! `karst-map-watch` is sent with the generations the node named last, and answered when they are others,
//! or at a timeout. Either way the tend task only learns *that* there is news, and asks. A server that does
//! not know the command is left to be polled. A connection that ends is news too: the node may be gone. It
//! is opened again, with growing pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karst_wire::response::info_error;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::pool::Node;
use crate::pool::exclusive::Exclusive;

/// News that may wait for the tend task. More is dropped: it asks everybody once an interval.
pub(crate) const PUSHES_MAX: usize = 256;

/// How long a node may wait before it answers that there is no news. Bounds how long a connection that
/// broke without a word goes unnoticed.
const WAIT: Duration = Duration::from_secs(20);

/// How long after that the answer may take.
const GRACE: Duration = Duration::from_secs(5);

/// Longest time to open the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// First pause before a connection is opened again; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a watch tells the tend task of the node of this name.
#[derive(Debug)]
pub(crate) enum Push {
    /// Its generations have changed.
    News(String),
    /// Its connection ended.
    Lost(String),
}

/// A running watch. Ends when dropped.
pub(crate) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    /// Begins to watch a node.
    pub(crate) fn start(node: Arc<Node>, pushes: mpsc::Sender<Push>) -> Watch {
        Watch(tokio::spawn(watch(node, pushes)).abort_handle())
    }
}

/// Watches until the server is found not to know how.
async fn watch(node: Arc<Node>, pushes: mpsc::Sender<Push>) {
    let mut pause = PAUSE_FIRST;
    loop {
        let connect = Exclusive::connect(node.address());
        if let Ok(Ok(connection)) = timeout(CONNECT_TIMEOUT, connect).await {
            let opened = Instant::now();
            if follow(&node, connection, &pushes).await == Ended::Unknown {
                return;
            }
            if opened.elapsed() > PAUSE_MAX {
                pause = PAUSE_FIRST;
            }
            // A full queue is read soon, and the next interval asks everybody.
            let _ = pushes.try_send(Push::Lost(node.name().to_owned()));
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[derive(PartialEq, Eq)]
enum Ended {
    /// The server does not know the command.
    Unknown,
    /// The connection did.
    Connection,
}

/// Asks for news again and again on one connection.
async fn follow(node: &Node, mut connection: Exclusive, pushes: &mpsc::Sender<Push>) -> Ended {
    let mut told = String::new();
    loop {
        let deadline = Instant::now() + WAIT + GRACE;
        let command = format!("karst-map-watch:{told};timeout={}", WAIT.as_millis());
        let news = match connection.info(&[&command], deadline).await {
            Ok(mut values) => values.remove(0),
            Err(_) => return Ended::Connection,
        };
        if info_error(&news).is_some() || news.is_empty() {
            return Ended::Unknown;
        }
        if news != told {
            told = news;
            let _ = pushes.try_send(Push::News(node.name().to_owned()));
        }
    }
}
