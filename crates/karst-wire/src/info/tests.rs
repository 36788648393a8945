use proptest::prelude::*;

use super::*;
use crate::testing::{body, hex};

fn texts(body: &[u8]) -> Vec<&[u8]> {
    commands(body).map(|command| command.text()).collect()
}

/// Name, arguments and parameters of a command.
fn parts(text: &str) -> (&str, Vec<&str>, Vec<(&str, &str)>) {
    let command = Command::new(text.as_bytes());
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    let params = command.params().iter();
    (
        command.name().unwrap(),
        command.arguments().collect(),
        params
            .map(|(key, value)| (text(key), text(value)))
            .collect(),
    )
}

#[test]
fn the_worked_info_request_is_understood_and_answered() {
    let request = body("02 01 00 00 00 00 00 0b 6e 6f 64 65 0a 62 75 69 6c 64 0a");
    let mut out = b"before".to_vec();
    let mut reply = InfoReply::begin(&mut out);
    for command in commands(&request) {
        match command.name() {
            Some("node") => reply.answer(&command, b"BB9020011AC4202"),
            Some("build") => reply.answer(&command, b"8.1.2.0"),
            other => panic!("{other:?} was not asked"),
        }
    }
    reply.finish().unwrap();
    let text = b"node\tBB9020011AC4202\nbuild\t8.1.2.0\n";
    let header = hex("02 01 00 00 00 00 00 23");
    assert_eq!(out, [&b"before"[..], &header, text].concat());
}

#[test]
fn only_lines_with_their_newline_are_commands() {
    assert_eq!(texts(b"node\nbuild\n"), [&b"node"[..], b"build"]);
    assert_eq!(texts(b"node\nbuild"), [b"node"]);
    assert!(texts(b"node").is_empty());
    assert!(texts(b"").is_empty());
    assert_eq!(texts(b"\n"), [b""]);
    assert_eq!(texts(b"a\n\nb\n"), [&b"a"[..], b"", b"b"]);
    assert_eq!(texts(b"\xff\xfe\0\n"), [b"\xff\xfe\0"]);
}

#[test]
fn a_name_ends_at_the_first_separator() {
    let none: [(&str, &str); 0] = [];
    for text in ["node", "node:", "node;", "node/"] {
        assert_eq!(parts(text), ("node", vec![], none.to_vec()), "{text}");
    }
    let sets = parts("sets/test/demo");
    assert_eq!(sets, ("sets", vec!["test", "demo"], none.to_vec()));
    let racks = parts("racks:namespace=test");
    assert_eq!(racks, ("racks", vec![], vec![("namespace", "test")]));
    let both = parts("log/0:sink=1;x=a/b:c");
    let params = vec![("sink", "1"), ("x", "a/b:c")];
    assert_eq!(both, ("log", vec!["0"], params));
    let order = parts("a;b:c/d=1");
    assert_eq!(order, ("a", vec![], vec![("b:c/d", "1")]));
    assert_eq!(parts("x//y").1, ["", "y"]);
}

#[test]
fn a_name_longer_than_any_or_not_text_is_no_ones() {
    assert_eq!(Command::new(&[b'n'; 31]).name().unwrap().len(), 31);
    assert_eq!(Command::new(&[b'n'; 32]).name(), None);
    assert_eq!(Command::new(b"n\xff:a=1").name(), None);
    assert_eq!(Command::new(b"").name(), Some(""));
}

#[test]
fn the_first_of_equal_keys_counts_and_values_run_to_the_semicolon() {
    let command = Command::new(b"c:a=1;b=x=y:z,==;a=2;;flag;=v;");
    let params = command.params();
    assert_eq!(params.get("a"), Some(&b"1"[..]));
    assert_eq!(params.get("b"), Some(&b"x=y:z,=="[..]));
    assert_eq!(params.get("flag"), Some(&b""[..]));
    assert_eq!(params.get(""), Some(&b"v"[..]));
    assert_eq!(params.get("c"), None);
    assert_eq!(params.iter().count(), 5);
}

#[test]
fn a_bad_parameter_is_answered_as_clients_expect() {
    let command = Command::new(b"c:set=;namespace=toolong;bin=ok;raw=\xff");
    let params = command.params();
    let error = |key, bytes_max| params.require(key, bytes_max).unwrap_err().to_string();
    assert_eq!(params.require("bin", 2), Ok("ok"));
    assert_eq!(params.text("indexname", 63), Ok(None));
    assert_eq!(error("indexname", 63), "ERROR:4:missing 'indexname'");
    assert_eq!(error("set", 63), "ERROR:4:missing 'set' value");
    assert_eq!(error("bin", 1), "ERROR:4:'bin' value too long");
    assert_eq!(error("namespace", 3), "ERROR:20:'namespace' value too long");
    assert_eq!(error("raw", 63), "ERROR:4:'raw' value is not text");
}

#[test]
fn an_error_shows_its_code_except_one() {
    let mut out = vec![];
    let mut reply = InfoReply::begin(&mut out);
    let command = Command::new(b"what:");
    let error = InfoError::new(ResultCode::Parameter, "unrecognized command");
    reply.error(&command, &error);
    reply.error(&command, &InfoError::new(ResultCode::Unknown, "unknown"));
    reply.line(b"ERROR:80:not authenticated");
    reply.finish().unwrap();
    let text = b"what:\tERROR:4:unrecognized command\nwhat:\tERROR::unknown\n\
        ERROR:80:not authenticated\n";
    assert_eq!(out[HEADER_BYTES..], text[..]);
}

#[test]
fn answers_stop_growing_at_their_limit_and_leave_the_buffer_as_it_was() {
    let mut out = b"before".to_vec();
    let value = vec![b'x'; INFO_REPLY_BYTES_MAX / 4];
    let mut reply = InfoReply::begin(&mut out);
    for _ in 0..3 {
        reply.answer(&Command::new(b"statistics"), &value);
    }
    assert!(!reply.is_too_big());
    for _ in 0..100 {
        reply.answer(&Command::new(b"statistics"), &value);
    }
    assert!(reply.is_too_big());
    assert!(reply.out.len() < INFO_REPLY_BYTES_MAX);
    reply.line(b"small enough, but comes too late");
    assert_eq!(reply.finish(), Err(InfoReplyTooBig));
    assert_eq!(out, b"before");
}

#[test]
fn answers_that_are_given_up_leave_the_buffer_as_it_was() {
    let mut out = b"before".to_vec();
    InfoReply::begin(&mut out).line(b"never sent");
    assert_eq!(out, b"before");
}

proptest! {
    #[test]
    fn any_body_is_taken_apart(body: Vec<u8>) {
        let newlines = body.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(commands(&body).count(), newlines);
        for command in commands(&body) {
            prop_assert!(!command.text().contains(&b'\n'));
            prop_assert!(command.name().is_none_or(|name| name.len() <= NAME_BYTES_MAX));
            let _ = command.arguments().count() + command.params().iter().count();
            let _ = command.params().require("namespace", 31);
        }
    }

    #[test]
    fn any_text_is_taken_apart(text in "[a-c/:;=\n]{0,40}") {
        for command in commands(text.as_bytes()) {
            let name = command.name().unwrap_or_default();
            prop_assert!(!name.contains(['/', ':', ';']));
            prop_assert!(command.text().starts_with(name.as_bytes()));
            for (key, value) in command.params().iter() {
                prop_assert!(!key.contains(&b'=') && !value.contains(&b';'));
            }
        }
    }
}
