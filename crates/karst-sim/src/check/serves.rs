//! Everything comes to rest, and serves.

use karst_data::key::PartitionId;
use karst_engine::floor::Floor;

use super::Violation;
use crate::cluster::World;
use crate::cluster::control::NAMESPACE;
use crate::cluster::node::Mode;

/// How long a write may take when all is settled.
const WRITE_US: u64 = 2_000_000;

impl World {
    /// Who is to hold a partition, by position, the primary first; `None` if nobody does.
    pub(crate) fn row(&self, id: PartitionId) -> Option<Vec<usize>> {
        let map = self.control.newest().maps.get(NAMESPACE)?;
        let row = map.partition(id).in_sync.iter();
        let row: Vec<usize> = row.map(|node| self.position(*node)).collect();
        (!row.is_empty()).then_some(row)
    }

    /// Who takes the writes of a partition.
    pub(crate) fn primary(&self, id: PartitionId) -> Option<usize> {
        self.row(id)?.first().copied()
    }
}

/// What keeps the map from being whole: every node is alive and where it should be, and everything is on as many
/// nodes as it should be. `None` if nothing does.
pub fn is_whole(world: &World) -> Option<String> {
    let state = world.control.newest();
    for (node, it) in world.nodes.iter().enumerate() {
        if !it.acts() || it.leaving {
            return Some(format!("n{node} does not run, or is about to end"));
        }
        let Some(member) = state.nodes.get(&it.id) else {
            return Some(format!("n{node} is not a member"));
        };
        if !member.alive || member.stopping || member.facts.incarnation != it.life {
            return Some(format!("n{node} does not count as alive"));
        }
        if it.mode != Mode::Following {
            return Some(format!("n{node} is {:?}", it.mode));
        }
        if it.state.generation != state.generation || it.putting {
            return Some(format!("n{node} goes by an older map"));
        }
        if !it.repairs.is_empty() || !it.running_tasks.is_empty() {
            return Some(format!("n{node} compares"));
        }
    }
    let takers = state.nodes.values().filter(|it| !it.draining).count();
    let copies = takers.min(world.setup.replication_factor.into());
    let map = state.maps.get(NAMESPACE)?;
    for (at, ownership) in map.partitions.iter().enumerate() {
        let wanting = copies > 0 && ownership.row.len() != copies;
        if wanting || !ownership.is_settled() || !ownership.apart.is_empty() {
            return Some(format!("partition {at} is not settled: {ownership:?}"));
        }
    }
    None
}

/// What is still to be done; `None` if nothing is.
pub fn unsettled(world: &World) -> Option<String> {
    if let Some(wanting) = is_whole(world) {
        return Some(wanting);
    }
    if let Some((from, to)) = world.net.down(world.nodes.len()) {
        return Some(format!("n{from} has no link to n{to}"));
    }
    let leaving = |node: usize| {
        let mut ids = world.partitions();
        ids.find(|id| world.nodes[node].engine.floor(*id) == Some(Floor::Leaving))
    };
    for (node, it) in world.nodes.iter().enumerate() {
        if !it.writes.is_empty() {
            return Some(format!("n{node} has writes on their way"));
        }
        if !it.tasks.is_empty() {
            return Some(format!("n{node} has something to compare"));
        }
        if leaving(node).is_some() {
            return Some(format!("n{node} lets go of something"));
        }
    }
    let busy = |client: &crate::cluster::client::Client| !client.is_idle();
    if !world.asked && world.clients.iter().any(busy) {
        return Some("a client waits".into());
    }
    let unserved_strong = world.partitions().find_map(|id| wanting(world, id));
    if unserved_strong.is_some() {
        return unserved_strong;
    }
    let unserved = world.partitions().find(|id| world.primary(*id).is_none());
    unserved.map(|id| format!("{id} is served by nobody"))
}

/// What keeps a strongly consistent partition from being served by all of its row.
fn wanting(world: &World, id: PartitionId) -> Option<String> {
    if !world.setup.is_strong() {
        return None;
    }
    let primary = world.primary(id)?;
    let stage = world.nodes[primary].engine.stage(id);
    let mut others = world.row(id)?.into_iter().skip(1);
    let lacks = |node: usize| !stage.holders.contains(&world.nodes[node].id);
    let lacking = others.find(|node| lacks(*node));
    if let Some(lacking) = lacking {
        return Some(format!("n{lacking} may not hold all of {id}"));
    }
    (!stage.serves).then(|| format!("n{primary} does not serve {id}"))
}

/// When all is settled each partition takes a write, wherever it is asked for.
///
/// # Errors
/// When one does not.
pub fn every_partition_takes_a_write(world: &mut World) -> Result<(), Violation> {
    for client in 0..world.clients.len() {
        world.probe(client);
    }
    world.run_for(WRITE_US)?;
    for (number, client) in world.clients.iter().enumerate() {
        if !client.probed() {
            let what = format!("a settled cluster does not carry out a write of c{number}");
            return Err(Violation::new("serves", what));
        }
    }
    Ok(())
}
