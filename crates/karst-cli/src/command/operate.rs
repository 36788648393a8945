//! `drain`, `remove`: who is to leave the cluster.

use std::time::{Duration, Instant};

use karst_proto::admin::{self as proto, NodeState};

use crate::admin::Admin;
use crate::args::Drain;
use crate::failure::{Failure, Outcome};
use crate::render::{human, output, progress};
use crate::view::{Drained, Removed};

/// Pause between two looks at how much is left.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Time between two lines of progress where there is no bar.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// `karst drain`
pub(super) async fn drain(host: &str, json: bool, args: &Drain) -> Outcome {
    let mut admin = Admin::connect(host).await?;
    let started = Instant::now();
    let mut node = admin.drain(&args.node, args.undo).await?;
    if args.wait {
        node = wait(&mut admin, node, args.timeout, started).await?;
    }
    let drained = Drained {
        partitions_left: left(&node),
        node: node.name,
        id: node.id,
        draining: node.draining,
        seconds: started.elapsed().as_secs_f64(),
    };
    match json {
        true => output::json(&drained),
        false => output::line(&said(&drained)),
    }
}

/// What the node still holds, or may hold alone.
fn left(node: &proto::Node) -> u64 {
    node.partitions_primary
        + node.partitions_replica
        + node.partitions_joining
        + node.partitions_apart
}

fn said(drained: &Drained) -> String {
    let Drained {
        node,
        partitions_left,
        ..
    } = drained;
    match (drained.draining, partitions_left) {
        (false, _) => format!("{node} stays: it is given partitions again"),
        (true, 0) => format!("{node} holds nothing any more and can be stopped"),
        (true, left) => format!(
            "{node} is draining, {} left; `karst drain {node} --wait` waits for it",
            human::plural(*left, "partition")
        ),
    }
}

/// Waits until a node holds nothing, and says how far it is.
async fn wait(
    admin: &mut Admin,
    mut node: proto::Node,
    limit: Option<Duration>,
    started: Instant,
) -> Outcome<proto::Node> {
    let (id, total) = (node.id.clone(), left(&node));
    let bar = progress::of_count(total);
    let mut said = Instant::now();
    while left(&node) > 0 {
        stands(&node)?;
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            bar.abandon();
            return Err(Failure::failed(format!(
                "{} left on {} after {:.1} s; it goes on draining",
                human::plural(left(&node), "partition"),
                node.name,
                started.elapsed().as_secs_f64()
            )));
        }
        bar.set_position(total.saturating_sub(left(&node)));
        if bar.is_hidden() && said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            eprintln!("karst: {}", so_far(&node, total, started.elapsed()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let nodes = admin.nodes().await?;
        let found = nodes.into_iter().find(|it| it.id == id);
        let removed = || Failure::failed(format!("{} was removed meanwhile", node.name));
        node = found.ok_or_else(removed)?;
    }
    stands(&node)?;
    bar.finish_and_clear();
    Ok(node)
}

/// Whether it makes sense to wait for the node.
fn stands(node: &proto::Node) -> Outcome {
    let name = &node.name;
    if !node.draining {
        return Err(Failure::failed(format!("{name} is not to drain any more")));
    }
    match node.state() {
        NodeState::Unreachable => Err(Failure::failed(format!(
            "{name} is unreachable: others serve what they hold of its partitions, and merge the rest when it is back"
        ))),
        _ => Ok(()),
    }
}

/// How many are left, and until when at the present rate.
fn so_far(node: &proto::Node, total: u64, elapsed: Duration) -> String {
    let left = left(node);
    let done = total.saturating_sub(left);
    let eta = match done {
        0 => "-".to_owned(),
        done => human::seconds((elapsed.as_secs_f64() * left as f64 / done as f64).ceil() as u64),
    };
    let all = human::plural(total, "partition");
    format!(
        "{}: {} of {all} left, eta {eta}",
        node.name,
        human::count(left)
    )
}

/// `karst remove`
pub(super) async fn remove(host: &str, json: bool, node: &str) -> Outcome {
    let removed = Admin::connect(host).await?.remove(node).await?;
    let removed = Removed {
        node: removed.name,
        id: removed.id,
    };
    match json {
        true => output::json(&removed),
        false => output::line(&format!(
            "{} ({}) is no member any more; should it start again, it joins as a new node",
            removed.node, removed.id
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_much_is_left_and_how_long_that_takes() {
        let mut node = proto::Node {
            name: "n1".into(),
            partitions_primary: 30,
            partitions_replica: 20,
            ..Default::default()
        };
        let said = so_far(&node, 200, Duration::from_secs(9));
        assert_eq!(said, "n1: 50 of 200 partitions left, eta 3s");
        let said = so_far(&node, 50, Duration::from_secs(9));
        assert_eq!(said, "n1: 50 of 50 partitions left, eta -");
        node.draining = true;
        assert!(stands(&node).is_ok());
        node.set_state(NodeState::Unreachable);
        assert!(stands(&node).is_err());
    }
}
