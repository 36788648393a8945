//! Where the other nodes are, and the connections to them.
//!
//! A node's own word of where it is counts most, then what others say, then the cluster's state. So a
//! node that came back with another address is found at once, without a majority to write it down first.
//! What the state says anew is a node's own word too, as of when it joined: a leader that came back elsewhere
//! reports to nobody, and tells the others in no other way.
//! Every call names whom it is meant for: one that reaches a stranger is refused there.
//!
//! Bounds: [`BOOK_MAX`] addresses, [`CHANNELS_MAX`] connections; a full one of either is begun anew.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use karst_cluster::node::NodeId;
use karst_cluster::state::ClusterState;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

/// Addresses remembered: several times the nodes of a large cluster.
const BOOK_MAX: usize = 1024;

/// Connections kept open.
const CHANNELS_MAX: usize = 512;

/// Longest address: a DNS name has at most 253 bytes.
const ADDRESS_BYTES_MAX: usize = 270;

/// Longest wait for a connection; then the call fails and the next one tries again.
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// A connection on which nothing comes back for this long is probed, and given up if the probe is not
/// answered within the same time: a peer may vanish without a word.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// See [the module](self).
#[derive(Default)]
pub(crate) struct Peers {
    book: Mutex<BTreeMap<NodeId, String>>,
    /// What the state said last.
    written: Mutex<BTreeMap<NodeId, String>>,
    channels: Mutex<HashMap<(Lane, String), Channel>>,
}

/// What a connection is for. A peer answers only some calls of one connection at a time: what waits long
/// must not stand in front of what must not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Heartbeats, entries, votes.
    Group,
    /// Reports, and who is where.
    Membership,
    /// Proposals, which wait for a majority.
    Proposals,
}

impl Peers {
    /// A node says where it is.
    pub(crate) fn hear(&self, node: NodeId, address: &str) {
        if !is_address(address) || node == NodeId(0) {
            return;
        }
        let mut book = self.book.lock();
        if book.len() >= BOOK_MAX && !book.contains_key(&node) {
            book.clear();
        }
        if book.get(&node).is_none_or(|known| known != address) {
            book.insert(node, address.to_owned());
        }
    }

    /// Somebody says where another node is.
    pub(crate) fn hear_of(&self, node: NodeId, address: &str) {
        if !self.book.lock().contains_key(&node) {
            self.hear(node, address);
        }
    }

    /// The cluster's state says where its members are.
    pub(crate) fn read(&self, state: &ClusterState) {
        let members = state.nodes.iter();
        let now: BTreeMap<NodeId, String> = members
            .map(|(id, member)| (*id, member.facts.control.clone()))
            .collect();
        let before = std::mem::replace(&mut *self.written.lock(), now.clone());
        for (node, address) in now {
            // What was written before this node looked may be older than what was heard since.
            if before.get(&node).is_some_and(|before| *before != address) {
                self.hear(node, &address);
            }
        }
    }

    /// Whether the state names a node.
    #[cfg(test)]
    pub(crate) fn is_written(&self, node: NodeId) -> bool {
        self.written.lock().contains_key(&node)
    }

    /// Where a node is, by what was heard.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.book.lock().get(&node).cloned()
    }

    /// Everybody heard of.
    pub(crate) fn known(&self) -> BTreeMap<NodeId, String> {
        self.book.lock().clone()
    }

    /// A connection to an address, which is made when it is first used; `None` for what is no address.
    pub(crate) fn channel(&self, lane: Lane, address: &str) -> Option<Channel> {
        if !is_address(address) {
            return None;
        }
        let mut channels = self.channels.lock();
        let key = (lane, address.to_owned());
        if let Some(channel) = channels.get(&key) {
            return Some(channel.clone());
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let channel = endpoint(address)?.connect_lazy();
        channels.insert(key, channel.clone());
        Some(channel)
    }
}

fn endpoint(address: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    Some(
        endpoint
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PROBE_EVERY)
            .keep_alive_timeout(PROBE_EVERY)
            .keep_alive_while_idle(true),
    )
}

/// Whether this may be the address of a node: `HOST:PORT`.
pub(crate) fn is_address(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    text.len() <= ADDRESS_BYTES_MAX
        && text.bytes().all(allowed)
        && port.is_some_and(|port| port.is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use karst_cluster::node::{ClusterId, NodeFacts};
    use karst_cluster::state::Command;

    use super::*;

    #[test]
    fn a_nodes_own_word_of_where_it_is_counts_more_than_others() {
        let peers = Peers::default();
        let node = NodeId(7);
        peers.hear_of(node, "a:1");
        peers.hear_of(node, "b:1");
        assert_eq!(peers.address(node).unwrap(), "a:1");
        peers.hear(node, "c:1");
        peers.hear_of(node, "d:1");
        assert_eq!(peers.address(node).unwrap(), "c:1");
    }

    #[test]
    fn what_the_state_says_anew_counts_and_what_it_said_before_does_not() {
        let node = NodeId(7);
        let at = |address: &str| {
            let mut state = ClusterState::default();
            state.apply(Command::Found(ClusterId([7; 16])));
            state.apply(Command::Admit(NodeFacts {
                id: node,
                incarnation: 0,
                name: "n7".into(),
                fabric: String::new(),
                control: address.to_owned(),
                service: vec!["127.0.0.1:3000".into()],
                rack: 0,
                namespaces: Vec::new(),
            }));
            state
        };
        let peers = Peers::default();
        peers.hear(node, "b:1");
        peers.read(&at("a:1"));
        assert_eq!(peers.address(node).unwrap(), "b:1", "it has moved since");
        peers.read(&at("c:1"));
        assert_eq!(peers.address(node).unwrap(), "c:1");
        peers.hear(node, "d:1");
        peers.read(&at("c:1"));
        assert_eq!(peers.address(node).unwrap(), "d:1");
    }

    #[test]
    fn what_is_no_address_is_not_remembered() {
        for text in [
            "", "a", "a:", ":x", "a:0", "a:70000", "a b:1", "a/b:1", "u@a:1",
        ] {
            assert!(!is_address(text), "{text}");
        }
        for text in [
            "a:1",
            "10.0.0.1:3002",
            "[::1]:3002",
            "db-1.example.com:3002",
        ] {
            assert!(is_address(text), "{text}");
        }
        assert!(!is_address(&format!("{}:1", "a".repeat(300))));
    }
}
