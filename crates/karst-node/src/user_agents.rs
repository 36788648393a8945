//! Who is connected, by the clients' own account (info command `user-agent-set`).

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Most user agents that are told apart; more are counted as one.
const AGENTS_MAX: usize = 256;

/// What agents beyond [`AGENTS_MAX`] are counted under: base64 of `1,other-0,not-set`.
const OTHER: &str = "MSxvdGhlci0wLG5vdC1zZXQ=";

/// Connections by user agent, in the base64 in which clients send it.
#[derive(Debug, Default)]
pub struct UserAgents(Mutex<BTreeMap<String, u64>>);

/// A connection's share in the count; gives it back when the connection ends.
pub struct Introduced(String);

impl UserAgents {
    /// Counts a connection.
    pub fn introduce(&self, agent: &str) -> Introduced {
        let mut agents = self.0.lock();
        let known = agents.contains_key(agent) || agents.len() < AGENTS_MAX;
        let agent = if known { agent } else { OTHER };
        *agents.entry(agent.into()).or_default() += 1;
        Introduced(agent.into())
    }

    /// Uncounts a connection.
    pub fn leave(&self, introduced: Introduced) {
        let mut agents = self.0.lock();
        if let Some(count) = agents.get_mut(&introduced.0) {
            *count -= 1;
            if *count == 0 {
                agents.remove(&introduced.0);
            }
        }
    }

    /// Each user agent and its number of connections.
    pub fn all(&self) -> Vec<(String, u64)> {
        self.0
            .lock()
            .iter()
            .map(|(agent, count)| (agent.clone(), *count))
            .collect()
    }
}
