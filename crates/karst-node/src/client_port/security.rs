//! Answers to login and user administration where access control is off.

use karst_wire::code::ResultCode;

/// Bytes of an answer: the frame's header, then sixteen bytes of which the second is the result.
const ANSWER_BODY_BYTES: usize = 16;

/// Appends the answer by which clients know that this server wants no login.
pub(super) fn answer(_body: &[u8], out: &mut Vec<u8>) {
    const ADMIN: u8 = 2;
    out.extend_from_slice(&[2, ADMIN, 0, 0, 0, 0, 0, ANSWER_BODY_BYTES as u8]);
    let mut body = [0; ANSWER_BODY_BYTES];
    body[1] = ResultCode::SecurityNotEnabled.as_u8();
    out.extend_from_slice(&body);
}
