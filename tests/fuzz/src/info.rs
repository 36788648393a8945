//! Info requests: text commands of a stranger, and the answer that echoes them.

use karst_wire::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use karst_wire::info::{self, Command, InfoReply, NAME_BYTES_MAX};
use karst_wire::response::info_values;

/// Takes `bytes` for the body of an info frame.
pub fn check(bytes: &[u8]) {
    let commands: Vec<Command<'_>> = info::commands(bytes).collect();
    assert_echo_is_complete(bytes, &commands);
    commands.iter().for_each(look);
    let mut out = b"earlier replies".to_vec();
    let before = out.len();
    let mut reply = InfoReply::begin(&mut out);
    commands
        .iter()
        .for_each(|command| reply.answer(command, b"ok"));
    reply
        .finish()
        .expect("two bytes for each command are not too much");
    let (head, body) = out[before..]
        .split_first_chunk::<HEADER_BYTES>()
        .expect("it has a header");
    let frame = FrameHeader {
        kind: FrameKind::Info,
        body_bytes: body.len(),
    };
    assert_eq!(FrameHeader::parse(head, body.len()), Ok(frame));
    let texts: Result<Vec<&str>, _> = commands
        .iter()
        .map(|command| std::str::from_utf8(command.text()))
        .collect();
    if let Ok(texts) = texts {
        assert_eq!(info_values(body, &texts), Ok(vec!["ok"; texts.len()]));
    }
}

/// The commands are the body up to its last newline, nothing dropped and nothing twice.
fn assert_echo_is_complete(body: &[u8], commands: &[Command<'_>]) {
    let whole = body
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(&[][..], |end| &body[..=end]);
    let echoed = commands
        .iter()
        .flat_map(|command| command.text().iter().chain(b"\n"));
    assert!(echoed.eq(whole.iter()));
}

fn look(command: &Command<'_>) {
    let text = command.text();
    assert!(
        command
            .name()
            .is_none_or(|name| name.len() <= NAME_BYTES_MAX)
    );
    assert!(
        command
            .arguments()
            .map(|argument| argument.len() + 1)
            .sum::<usize>()
            <= text.len() + 1
    );
    let params = command.params();
    let pairs = params
        .iter()
        .map(|(key, value)| key.len() + value.len() + 1);
    assert!(pairs.sum::<usize>() <= text.len() + 1);
    for (key, _) in params.iter() {
        let Ok(key) = std::str::from_utf8(key) else {
            continue;
        };
        assert!(params.get(key).is_some());
        let _ = params.require(key, 64);
    }
}
