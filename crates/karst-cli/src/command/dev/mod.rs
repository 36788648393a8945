//! `karst dev`: a node of one's own, in the foreground, gone when it ends.
//!
//! The node is an ordinary `karstd` with a configuration written for it: free ports of the loopback
//! address, a file for a device. It runs in a process group of its own, so that Ctrl-C reaches this
//! process alone, which then stops the node in order and waits for it.
//!
//! Without `--dir` everything lies in a temporary folder that is removed at the end, on success and
//! on failure. With `--dir` the data stays, and the next run finds it.

mod node;

use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Dev, Mode};
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
    refuse_what_is_not_here(args)?;
    let karstd = karstd::find()?;
    let folder = Folder::open(args.dir.as_deref())?;
    // Signals are caught from here on: from now on there is something to clean up.
    let mut stop = Stop::new()?;
    let mut node = Node::start(&karstd, folder.path(), args, Ports::free()?)?;
    let outcome = tokio::select! {
        ready = node.ready() => match ready {
            Ok(()) => serve(json, args, folder.path(), &mut node, &mut stop).await,
            Err(failure) => Err(failure),
        },
        () = stop.asked() => Ok(()),
    };
    let stopped = node.stop().await;
    outcome.and(stopped)
}

/// Announces the node and stays until asked to stop, or until it ends by itself.
async fn serve(json: bool, args: &Dev, folder: &Path, node: &mut Node, stop: &mut Stop) -> Outcome {
    announce(json, args, folder, node)?;
    tokio::select! {
        failure = node.ended() => Err(failure),
        () = stop.asked() => {
            eprintln!("karst: stopping");
            Ok(())
        }
    }
}

fn refuse_what_is_not_here(args: &Dev) -> Outcome {
    if args.nodes > 1 {
        return Err(Failure::usage(format!(
            "--nodes {}: clusters of several nodes are not in this version; run one",
            args.nodes
        )));
    }
    if args.mode == Mode::Cp {
        return Err(Failure::usage(
            "--mode cp is not in this version: strong consistency arrives with clustering",
        ));
    }
    Ok(())
}

fn announce(json: bool, args: &Dev, folder: &Path, node: &Node) -> Outcome {
    let ports = &node.ports;
    let at = |port: u16| format!("127.0.0.1:{port}");
    let ready = Ready {
        dir: folder,
        namespace: &args.namespace,
        nodes: vec![ReadyNode {
            name: node.name.clone(),
            service: at(ports.service),
            admin: at(ports.admin),
            http: at(ports.http),
            pid: node.pid,
        }],
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
    lines.push(format!("try: karst --host {} status", at(ports.admin)));
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

    fn args(nodes: u8, mode: Mode) -> Dev {
        Dev {
            nodes,
            mode,
            dir: None,
            namespace: "test".into(),
            device_size: "64MiB".into(),
        }
    }

    #[test]
    fn what_this_version_does_not_have_is_refused_as_bad_usage() {
        assert!(refuse_what_is_not_here(&args(1, Mode::Ap)).is_ok());
        let cp = refuse_what_is_not_here(&args(1, Mode::Cp)).unwrap_err();
        assert_eq!(cp.exit_code(), 2);
        assert!(cp.message().unwrap().contains("arrives with clustering"));
        let three = refuse_what_is_not_here(&args(3, Mode::Ap)).unwrap_err();
        assert_eq!(three.exit_code(), 2);
    }

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
