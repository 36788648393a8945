//! Which clients are connected, by their own account.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karst_wire::code::ResultCode;

use super::{Answer, Asked, Entry, entry, made, refused, text};

/// Longest user agent in base64 characters.
const AGENT_BYTES_MAX: usize = 87;

pub(super) const COMMANDS: &[Entry] = &[
    entry("user-agent-set", introduce),
    entry("user-agents", list),
];

fn introduce(asked: &mut Asked<'_>) -> Answer {
    let agent = asked.params().require("value", AGENT_BYTES_MAX)?;
    if asked.session.user_agent.is_some() {
        return refused(ResultCode::Parameter, "already set");
    }
    if STANDARD.decode(agent).is_err() {
        return refused(ResultCode::Parameter, "'value' invalid base64");
    }
    asked.session.user_agent = Some(asked.node.user_agents.introduce(agent));
    text("ok")
}

fn list(asked: &mut Asked<'_>) -> Answer {
    let agents = asked.node.user_agents.all();
    made(
        agents
            .iter()
            .map(|(agent, count)| format!("user-agent={agent}:count={count};"))
            .collect::<String>(),
    )
}
