//! What a server sends, as a client reads it: messages of an answer, and info values.

use karst_wire::code::ResultCode;
use karst_wire::frame::HEADER_BYTES;
use karst_wire::op::{BIN_NAME_BYTES_MAX, OpCode};
use karst_wire::reply::{ReplyHead, ReplyStream};
use karst_wire::response::{Answer, Answers, OpResult, ends_stream, info_error, info_values};

/// Takes `bytes` for the body of a message frame, then for that of an info frame.
pub fn check(bytes: &[u8]) {
    let answers: Vec<_> = Answers::new(bytes).collect();
    assert!(answers.len() <= bytes.len() / 22 + 1, "messages do not end");
    assert!(
        answers.iter().rev().skip(1).all(Result::is_ok),
        "messages behind an error"
    );
    let handed_out: usize = answers.iter().flatten().map(look).sum();
    assert!(
        handed_out <= bytes.len(),
        "more was handed out than came in"
    );
    let stream = ends_stream(bytes);
    let last = answers.iter().flatten().any(|answer| answer.is_last());
    assert_eq!(stream.unwrap_or(false), last);
    if answers.iter().all(Result::is_ok) {
        let answers: Vec<Answer<'_>> = answers.into_iter().flatten().collect();
        assert!(Answer::single(bytes).is_ok() == (answers.len() == 1));
        answers
            .iter()
            .filter(|answer| is_writable(answer))
            .for_each(rewrite);
    }
    info(bytes);
}

/// Asks an answer everything that a client asks, and returns how many bytes of data it holds.
fn look(answer: &Answer<'_>) -> usize {
    let _ = (answer.code(), answer.digest(), answer.partition_done());
    assert_eq!(
        answer.fields().count(),
        usize::from(answer.header.field_count)
    );
    assert_eq!(answer.ops().count(), usize::from(answer.header.op_count));
    let fields = answer.fields().map(|field| 5 + field.data.len());
    let ops = answer.ops().map(|op| 8 + op.name.len() + op.value.len());
    fields.sum::<usize>() + ops.sum::<usize>()
}

/// Whether this project's server has a way to say it.
fn is_writable(answer: &Answer<'_>) -> bool {
    answer.ops().all(|op| op.name.len() <= BIN_NAME_BYTES_MAX)
        && answer.code().is_ok()
        && u16::try_from(answer.header.generation).is_ok()
}

/// Writes an answer as the server would and reads it back.
fn rewrite(answer: &Answer<'_>) {
    let head = ReplyHead {
        code: answer.code().unwrap_or(ResultCode::Unknown),
        generation: answer.header.generation as u16, // it was found to fit
        void_time_s: answer.header.record_ttl,
        batch_index: answer.header.transaction_ttl,
        info1: answer.header.info1,
    };
    let mut out = Vec::new();
    let mut stream = ReplyStream::begin(&mut out);
    let mut reply = stream.record(&mut out, &head);
    answer
        .fields()
        .for_each(|field| reply.field(field.id, field.data));
    answer
        .ops()
        .for_each(|op| reply.op(OpCode::from_u8(op.code), op.particle, op.name, op.value));
    reply
        .finish()
        .expect("what came in one frame goes into one");
    stream.finish(&mut out);
    let again = Answer::single(&out[HEADER_BYTES..]).expect("it was just written");
    assert_eq!(
        (again.code(), again.header.generation),
        (answer.code(), answer.header.generation)
    );
    assert!(again.fields().eq(answer.fields()));
    assert!(again.ops().eq(answer.ops()));
    let names: Vec<OpResult<'_>> = again.ops().collect();
    assert_eq!(names.len(), usize::from(answer.header.op_count));
}

fn info(bytes: &[u8]) {
    let asked: [&[&str]; 3] = [&[], &["node"], &["node", "partition-generation"]];
    for commands in asked {
        let Ok(values) = info_values(bytes, commands) else {
            continue;
        };
        assert_eq!(values.len(), commands.len());
        for value in values {
            let message = info_error(value).map_or(0, |(_, message)| message.len());
            assert!(message <= value.len());
        }
    }
}
