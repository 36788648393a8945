//! Between JSON and the values of bins.
//!
//! JSON has no bytes, no sketches, no numbers that are not finite and no map keys but text. Such
//! values are written as an object with one member whose name begins with `$`, and read back from
//! it, so what `scan` writes `load` restores:
//!
//! ```text
//! blob        {"$blob": "00ff"}                 in hexadecimal
//! GeoJSON     {"$geojson": "{\"type\": ...}"}
//! sketch      {"$hll": "00ff"}
//! float       {"$float": "NaN"}                 or "inf", "-inf"; finite ones are numbers
//! map         {"$map": [[1, "one"], ...]}       where a key is not text
//! any other   {"$other": [7, "00ff"]}           particle type and bytes
//! wildcard    {"$wildcard": null}               in what is looked for only; also "$infinity"
//! ```
//!
//! A number with a point or an exponent is a float, one without is an integer of 64 bits. `null`
//! removes a bin, or is nothing inside a list.

use karst_client::Value;
use serde_json::{Map, Number, Value as Json, json};

/// Longest bin name of the protocol.
pub(crate) const BIN_NAME_BYTES_MAX: usize = karst_data::bin::NAME_BYTES_MAX;

/// A JSON value as the value of a bin. The error is a sentence for the person who wrote it.
pub(crate) fn to_value(json: &Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => number_value(number)?,
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(to_value).collect::<Result<_, _>>()?),
        Json::Object(members) => match special(members) {
            Some(value) => value?,
            None => Value::Map(
                members
                    .iter()
                    .map(|(key, value)| Ok((Value::String(key.clone()), to_value(value)?)))
                    .collect::<Result<_, String>>()?,
            ),
        },
    })
}

fn number_value(number: &Number) -> Result<Value, String> {
    match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => Ok(Value::Int(integer)),
        (None, Some(float)) if number.is_f64() => Ok(Value::Float(float)),
        _ => Err(format!(
            "{number} is too large; integers go up to {}",
            i64::MAX
        )),
    }
}

/// The value of an object with one member that begins with `$`, if this is one of ours.
fn special(members: &Map<String, Json>) -> Option<Result<Value, String>> {
    let (name, inner) = members.iter().next().filter(|_| members.len() == 1)?;
    let wrong = |wanted: &str| Err(format!("{{\"{name}\": {inner}}}: expected {wanted}"));
    let bytes = |json: &Json| json.as_str().and_then(from_hex);
    Some(match name.as_str() {
        "$blob" => bytes(inner).map_or_else(|| wrong("hexadecimal digits"), |b| Ok(Value::Blob(b))),
        "$hll" => bytes(inner).map_or_else(|| wrong("hexadecimal digits"), |b| Ok(Value::Hll(b))),
        "$geojson" => match inner.as_str() {
            Some(text) => Ok(Value::GeoJson(text.to_owned())),
            None => wrong("GeoJSON text"),
        },
        "$float" => match inner.as_str().and_then(|text| text.parse().ok()) {
            Some(float) => Ok(Value::Float(float)),
            None => wrong("\"NaN\", \"inf\" or \"-inf\""),
        },
        "$map" => match inner.as_array() {
            Some(pairs) => map_value(pairs),
            None => wrong("a list of pairs"),
        },
        "$wildcard" => Ok(Value::Wildcard),
        "$infinity" => Ok(Value::Infinity),
        "$other" => match inner.as_array().map(Vec::as_slice) {
            Some([particle, data]) => match (particle.as_u64().map(u8::try_from), bytes(data)) {
                (Some(Ok(particle)), Some(bytes)) => Ok(Value::Other { particle, bytes }),
                _ => wrong("a type number and hexadecimal digits"),
            },
            _ => wrong("a type number and hexadecimal digits"),
        },
        _ => return None,
    })
}

fn map_value(pairs: &[Json]) -> Result<Value, String> {
    let pair = |pair: &Json| match pair.as_array().map(Vec::as_slice) {
        Some([key, value]) => Ok((to_value(key)?, to_value(value)?)),
        _ => Err(format!(
            "{{\"$map\": [{pair}]}}: expected pairs of key and value"
        )),
    };
    Ok(Value::Map(
        pairs.iter().map(pair).collect::<Result<_, _>>()?,
    ))
}

/// The value of a bin as JSON.
pub(crate) fn from_value(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(integer) => json!(integer),
        Value::Float(float) => match Number::from_f64(*float) {
            Some(number) => Json::Number(number),
            None => json!({ "$float": float.to_string() }),
        },
        Value::String(text) => json!(text),
        Value::Blob(bytes) => json!({ "$blob": to_hex(bytes) }),
        Value::Hll(bytes) => json!({ "$hll": to_hex(bytes) }),
        Value::GeoJson(text) => json!({ "$geojson": text }),
        Value::List(items) => Json::Array(items.iter().map(from_value).collect()),
        Value::Map(pairs) => from_map(pairs),
        Value::Other { particle, bytes } => json!({ "$other": [particle, to_hex(bytes)] }),
        Value::Wildcard => json!({ "$wildcard": null }),
        Value::Infinity => json!({ "$infinity": null }),
    }
}

fn from_map(pairs: &[(Value, Value)]) -> Json {
    let text_keys = || {
        pairs
            .iter()
            .map(|(key, value)| match key {
                Value::String(key) => Some((key.clone(), from_value(value))),
                _ => None,
            })
            .collect::<Option<Map<_, _>>>()
    };
    // A map that would read back as something else is spelled out too.
    text_keys()
        .filter(|members| special(members).is_none())
        .map(Json::Object)
        .unwrap_or_else(|| {
            let pair = |(key, value): &(Value, Value)| json!([from_value(key), from_value(value)]);
            json!({ "$map": pairs.iter().map(pair).collect::<Vec<_>>() })
        })
}

/// Whether two values are the same; the order of a map's pairs is the server's business.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Map(left), Value::Map(right)) => {
            let found = |(key, value): &(Value, Value)| {
                let held = |(k, v): &(Value, Value)| same(k, key) && same(v, value);
                right.iter().any(held)
            };
            left.len() == right.len() && left.iter().all(found)
        }
        (left, right) => left == right,
    }
}

/// Lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of an even number of hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Value, String> {
        to_value(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn json_becomes_the_value_it_looks_like() {
        let check = |text: &str, expected: Value| assert_eq!(value(text), Ok(expected), "{text}");
        check("null", Value::Nil);
        check("true", Value::Bool(true));
        check("-9223372036854775808", Value::Int(i64::MIN));
        check("1.0", Value::Float(1.0));
        check("1e3", Value::Float(1000.0));
        check("\"å\"", Value::String("å".into()));
        check(
            "[1, null, \"a\"]",
            Value::List(vec![Value::Int(1), Value::Nil, Value::String("a".into())]),
        );
        check(
            "{\"a\": {\"b\": []}}",
            Value::Map(vec![(
                Value::String("a".into()),
                Value::Map(vec![(Value::String("b".into()), Value::List(vec![]))]),
            )]),
        );
        assert!(
            value("9223372036854775808")
                .unwrap_err()
                .contains("too large")
        );
    }

    #[test]
    fn every_value_survives_a_journey_through_json() {
        let text = |text: &str| Value::String(text.into());
        for original in [
            Value::Nil,
            Value::Bool(false),
            Value::Int(-1),
            Value::Float(-0.1),
            Value::Float(3.0),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NEG_INFINITY),
            text("$blob"),
            Value::Blob(vec![0, 255]),
            Value::Blob(vec![]),
            Value::Hll(vec![1]),
            Value::GeoJson("{}".into()),
            Value::Other {
                particle: 7,
                bytes: vec![9],
            },
            Value::Wildcard,
            Value::Infinity,
            Value::List(vec![Value::Blob(vec![1]), Value::List(vec![])]),
            Value::Map(vec![(Value::Int(1), text("one")), (text("1"), Value::Nil)]),
            Value::Map(vec![(text("$blob"), text("not bytes at all"))]),
            Value::Map(vec![(text("$blob"), text("00"))]),
            Value::Map(vec![(text("a"), Value::Map(vec![]))]),
        ] {
            let json = serde_json::to_string(&from_value(&original)).unwrap();
            let back = value(&json).unwrap();
            assert!(same(&back, &original), "{original:?} -> {json} -> {back:?}");
        }
        let nan = from_value(&Value::Float(f64::NAN)).to_string();
        assert!(matches!(value(&nan), Ok(Value::Float(float)) if float.is_nan()));
    }

    #[test]
    fn a_malformed_special_form_is_refused_and_an_unknown_one_is_a_map() {
        for wrong in [
            r#"{"$blob": "0"}"#,
            r#"{"$blob": "xy"}"#,
            r#"{"$blob": 1}"#,
            r#"{"$float": "many"}"#,
            r#"{"$map": [[1]]}"#,
            r#"{"$map": {}}"#,
            r#"{"$other": [256, "00"]}"#,
            r#"{"$geojson": {}}"#,
        ] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(value(r#"{"$new": 1}"#), Ok(Value::Map(_))));
        assert!(matches!(
            value(r#"{"$blob": "00", "b": 1}"#),
            Ok(Value::Map(_))
        ));
    }

    #[test]
    fn maps_are_the_same_in_any_order_and_lists_are_not() {
        let pair = |n: i64| (Value::Int(n), Value::Int(n));
        let map = |order: &[i64]| Value::Map(order.iter().map(|n| pair(*n)).collect());
        let list = |order: &[i64]| Value::List(order.iter().map(|n| Value::Int(*n)).collect());
        assert!(same(&map(&[1, 2]), &map(&[2, 1])));
        assert!(!same(&map(&[1, 2]), &map(&[1, 3])));
        assert!(!same(&map(&[1]), &map(&[1, 2])));
        assert!(!same(&list(&[1, 2]), &list(&[2, 1])));
    }
}
