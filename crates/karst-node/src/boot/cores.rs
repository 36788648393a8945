//! Starting and stopping the data cores.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use karst_io::device::Device;
use karst_io::{Queue, QueueChoice, QueueKind};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::{BootError, QUEUE_DEPTH, all_devices};
use crate::client_port::{self, HAND_OVER_MAX};
use crate::core::disk::Disk;
use crate::core::{Core, upkeep};
use crate::fabric_port::{door, fill, let_go, pace, peer};
use crate::node::Node;

/// How long a core that stops waits for its devices to take what it holds.
const FLUSH_PATIENCE: Duration = Duration::from_secs(30);

/// The running data cores.
pub(super) struct Cores {
    /// Where each takes new connections.
    pub(super) connections: Vec<mpsc::Sender<std::net::TcpStream>>,
    /// Where each takes new connections of other nodes.
    pub(super) links: Vec<mpsc::Sender<std::net::TcpStream>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// What a core's thread is started with.
struct Start {
    node: Arc<Node>,
    number: u16,
    queue: QueueKind,
    given: mpsc::Receiver<std::net::TcpStream>,
    linked: mpsc::Receiver<std::net::TcpStream>,
    stopped: watch::Receiver<bool>,
}

/// Starts every data core.
///
/// # Errors
/// When a thread cannot be had. A core that fails later ends the process: its connections and lanes
/// would be stuck for good.
pub(super) fn start(
    node: &Arc<Node>,
    queue: QueueKind,
    stopped: watch::Receiver<bool>,
) -> Result<Cores, BootError> {
    let mut cores = Cores {
        connections: Vec::new(),
        links: Vec::new(),
        threads: Vec::new(),
    };
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    for number in 0..node.cores.len() as u16 {
        let (give, given) = mpsc::channel(HAND_OVER_MAX);
        let (link, linked) = mpsc::channel(door::HAND_OVER_MAX);
        let start = Start {
            node: node.clone(),
            number,
            queue,
            given,
            linked,
            stopped: stopped.clone(),
        };
        // Pinned only when there is a CPU for each, so that nodes sharing a machine do not crowd one.
        let cpu = cpus
            .get(usize::from(number))
            .filter(|_| node.cores.len() == cpus.len())
            .copied();
        let thread = std::thread::Builder::new()
            .name(format!("core-{number}"))
            .spawn(move || {
                cpu.map(core_affinity::set_for_current);
                run(start).inspect_err(|error| {
                    tracing::error!(number, %error, "a data core failed");
                    std::process::exit(1);
                })
            })
            .map_err(BootError::Cores)?;
        cores.connections.push(give);
        cores.links.push(link);
        cores.threads.push(thread);
    }
    Ok(cores)
}

impl Cores {
    /// Waits until every core has stopped.
    pub(super) async fn join(self) -> io::Result<()> {
        drop((self.connections, self.links));
        for thread in self.threads {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            joined
                .map_err(io::Error::other)?
                .map_err(|_| io::Error::other("a core panicked"))??;
        }
        Ok(())
    }
}

fn run(start: Start) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(61)
        .build_local(LocalOptions::default())?;
    runtime.block_on(serve(start))
}

async fn serve(start: Start) -> io::Result<()> {
    let Start {
        node,
        number,
        queue,
        given,
        linked,
        mut stopped,
    } = start;
    let devices: Vec<Arc<Device>> = all_devices(
        node.namespaces
            .iter()
            .flat_map(|namespace| namespace.devices.iter().chain(&namespace.cached)),
    );
    let choice = match queue {
        QueueKind::Ring => QueueChoice::Ring,
        QueueKind::Threads => QueueChoice::Threads,
    };
    let (queue, _) = Queue::probe(choice, QUEUE_DEPTH, &devices)?;
    let disk = Disk::new(queue)?;
    let core = Core::new(node, number, disk.clone());
    let reaping = tokio::task::spawn_local(disk.clone().reap());
    tokio::task::spawn_local(disk.submit());
    tokio::task::spawn_local(core.clone().send_writes());
    upkeep::start(&core);
    tokio::task::spawn_local(peer::follow_members(core.clone()));
    if number == 0 {
        tokio::task::spawn_local(peer::listen(core.clone()));
        tokio::task::spawn_local(let_go::let_go(core.clone()));
    }
    tokio::task::spawn_local(fill::keep_filled(core.clone()));
    tokio::task::spawn_local(pace::adapt(core.clone()));
    let fabric = tokio::task::spawn_local(door::serve(core.clone(), linked));
    let serving = tokio::task::spawn_local(client_port::serve(core.clone(), given));
    tokio::select! {
        reaped = reaping => return reaped.map_err(io::Error::other)?,
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    // What is flushed below has to hold every write that a client has an answer to.
    serving.abort();
    fabric.abort();
    let _ = serving.await;
    let _ = fabric.await;
    if tokio::time::timeout(FLUSH_PATIENCE, flush_all(&core))
        .await
        .is_err()
    {
        tracing::error!(
            number,
            "devices did not take everything in time; the rest is lost"
        );
    }
    Ok(())
}

/// Sends everything that this core's lanes hold to the devices and waits for it.
async fn flush_all(core: &Rc<Core>) {
    for index in 0..core.node.namespaces.len() {
        core.flush(index, u64::MAX);
        core.send(index);
        core.idle(index).await;
    }
}
