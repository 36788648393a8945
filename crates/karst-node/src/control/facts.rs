//! What a node tells of itself, before it is believed.

use karst_cluster::node::{NodeFacts, NodeId};

use super::peers::is_address;

/// Longest name of a node; the configuration refuses longer ones.
const NAME_BYTES_MAX: usize = 63;

/// Longest name of a namespace; the client protocol carries no longer ones.
const NAMESPACE_BYTES_MAX: usize = 31;

/// Most namespaces of a node.
const NAMESPACES_MAX: usize = 32;

/// Most addresses that clients are told.
const SERVICE_MAX: usize = 16;

/// What is wrong with facts from outside; `None` if nothing is.
pub(crate) fn wrong(facts: &NodeFacts) -> Option<&'static str> {
    let plain = |text: &str, bytes_max: usize| {
        (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let namespaces = &facts.namespaces;
    let named = namespaces.iter().all(|namespace| {
        plain(&namespace.name, NAMESPACE_BYTES_MAX) && namespace.replication_factor > 0
    });
    let checks = [
        (facts.id != NodeId(0), "0 is no node"),
        (plain(&facts.name, NAME_BYTES_MAX), "the node's name"),
        (is_address(&facts.control), "the address of its gRPC door"),
        (
            facts.fabric.is_empty() || is_address(&facts.fabric),
            "the address of its fabric door",
        ),
        (
            (1..=SERVICE_MAX).contains(&facts.service.len())
                && facts.service.iter().all(|address| is_address(address)),
            "the addresses for clients",
        ),
        (
            named && namespaces.len() <= NAMESPACES_MAX,
            "its namespaces",
        ),
    ];
    checks
        .iter()
        .find(|(right, _)| !right)
        .map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use karst_cluster::node::NamespaceFacts;

    use super::*;

    fn facts() -> NodeFacts {
        NodeFacts {
            id: NodeId(7),
            incarnation: 0,
            name: "n7".into(),
            fabric: "a:1".into(),
            control: "a:2".into(),
            service: vec!["a:3".into()],
            rack: 0,
            namespaces: vec![NamespaceFacts {
                name: "test".into(),
                replication_factor: 2,
                volatile: false,
                strong: false,
            }],
        }
    }

    #[test]
    fn facts_that_no_configuration_allows_are_refused() {
        assert_eq!(wrong(&facts()), None);
        let spoil: [fn(&mut NodeFacts); 7] = [
            |facts| facts.id = NodeId(0),
            |facts| facts.name = String::new(),
            |facts| facts.name = "a\nb".into(),
            |facts| facts.control = "a".into(),
            |facts| facts.service.clear(),
            |facts| facts.namespaces[0].replication_factor = 0,
            |facts| facts.namespaces = vec![facts.namespaces[0].clone(); 33],
        ];
        for spoil in spoil {
            let mut facts = facts();
            spoil(&mut facts);
            assert!(wrong(&facts).is_some(), "{facts:?}");
        }
    }
}
