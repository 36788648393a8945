//! All partitions of a namespace at a glance: 64 rows of 64 places, one for each.

use std::collections::BTreeMap;

use super::human;
use crate::view::Owners;

/// Places of a row.
const COLUMNS: usize = 64;

/// Colours of owners, in turn: the six of a terminal that are neither black nor white.
const COLOURS: [u8; 6] = [32, 33, 34, 35, 36, 31];

/// What one place shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    letter: char,
    /// An ANSI colour.
    colour: u8,
}

/// How a state is shown: its name, its sign, and an ANSI colour.
const STATES: [(&str, char, u8); 6] = [
    ("settled", '.', 32),
    ("migrating", 'm', 33),
    ("unserved", 'X', 31),
    ("recovering", 'r', 36),
    ("unavailable", 'U', 31),
    ("dead", 'D', 31),
];

/// States that a legend has even if no partition is in them: the first so many.
const USUAL: usize = 3;

/// Whether partitions are served by those who should.
pub(crate) fn by_state(owners: &[Owners], colours: bool) -> String {
    let place = |owners: &Owners| {
        let state = STATES.iter().find(|(name, ..)| *name == owners.state);
        let (letter, colour) = state.map_or(('?', 35), |(_, letter, colour)| (*letter, *colour));
        Place { letter, colour }
    };
    let count = |state: &str| owners.iter().filter(|it| it.state == state).count() as u64;
    let states = STATES.iter().enumerate();
    let shown = states.filter(|(at, (name, ..))| *at < USUAL || count(name) > 0);
    let legend: Vec<String> = shown
        .map(|(_, (name, letter, _))| format!("{letter} {name} {}", human::count(count(name))))
        .collect();
    let places: Vec<Place> = owners.iter().map(place).collect();
    grid(&places, colours, &legend.join("   "))
}

/// Who leads them.
pub(crate) fn by_owner(owners: &[Owners], names: &[String], colours: bool) -> String {
    let place = |at: usize| Place {
        letter: (b'a' + (at % 26) as u8) as char,
        colour: COLOURS[at % COLOURS.len()],
    };
    let nobody = Place {
        letter: 'X',
        colour: 31,
    };
    let position = |name: &String| names.iter().position(|it| it == name);
    let leads = |it: &Owners| it.in_sync.first().and_then(position);
    let mut counts = BTreeMap::<Option<usize>, u64>::new();
    for owner in owners.iter().map(leads) {
        *counts.entry(owner).or_default() += 1;
    }
    let named = names.iter().enumerate().map(|(at, name)| {
        let led = counts.get(&Some(at)).copied().unwrap_or(0);
        format!("{} {name} {}", place(at).letter, human::count(led))
    });
    let mut legend: Vec<String> = named.collect();
    legend.extend(counts.get(&None).map(|led| format!("X nobody {led}")));
    let places: Vec<Place> = owners
        .iter()
        .map(|it| leads(it).map_or(nobody, place))
        .collect();
    grid(&places, colours, &legend.join("   "))
}

/// How many records one node holds of each, in ninths of the most.
pub(crate) fn by_records(records: &[u64], colours: bool) -> String {
    let total = human::count(records.iter().sum());
    by_ninths(records, colours, |most| {
        format!(". none   9 up to {most} records; {total} on the asked node")
    })
}

/// How often each was asked for within a second, in ninths of the most.
pub(crate) fn by_heat(requests: &[u64], colours: bool) -> String {
    let total = human::count(requests.iter().sum());
    by_ninths(requests, colours, |most| {
        format!(". none   9 up to {most} requests within a second; {total} in all")
    })
}

fn by_ninths(counts: &[u64], colours: bool, legend: impl Fn(&str) -> String) -> String {
    let most = counts.iter().copied().max().unwrap_or(0);
    let ninths = |count: u64| match count {
        0 => 0,
        count => (count * 9).div_ceil(most).min(9) as u8,
    };
    let place = |count: &u64| match ninths(*count) {
        0 => Place {
            letter: '.',
            colour: 34,
        },
        ninths => Place {
            letter: (b'0' + ninths) as char,
            colour: [36, 32, 33, 31][usize::from(ninths - 1) * 4 / 9],
        },
    };
    let places: Vec<Place> = counts.iter().map(place).collect();
    grid(&places, colours, &legend(&human::count(most)))
}

/// Rows with the number of their first partition, and the legend below.
fn grid(places: &[Place], colours: bool, legend: &str) -> String {
    let mut text = String::new();
    for (row, places) in places.chunks(COLUMNS).enumerate() {
        text.push_str(&format!("{:>4} ", row * COLUMNS));
        let mut colour = None;
        for place in places {
            if colours && colour != Some(place.colour) {
                colour = Some(place.colour);
                text.push_str(&format!("\u{1b}[{}m", place.colour));
            }
            text.push(place.letter);
        }
        if colours {
            text.push_str("\u{1b}[0m");
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(legend);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(number: u32, state: &'static str, in_sync: &[&str]) -> Owners {
        let in_sync: Vec<String> = in_sync.iter().map(|name| name.to_string()).collect();
        Owners {
            number,
            state,
            regime: 1,
            replicas: in_sync.clone(),
            in_sync,
            joining: Vec::new(),
            apart: Vec::new(),
            prior: Vec::new(),
            lost: Vec::new(),
            activated: 0,
        }
    }

    fn all() -> Vec<Owners> {
        let of = |number| match number {
            0 => owners(number, "unserved", &[]),
            1..64 => owners(number, "migrating", &["n2", "n1"]),
            _ => owners(number, "settled", &["n1", "n2"]),
        };
        (0..4096).map(of).collect()
    }

    #[test]
    fn a_grid_has_64_rows_of_64_places_with_their_numbers_and_a_legend() {
        let text = by_state(&all(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 66);
        assert_eq!(lines[0], format!("   0 X{}", "m".repeat(63)));
        assert_eq!(lines[63], format!("4032 {}", ".".repeat(64)));
        assert_eq!(lines[65], ". settled 4,032   m migrating 63   X unserved 1");
    }

    #[test]
    fn owners_are_letters_that_the_legend_explains() {
        let names = ["n1".to_owned(), "n2".to_owned()];
        let text = by_owner(&all(), &names, false);
        assert!(text.starts_with(&format!("   0 X{}\n", "b".repeat(63))));
        assert!(
            text.ends_with("a n1 4,032   b n2 63   X nobody 1"),
            "{text}"
        );
        let coloured = by_owner(&all(), &names, true);
        assert!(coloured.contains("\u{1b}[32ma"));
    }

    #[test]
    fn records_are_shown_in_ninths_of_the_most() {
        let text = by_records(&[0, 1, 50, 90], false);
        assert!(text.starts_with("   0 .159\n"), "{text}");
        assert!(by_records(&[0, 0], false).starts_with("   0 ..\n"));
    }
}
