//! What is wrong with strongly consistent namespaces: partitions that nobody can serve, and why; writes that are refused
//! or stay in doubt.

use karst_cluster::map::NamespaceMap;
use karst_cluster::state::ClusterState;
use karst_proto::admin as proto;

use super::{alarm, revive};
use crate::config::Mode;
use crate::node::{NamespaceState, Node, State};

/// All of it, in no order.
pub(super) fn alarms(node: &Node) -> Vec<proto::Alarm> {
    let mut alarms = Vec::new();
    if node.state() == State::Starting {
        return alarms; // it has no map yet
    }
    let sight = node.sights.now();
    for (name, map) in sight.state.maps.iter().filter(|(_, map)| map.strong) {
        alarms.extend(unserved(name, &sight.state));
        if let Some((_, namespace)) = node.namespace(name.as_bytes()) {
            alarms.extend(copies_short(namespace, map));
            alarms.extend(stuck(namespace));
        }
    }
    alarms
}

/// Partitions that nobody serves: those that wait for nodes, and those that wait for an operator.
fn unserved(name: &str, state: &ClusterState) -> Vec<proto::Alarm> {
    let groups = revive::groups(state, name);
    let of = |dead: bool| {
        let groups = groups.iter().filter(move |group| group.dead == dead);
        let partitions: usize = groups.clone().map(|group| group.partitions.len()).sum();
        let mut nodes: Vec<&str> = groups
            .flat_map(|group| if dead { &group.lost } else { &group.away })
            .map(String::as_str)
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        (partitions, nodes.join(" "))
    };
    let critical =
        |text: String| alarm(proto::Severity::Critical, format!("namespace {name}"), text);
    let mut alarms = Vec::new();
    let (dead, lost) = of(true);
    if dead > 0 {
        alarms.push(critical(format!(
            "{dead} partitions are dead: {lost} lost what they had confirmed, and too few others have it; `karst \
             revive {name}` says what may be lost and has them go on with what is left"
        )));
    }
    let (unavailable, away) = of(false);
    if unavailable > 0 {
        let why = match away.is_empty() {
            true => "no node is there that could hold them".to_owned(),
            false => format!("{away} away, who know what was confirmed"),
        };
        alarms.push(critical(format!(
            "{unavailable} partitions are unavailable: {why}; start them, or, if they are gone for good, `karst \
             revive {name}`"
        )));
    }
    alarms
}

/// Writes that are refused because fewer hold everything than this node is configured to ask for.
fn copies_short(namespace: &NamespaceState, map: &NamespaceMap) -> Option<proto::Alarm> {
    let config = &namespace.config;
    let asked = usize::from(config.min_in_sync);
    if config.mode == Mode::Ap {
        return None; // another node says so of the same
    }
    let led = map.partitions.iter().filter(|it| it.primary().is_some());
    let short = led.filter(|it| it.in_sync.len() < asked).count();
    let text = || {
        format!(
            "{short} partitions take no writes (code 11): they have fewer complete copies than min_in_sync, {asked}"
        )
    };
    let subject = || format!("namespace {}", config.name);
    (short > 0).then(|| alarm(proto::Severity::Critical, subject(), text()))
}

/// Writes that some node did not take, and nobody sees to: they are sent again when somebody asks for the record.
fn stuck(namespace: &NamespaceState) -> Option<proto::Alarm> {
    let (_, stuck) = namespace.engine.in_flight();
    let text = || {
        format!(
            "{stuck} writes of partitions that this node leads are in doubt: some node did not take them in time; each \
             is sent again when its record is asked for"
        )
    };
    let subject = || format!("namespace {}", namespace.config.name);
    (stuck > 0).then(|| alarm(proto::Severity::Warning, subject(), text()))
}

#[cfg(test)]
mod tests {
    use karst_cluster::state::Command;

    use super::*;
    use crate::node::NodeId;
    use crate::testing::{World, activate};

    const OTHER: NodeId = NodeId(0xb0b);

    /// A cluster of two nodes in which the other one alone holds everything of `test`.
    fn held_by_another(world: &World) -> ClusterState {
        let mut state = world.state();
        state.apply(world.another(OTHER.0));
        let map = state.maps.get_mut("test").unwrap();
        for partition in &mut map.partitions {
            partition.row = vec![OTHER, world.node.id];
            partition.in_sync = vec![OTHER];
        }
        state
    }

    fn texts(alarms: Vec<proto::Alarm>) -> Vec<String> {
        alarms.into_iter().map(|alarm| alarm.message).collect()
    }

    #[test]
    fn who_is_away_is_named_and_how_dead_partitions_are_revived() {
        let world = World::strong();
        let mut state = held_by_another(&world);
        assert_eq!(texts(unserved("test", &state)), Vec::<String>::new());
        state.apply(Command::SetAlive {
            node: OTHER,
            alive: false,
        });
        assert_eq!(
            texts(unserved("test", &state)),
            [
                "4096 partitions are unavailable: nB0B away, who know what was confirmed; start them, or, if they are \
              gone for good, `karst revive test`"
            ]
        );
        let groups = revive::groups(&state, "test");
        assert_eq!(groups.len(), 1);
        assert_eq!(
            (&*groups[0].away, &*groups[0].left),
            (&["nB0B".to_owned()][..], &["n1".to_owned()][..])
        );
        state.apply(Command::Lose {
            node: OTHER,
            incarnation: state.nodes[&OTHER].facts.incarnation,
            namespace: "test".into(),
        });
        let dead = texts(unserved("test", &state));
        assert_eq!(dead.len(), 1);
        assert!(
            dead[0].starts_with("4096 partitions are dead: nB0B lost"),
            "{dead:?}"
        );
        assert!(dead[0].contains("`karst revive test`"), "{dead:?}");
        state.apply(Command::Revive {
            namespace: "test".into(),
            empty: false,
        });
        activate(&mut state);
        assert_eq!(texts(unserved("test", &state)), Vec::<String>::new());
        assert!(revive::groups(&state, "test").is_empty());
    }
}
