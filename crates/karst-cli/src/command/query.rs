//! `karst query`: the records for which all conditions hold, as JSON lines.
//!
//! Without an index every record is looked at, on the nodes. With one, the conditions on what the index is of
//! become the range it is asked for, and the rest is looked at in what it finds.

use karst_client::expr::Type;
use karst_client::{Client, Elements, Expr, IndexInfo, IndexType, Indexed, Lookup, Query, Value};

use super::connect::{admin_and_client, explain};
use super::{key, scan};
use crate::args;
use crate::failure::{Failure, Outcome};

/// How a bin is compared, longer signs before those that begin them.
const SIGNS: [(&str, Comparison); 6] = [
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn of(self, left: Expr, right: impl Into<Expr>) -> Expr {
        match self {
            Comparison::Equal => left.eq(right),
            Comparison::Unequal => left.ne(right),
            Comparison::Less => left.lt(right),
            Comparison::LessOrEqual => left.le(right),
            Comparison::Greater => left.gt(right),
            Comparison::GreaterOrEqual => left.ge(right),
        }
    }
}

/// One condition that was typed.
#[derive(Clone, Debug, PartialEq)]
struct Condition {
    bin: String,
    comparison: Comparison,
    value: Value,
}

/// `karst query`
pub(super) async fn run(host: &str, json: bool, args: &args::Query) -> Outcome {
    let conditions = args.conditions.iter();
    let conditions = conditions.map(|text| condition(text));
    let conditions = conditions.collect::<Outcome<Vec<_>>>()?;
    let (_, client) = admin_and_client(host).await?;
    let place = &args.scan.place;
    let query = Query::new(place.namespace.as_str(), place.set.as_str());
    let (query, rest) = match &args.index {
        None => (query, conditions),
        Some(name) => {
            let index = find(&client, &place.namespace, name).await?;
            let (lookup, rest) = lookup(&index, conditions)?;
            (query.by(lookup), rest)
        }
    };
    let mut policy = scan::policy(&args.scan);
    policy.filter = filter(&rest)?;
    let found = client.query(&query, policy).map_err(Failure::usage)?;
    scan::write_out(found, &args.scan, scan::hidden(), json).await
}

async fn find(client: &Client, namespace: &str, name: &str) -> Outcome<IndexInfo> {
    let indexes = client.indexes(namespace).await;
    let indexes = indexes.map_err(|error| explain(&error))?;
    let found = indexes.into_iter().find(|index| index.name == name);
    found.ok_or_else(|| Failure::failed(format!("{namespace} has no index {name}")))
}

/// `BIN<=VALUE` and the like. VALUE is JSON, or text if it is not.
fn condition(text: &str) -> Outcome<Condition> {
    let wrong = || {
        Failure::usage(format!(
            "\"{text}\": write it as BIN, one of = != < <= > >=, and a value"
        ))
    };
    let at = text.find(['=', '!', '<', '>']).ok_or_else(wrong)?;
    let (bin, rest) = text.split_at(at);
    let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
    let (sign, comparison) = sign.ok_or_else(wrong)?;
    Ok(Condition {
        bin: bin.to_owned(),
        comparison: *comparison,
        value: key::value(bin, &rest[sign.len()..])?,
    })
}

/// What all conditions say together.
fn filter(conditions: &[Condition]) -> Outcome<Option<Expr>> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let parts = conditions.iter().map(expression);
    Ok(Some(Expr::all(parts.collect::<Outcome<Vec<_>>>()?)))
}

/// What one condition says of a record. Numbers compare with numbers of either kind.
fn expression(condition: &Condition) -> Outcome<Expr> {
    let Condition {
        bin,
        comparison,
        value,
    } = condition;
    key::check_bin_name(bin).map_err(Failure::usage)?;
    let of = |kind: Type| comparison.of(Expr::bin(kind, bin), value.clone());
    let only_equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
    Ok(match value {
        Value::Int(number) => Expr::any([
            of(Type::Int),
            comparison.of(Expr::float_bin(bin), *number as f64),
        ]),
        Value::Float(_) => {
            let as_float = Expr::int_bin(bin).to_float();
            Expr::any([of(Type::Float), comparison.of(as_float, value.clone())])
        }
        Value::Bool(_) => of(Type::Bool),
        Value::String(_) => of(Type::String),
        Value::Blob(_) => of(Type::Blob),
        Value::List(_) => of(Type::List),
        Value::Nil if only_equality => match comparison {
            Comparison::Equal => !Expr::bin_exists(bin),
            _ => Expr::bin_exists(bin),
        },
        _ => {
            return Err(Failure::usage(format!(
                "bin {bin}: such a value cannot be compared so"
            )));
        }
    })
}

/// What the index is asked for, and the conditions that are left.
fn lookup(index: &IndexInfo, conditions: Vec<Condition>) -> Outcome<(Lookup, Vec<Condition>)> {
    if index.of_set {
        return Err(Failure::usage(format!(
            "index {} is of which records there are in {}: a query without --index goes by it unasked",
            index.name, index.set
        )));
    }
    let subject = index.bin.clone().unwrap_or_else(|| index.name.clone());
    let serves = |condition: &Condition| {
        let fits = match (index.kind, &condition.value) {
            (Some(IndexType::Numeric), Value::Int(_)) => {
                condition.comparison != Comparison::Unequal
            }
            (Some(IndexType::String), Value::String(_))
            | (Some(IndexType::Blob), Value::Blob(_))
            | (Some(IndexType::Geo), Value::GeoJson(_)) => {
                condition.comparison == Comparison::Equal
            }
            _ => false,
        };
        fits && condition.bin == subject
    };
    let (mut served, mut rest): (Vec<_>, Vec<_>) = conditions.into_iter().partition(serves);
    let nothing = || {
        Failure::usage(format!(
            "index {} can tell nothing: none of the conditions fits {subject}, its type and what it holds",
            index.name
        ))
    };
    let of = Indexed::bin(subject.clone());
    let lookup = match index.kind {
        Some(IndexType::Numeric) if !served.is_empty() => {
            let (first, last) = range(&served);
            Lookup::range(of, first..=last)
        }
        _ => {
            let Condition { value, .. } = served.pop().ok_or_else(nothing)?;
            rest.append(&mut served); // an index is asked for one value
            match value {
                Value::GeoJson(text) => Lookup::geo(of, text),
                value => Lookup::equal(of, value),
            }
        }
    };
    let inside = index.elements != Some(Elements::Whole)
        || index.context.is_some()
        || index.expression.is_some();
    if inside && rest.iter().any(|condition| condition.bin == subject) {
        return Err(Failure::usage(format!(
            "index {} is of what is inside {subject}, of which no other condition can be checked",
            index.name
        )));
    }
    Ok((lookup.through(index.name.clone()), rest))
}

/// The range that all conditions leave; one that is empty is turned round, and refused where it is used.
fn range(conditions: &[Condition]) -> (i64, i64) {
    let (mut first, mut last) = (i64::MIN, i64::MAX);
    for condition in conditions {
        let Some(value) = condition.value.as_int() else {
            continue;
        };
        let (least, most) = match condition.comparison {
            Comparison::Equal => (value, value),
            Comparison::Less => (i64::MIN, value.saturating_sub(1)),
            Comparison::LessOrEqual => (i64::MIN, value),
            Comparison::Greater => (value.saturating_add(1), i64::MAX),
            Comparison::GreaterOrEqual => (value, i64::MAX),
            Comparison::Unequal => continue,
        };
        first = first.max(least);
        last = last.min(most);
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(texts: &[&str]) -> Vec<Condition> {
        texts.iter().map(|text| condition(text).unwrap()).collect()
    }

    fn index(kind: IndexType, elements: Elements) -> IndexInfo {
        IndexInfo {
            namespace: "test".into(),
            set: String::new(),
            name: "ix".into(),
            of_set: false,
            bin: Some("age".into()),
            kind: Some(kind),
            elements: Some(elements),
            context: None,
            expression: None,
            readable: true,
        }
    }

    #[test]
    fn a_condition_is_a_bin_a_sign_and_a_value() {
        let check = |text: &str, bin: &str, comparison, value: Value| {
            let bin = bin.to_owned();
            let expected = Condition {
                bin,
                comparison,
                value,
            };
            assert_eq!(condition(text).unwrap(), expected, "{text}");
        };
        check("age>=18", "age", Comparison::GreaterOrEqual, 18.into());
        check("name=Ada", "name", Comparison::Equal, "Ada".into());
        check("name!=\"7\"", "name", Comparison::Unequal, "7".into());
        check("x<-1.5", "x", Comparison::Less, (-1.5).into());
        check("a==b", "a", Comparison::Equal, "=b".into());
        for wrong in ["", "age", "age!18"] {
            assert_eq!(condition(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn conditions_on_what_an_index_is_of_are_its_range_and_others_are_left() {
        let numeric = index(IndexType::Numeric, Elements::Whole);
        let all = conditions(&["age>=18", "name=Ada", "age<30", "age!=20"]);
        let (asked, rest) = lookup(&numeric, all).unwrap();
        assert_eq!(asked, Lookup::range("age", 18..=29).through("ix"));
        assert_eq!(rest, conditions(&["name=Ada", "age!=20"]));
        assert!(lookup(&numeric, conditions(&["name=Ada"])).is_err());
        assert!(lookup(&numeric, conditions(&["age=Ada"])).is_err());
        let of_set = IndexInfo {
            of_set: true,
            ..numeric
        };
        let refused = lookup(&of_set, conditions(&["age=1"])).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        let text = index(IndexType::String, Elements::List);
        let (asked, rest) = lookup(&text, conditions(&["age=x"])).unwrap();
        assert_eq!(asked, Lookup::equal("age", "x").through("ix"));
        assert!(rest.is_empty());
        assert!(lookup(&text, conditions(&["age=x", "age=y"])).is_err());
    }

    #[test]
    fn values_that_have_no_order_are_refused() {
        assert!(filter(&conditions(&["a=null", "b!=null", "c<\"x\"", "d=[1]"])).is_ok());
        assert!(filter(&conditions(&["a<null"])).is_err());
        assert!(filter(&conditions(&["a={\"b\":1}"])).is_err());
        assert!(filter(&conditions(&["=1"])).is_err());
        assert_eq!(filter(&[]).unwrap(), None);
    }
}
