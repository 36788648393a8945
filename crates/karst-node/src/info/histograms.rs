//! Histograms of records' lives and sizes, in the form in which tools draw them.

use karst_data::key::{NAMESPACE_BYTES_MAX, SET_BYTES_MAX};
use karst_wire::code::ResultCode;

use super::{Answer, Asked, Entry, entry, made, no_namespace, refused, text};
use crate::core::histograms::Walked;

pub(super) const COMMANDS: &[Entry] = &[entry("histogram", histogram)];

/// Buckets in which lives are shown.
const SHOWN: usize = 100;

fn histogram(asked: &mut Asked<'_>) -> Answer {
    let params = asked.params();
    let name = params.require("namespace", NAMESPACE_BYTES_MAX)?;
    let (_, namespace) = asked
        .node
        .namespace(name.as_bytes())
        .ok_or_else(no_namespace)?;
    let draw: fn(&Walked) -> String = match params.require("type", 31)? {
        "ttl" => lives,
        "object-size" => sizes,
        "object-size-linear" => linear_sizes,
        _ => return refused(ResultCode::Parameter, "unknown hist name"),
    };
    if params.text("set", SET_BYTES_MAX)?.is_some() {
        return text("hist-unavailable"); // none is kept by set
    }
    match namespace.upkeep.histograms.ask() {
        Some(walked) => made(draw(&walked)),
        None => text(""),
    }
}

/// Seconds that records have to live, from the time of the walk on.
fn lives(walked: &Walked) -> String {
    let (width_s, counts) = walked.lives.shown(SHOWN);
    let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
    format!(
        "units=seconds:hist-width={}:bucket-width={width_s}:buckets={}",
        u64::from(width_s) * SHOWN as u64,
        counts.join(",")
    )
}

/// Bytes of records on the device, in buckets of one width.
fn linear_sizes(walked: &Walked) -> String {
    let (width, counts) = (walked.linear_width_bytes, &walked.linear_sizes);
    let shown: Vec<String> = counts.iter().map(u64::to_string).collect();
    format!(
        "units=bytes:hist-width={}:bucket-width={width}:buckets={}",
        width * counts.len(),
        shown.join(",")
    )
}

/// Bytes of records on the device, by powers of two.
fn sizes(walked: &Walked) -> String {
    let filled = walked
        .sizes
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0);
    let mut text = "units=bytes".to_owned();
    for (power, count) in filled {
        let (from, to) = (1u64 << power, 1u64 << (power + 1));
        text.push_str(&format!(":[{from}-{to})={count}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use karst_storage::expire::Survey;

    use super::*;
    use crate::core::histograms::SIZES;

    #[test]
    fn sizes_are_drawn_by_powers_of_two_and_by_one_width() {
        let mut sizes = [0; SIZES];
        sizes[7] = 3;
        let walked = Walked {
            lives: Survey::from_now(0, 10),
            sizes,
            linear_sizes: vec![0, 3, 0, 0],
            linear_width_bytes: 100,
        };
        assert_eq!(super::sizes(&walked), "units=bytes:[128-256)=3");
        assert_eq!(
            linear_sizes(&walked),
            "units=bytes:hist-width=400:bucket-width=100:buckets=0,3,0,0"
        );
    }
}
