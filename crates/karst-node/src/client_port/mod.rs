//! The client port: accepts connections, hands them to data cores by load, serves them there.

mod aggregate;
mod aside;
mod background;
mod batch;
mod call;
mod connection;
mod link;
mod query;
mod scan;
mod security;
mod single;
mod source;
mod strong;
mod touch;
mod udf;
mod watch;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::core::Core;
use crate::node::Node;

pub(crate) use single::carry_out_for;

/// Accepted connections that may wait for their core.
pub const HAND_OVER_MAX: usize = 1024;

/// Silence after which the kernel asks whether a client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Pause after the system refused to accept: it is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts for as long as it runs and gives each connection to the core that has the fewest.
pub async fn accept(
    node: Arc<Node>,
    listener: TcpListener,
    cores: Vec<mpsc::Sender<std::net::TcpStream>>,
) {
    let mut handed: Vec<u64> = vec![0; cores.len()];
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a client connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let open = |core: usize| {
            let counters = &node.cores[core];
            // Those handed over that the core has not counted yet are on their way to it.
            counters.connections.get() + (handed[core] - counters.connections_opened.get())
        };
        let total: u64 = (0..cores.len()).map(open).sum();
        if total >= u64::from(node.config.service.connections_max) {
            continue; // dropping the stream closes it, which clients know how to read
        }
        let Some(core) = (0..cores.len()).min_by_key(|core| open(*core)) else {
            return;
        };
        if let Ok(stream) = prepare(stream)
            && cores[core].try_send(stream).is_ok()
        {
            handed[core] += 1;
        }
    }
}

/// Sets a socket's options and takes it out of the runtime that accepted it.
fn prepare(stream: TcpStream) -> std::io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(&stream, 2)?;
    Ok(stream)
}

/// Serves the connections that a core is given, each in a task of its own; never returns before the
/// hand-over ends. The connections end with it: once it is aborted no write is acknowledged any more.
pub async fn serve(core: Rc<Core>, mut given: mpsc::Receiver<std::net::TcpStream>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            given = given.recv() => match given {
                Some(stream) => stream,
                None => return,
            },
            Some(_) = connections.join_next() => continue,
        };
        core.counters.connections.add(1);
        core.counters.connections_opened.add(1);
        let core = core.clone();
        connections.spawn_local(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection::Connection::new(core.clone(), stream)
                    .serve()
                    .await;
            }
            core.counters.connections.subtract(1);
        });
    }
}
