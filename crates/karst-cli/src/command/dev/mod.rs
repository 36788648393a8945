//! `karst dev`: a cluster of one's own, in the foreground, gone when it ends.
//!
//! Each node is an ordinary `karstd` with a configuration written for it: free ports of the loopback
//! address, a file for a device. They run in process groups of their own, so that Ctrl-C reaches this
//! process alone, which then stops the nodes in order and waits for them.
//!
//! Without `--dir` everything lies in a temporary folder that is removed at the end, on success and
//! on failure. With `--dir` the data stays, and the next run finds it.

mod node;

use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Dev;
use crate::failure::{Failure, Outcome};
use crate::karstd;
use crate::render::output;
use node::{Node, Ports};

/// What is printed once everything serves.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    dir: &'a Path,
    namespace: &'a str,
    nodes: Vec<ReadyNode>,
}

#[derive(Debug, Serialize)]
struct ReadyNode {
    name: String,
    service: String,
    admin: String,
    http: String,
    pid: u32,
}

/// `karst dev`
pub(super) async fn run(json: bool, args: &Dev) -> Outcome {
    let karstd = karstd::find()?;
    let folder = Folder::open(args.dir.as_deref())?;
    // Signals are caught from here on: from now on there is something to clean up.
    let mut stop = Stop::new()?;
    let mut nodes = start_all(&karstd, folder.path(), args)?;
    let outcome = tokio::select! {
        ready = all_ready(&mut nodes) => match ready {
            Ok(()) => serve(json, args, folder.path(), &mut nodes, &mut stop).await,
            Err(failure) => Err(failure),
        },
        () = stop.asked() => Ok(()),
    };
    let stopped = join_all(nodes.into_iter().map(Node::stop)).await;
    stopped.into_iter().fold(outcome, Outcome::and)
}

fn start_all(karstd: &Path, folder: &Path, args: &Dev) -> Outcome<Vec<Node>> {
    let ports = Ports::free(args.nodes.into())?;
    let seeds: Vec<u16> = ports.iter().map(|ports| ports.admin).collect();
    let start = |(at, ports)| Node::start(karstd, folder, args, at + 1, ports, &seeds);
    ports.into_iter().enumerate().map(start).collect()
}

async fn all_ready(nodes: &mut [Node]) -> Outcome {
    let ready = join_all(nodes.iter_mut().map(Node::ready)).await;
    ready.into_iter().collect()
}

/// Announces the nodes and stays until asked to stop, or until the last of them has ended by itself. The
/// others go on without one that does: that is what a cluster is for, and may be what is tried out.
async fn serve(
    json: bool,
    args: &Dev,
    folder: &Path,
    nodes: &mut [Node],
    stop: &mut Stop,
) -> Outcome {
    announce(json, args, folder, nodes)?;
    let mut running: FuturesUnordered<_> = nodes.iter_mut().map(Node::ended).collect();
    loop {
        tokio::select! {
            Some(failure) = running.next() => match running.is_empty() {
                true => return Err(failure),
                false => eprintln!("karst: {}", failure.message().unwrap_or_default()),
            },
            () = stop.asked() => {
                eprintln!("karst: stopping");
                return Ok(());
            }
        }
    }
}

fn announce(json: bool, args: &Dev, folder: &Path, nodes: &[Node]) -> Outcome {
    let at = |port: u16| format!("127.0.0.1:{port}");
    let ready_node = |node: &Node| ReadyNode {
        name: node.name.clone(),
        service: at(node.ports.service),
        admin: at(node.ports.admin),
        http: at(node.ports.http),
        pid: node.pid,
    };
    let ready = Ready {
        dir: folder,
        namespace: &args.namespace,
        nodes: nodes.iter().map(ready_node).collect(),
    };
    if json {
        return output::json_line(&ready);
    }
    let mut lines = vec![format!(
        "namespace {} in {}",
        args.namespace,
        folder.display()
    )];
    for node in &ready.nodes {
        lines.push(format!(
            "{}: clients {}   admin {}   http://{}",
            node.name, node.service, node.admin, node.http
        ));
    }
    if let Some(first) = ready.nodes.first() {
        lines.push(format!("try: karst --host {} status", first.admin));
    }
    lines.push("stop with Ctrl-C".to_owned());
    output::line(&lines.join("\n"))
}

/// Where everything lies.
enum Folder {
    /// The person's own; stays.
    Theirs(PathBuf),
    /// Removed when dropped.
    Ours(TempDir),
}

impl Folder {
    fn open(dir: Option<&Path>) -> Outcome<Folder> {
        let refuse = |what: &dyn std::fmt::Display| Failure::failed(format!("--dir: {what}"));
        match dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(|error| refuse(&error))?;
                let full = dir.canonicalize().map_err(|error| refuse(&error))?;
                Ok(Folder::Theirs(full))
            }
            None => tempfile::Builder::new()
                .prefix("karst-dev-")
                .tempdir()
                .map(Folder::Ours)
                .map_err(|error| Failure::failed(format!("temporary folder: {error}"))),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Folder::Theirs(path) => path,
            Folder::Ours(folder) => folder.path(),
        }
    }
}

/// Ctrl-C, SIGTERM, or a terminal that was closed.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    fn new() -> Outcome<Stop> {
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::failed)?,
            terminate: signal(SignalKind::terminate()).map_err(Failure::failed)?,
            hangup: signal(SignalKind::hangup()).map_err(Failure::failed)?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_folder_goes_and_theirs_stays() {
        let ours = Folder::open(None).unwrap();
        let path = ours.path().to_owned();
        assert!(path.is_dir());
        drop(ours);
        assert!(!path.exists());

        let parent = tempfile::tempdir().unwrap();
        let theirs = parent.path().join("deep/er");
        drop(Folder::open(Some(&theirs)).unwrap());
        assert!(theirs.is_dir());
    }
}
