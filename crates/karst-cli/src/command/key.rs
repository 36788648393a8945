//! From what was typed to what names a record and fills it.

use karst_client::{Bin, Key, UserKey, Value};

use crate::args::{KeyType, RecordKey};
use crate::failure::{Failure, Outcome};
use crate::json;

/// The record that was named.
pub(super) fn key(args: &RecordKey) -> Outcome<Key> {
    let user_key = user_key(&args.key, args.key_type)?;
    let (namespace, set) = (args.place.namespace.as_str(), args.place.set.as_str());
    Key::new(namespace, set, user_key).map_err(Failure::usage)
}

fn user_key(text: &str, key_type: KeyType) -> Outcome<UserKey> {
    let wrong = |what: &str| Failure::usage(format!("KEY \"{text}\" is not {what}"));
    match key_type {
        KeyType::Auto => Ok(match text.parse::<i64>() {
            // "007" and "+7" are text: an integer is what prints the same again.
            Ok(number) if number.to_string() == text => UserKey::Int(number),
            _ => UserKey::String(text.to_owned()),
        }),
        KeyType::Int => match text.parse() {
            Ok(number) => Ok(UserKey::Int(number)),
            Err(_) => Err(wrong("a whole number of 64 bits")),
        },
        KeyType::String => Ok(UserKey::String(text.to_owned())),
        KeyType::Bytes => match json::from_hex(text) {
            Some(bytes) => Ok(UserKey::Blob(bytes)),
            None => Err(wrong("an even number of hexadecimal digits")),
        },
    }
}

/// `BIN=VALUE` as a bin. VALUE is JSON, or text if it is not.
pub(super) fn bin(text: &str) -> Outcome<Bin> {
    let Some((name, text)) = text.split_once('=') else {
        return Err(Failure::usage(format!("\"{text}\": write it as BIN=VALUE")));
    };
    check_bin_name(name).map_err(Failure::usage)?;
    Ok(Bin::new(name, value(&format!("bin {name}"), text)?))
}

/// A value in JSON, or text if it is not. `of` says whose it is.
pub(super) fn value(of: &str, text: &str) -> Outcome<Value> {
    match serde_json::from_str(text) {
        Ok(value) => json::to_value(&value).map_err(|what| Failure::usage(format!("{of}: {what}"))),
        Err(_) => Ok(text.into()),
    }
}

/// Refuses names that are no bin's.
pub(super) fn check_bin_name(name: &str) -> Result<(), String> {
    let bytes_max = json::BIN_NAME_BYTES_MAX;
    match name.len() {
        0 => Err("a bin needs a name".to_owned()),
        bytes if bytes > bytes_max => Err(format!(
            "bin name \"{name}\" has {bytes} bytes; {bytes_max} are allowed"
        )),
        _ => Ok(()),
    }
}

/// A key as JSON: a number, text, or bytes in hexadecimal.
pub(super) fn to_json(key: &UserKey) -> serde_json::Value {
    match key {
        UserKey::Int(number) => (*number).into(),
        UserKey::String(text) => text.as_str().into(),
        UserKey::Blob(bytes) => serde_json::json!({ "$blob": json::to_hex(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_number_only_if_it_prints_the_same_again() {
        let auto = |text| user_key(text, KeyType::Auto).unwrap();
        assert_eq!(auto("42"), UserKey::Int(42));
        assert_eq!(auto("-42"), UserKey::Int(-42));
        for text in ["007", "+7", "1e3", "", "oslo", "9223372036854775808"] {
            assert_eq!(auto(text), UserKey::String(text.into()));
        }
        assert_eq!(
            user_key("42", KeyType::String),
            Ok(UserKey::String("42".into()))
        );
        assert_eq!(user_key("007", KeyType::Int), Ok(UserKey::Int(7)));
        assert_eq!(
            user_key("00fF", KeyType::Bytes),
            Ok(UserKey::Blob(vec![0, 255]))
        );
        for (text, key_type) in [
            ("x", KeyType::Int),
            ("0", KeyType::Bytes),
            ("é", KeyType::Bytes),
        ] {
            assert_eq!(
                user_key(text, key_type).unwrap_err().exit_code(),
                2,
                "{text}"
            );
        }
    }

    #[test]
    fn a_bin_is_json_or_else_text() {
        let check =
            |text: &str, value: Value| assert_eq!(bin(text).unwrap().value, value, "{text}");
        check("a=1", Value::Int(1));
        check("a=1.5", Value::Float(1.5));
        check("a=oslo", Value::String("oslo".into()));
        check("a=\"1\"", Value::String("1".into()));
        check("a=x=y", Value::String("x=y".into()));
        check("a=", Value::String(String::new()));
        check("a=null", Value::Nil);
        check("a=[1]", Value::List(vec![Value::Int(1)]));
        for wrong in ["a", "=1", "sixteen_bytes_xx=1", "a=9223372036854775808"] {
            assert_eq!(bin(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
