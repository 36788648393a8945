//! What a node says about its neighbours: the text of `peers-clear-std`.
//!
//! ```text
//! generation,default port,[[name,tls name,[host,host:port,[v6]:port]],...]
//! ```
//!
//! Pure. Text that is not of this form is refused whole; a node that sends it counts as failed.

use std::net::SocketAddr;

/// Port assumed where neither a host nor the list names one.
const PORT_DEFAULT: u16 = 3000;

/// A neighbour of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The name it gives itself.
    pub(crate) name: String,
    /// Where it listens; empty if it has left.
    pub(crate) hosts: Vec<Host>,
}

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Name or address, an IPv6 address without its brackets.
    pub(crate) name: String,
    /// Port.
    pub(crate) port: u16,
}

impl Host {
    /// The host at an address.
    pub(crate) fn of(address: SocketAddr) -> Host {
        Host {
            name: address.ip().to_string(),
            port: address.port(),
        }
    }

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub(crate) fn parse(text: &str, port_default: u16) -> Option<Host> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, after) = rest.split_once(']')?;
                (
                    name,
                    after.strip_prefix(':').or(after.is_empty().then_some("")),
                )
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, Some("")),
            },
        };
        let port = match port? {
            "" => port_default,
            port => port.parse().ok()?,
        };
        (!name.is_empty()).then(|| Host {
            name: name.to_owned(),
            port,
        })
    }
}

/// Reads the whole list. `None` if the text has another form.
pub(crate) fn parse_peers(text: &str) -> Option<Vec<Peer>> {
    let (_generation, rest) = text.split_once(',')?;
    let (port, list) = rest.split_once(',')?;
    let port = match port {
        "" => PORT_DEFAULT,
        port => port.parse().ok()?,
    };
    items(list)?
        .into_iter()
        .map(|item| parse_peer(item, port))
        .collect()
}

fn parse_peer(text: &str, port_default: u16) -> Option<Peer> {
    let [name, _tls_name, hosts] = items(text)?.try_into().ok()?;
    if name.is_empty() {
        return None;
    }
    let hosts = match hosts {
        "" => Some(vec![]),
        hosts => items(hosts)?
            .into_iter()
            .map(|host| Host::parse(host, port_default))
            .collect(),
    };
    let name = name.to_owned();
    hosts.map(|hosts| Peer { name, hosts })
}

/// The items of a bracketed list, split at the commas that are not inside inner brackets.
fn items(list: &str) -> Option<Vec<&str>> {
    let inside = list.strip_prefix('[')?.strip_suffix(']')?;
    if inside.is_empty() {
        return Some(vec![]);
    }
    let (mut found, mut depth, mut start) = (vec![], 0usize, 0);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                found.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&inside[start..]);
    (depth == 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host {
            name: name.into(),
            port,
        }
    }

    #[test]
    fn peers_are_read_as_servers_write_them() {
        let text = "4,3000,[[BB9030011AC4202,,[172.17.0.3]],\
                    [BB9040011AC4202,,[172.17.0.4:3100,[2001:db8::4]:3101,[::1]]]]";
        let peers = parse_peers(text).unwrap();
        assert_eq!(peers.len(), 2);
        assert_eq!(peers[0].name, "BB9030011AC4202");
        assert_eq!(peers[0].hosts, [host("172.17.0.3", 3000)]);
        assert_eq!(
            peers[1].hosts,
            [
                host("172.17.0.4", 3100),
                host("2001:db8::4", 3101),
                host("::1", 3000)
            ]
        );
    }

    #[test]
    fn a_lone_node_has_no_peers_and_a_departed_one_no_hosts() {
        assert_eq!(parse_peers("1,3000,[]"), Some(vec![]));
        assert_eq!(parse_peers("1,,[]"), Some(vec![]));
        assert_eq!(parse_peers("2,3000,[[A,,]]").unwrap()[0].hosts, []);
    }

    #[test]
    fn text_of_another_form_is_refused() {
        for text in [
            "",
            "1",
            "1,3000",
            "1,3000,",
            "1,x,[]",
            "1,3000,[[A,,[h]]",
            "1,3000,[[A,[h]]]",
            "1,3000,[[,,[h]]]",
            "1,3000,[[A,,[h:99999]]]",
            "1,3000,[[A,,[[::1]x]]]",
            "1,3000,[A]]]",
        ] {
            assert_eq!(parse_peers(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9A-C,:\\[\\]é]{0,60}") {
            let _ = parse_peers(&format!("1,3000,[{text}]"));
            let _ = parse_peers(&text);
        }
    }
}
