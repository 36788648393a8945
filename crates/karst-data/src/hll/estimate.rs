//! What sketches say of the sets behind them: counts, intersections, similarity.
//!
//! The estimator is Ertl's improved one, whose small and large ends need no special cases.

use super::sketch::{Shape, Sketch, View};

/// Ranks that a register can hold, besides none: the trailing zeros of a word and one.
const RANKS: usize = 64;

/// How many elements a sketch has seen: as last computed if that is known.
pub(super) fn count(view: View<'_>) -> u64 {
    view.known_count().unwrap_or_else(|| fresh_count(view))
}

/// How many elements a sketch has seen.
pub(super) fn fresh_count(view: View<'_>) -> u64 {
    let mut with_rank = [0u32; RANKS + 1];
    for value in view.registers() {
        with_rank[(value >> view.shape.minhash_bits) as usize] += 1;
    }
    let registers = view.shape.registers() as f64;
    let mut z = registers * tau(f64::from(with_rank[RANKS]) / registers);
    for held in with_rank[1..].iter().rev() {
        z = 0.5 * (z + f64::from(*held));
    }
    z += registers * sigma(f64::from(with_rank[0]) / registers);
    (alpha(view.shape) * registers * registers / z).round() as u64
}

fn alpha(shape: Shape) -> f64 {
    match shape.index_bits {
        4 => 0.673,
        5 => 0.697,
        6 => 0.709,
        _ => 0.7213 / (1.0 + 1.079 / shape.registers() as f64),
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// The join of some sketches, in the shape that all of them have in common.
pub(super) fn union(views: &[View<'_>]) -> Sketch {
    let shape = Shape::common(views.iter().map(|view| view.shape));
    let shape = shape.unwrap_or(Shape {
        index_bits: 4,
        minhash_bits: 0,
    }); // of none: calls have at least one
    Sketch::union(shape, views.iter().copied())
}

/// How many elements all of the sketches have seen.
pub(super) fn intersect_count(views: &[View<'_>]) -> u64 {
    let union = union(views);
    let union_count = count(union.view());
    if union.view().shape.minhash_bits > 0 {
        let similarity = similarity(views);
        let shared = union_count as f64 * similarity;
        return if similarity.is_nan() {
            0
        } else {
            shared.round() as u64
        };
    }
    match views {
        [only] => count(*only),
        [a, b] => sum(&[*a, *b]).saturating_sub(union_count),
        [a, b, c] => {
            let shared = [[*a, *b], [*b, *c], [*a, *c]].map(|pair| intersect_count(&pair));
            let shared = shared.into_iter().fold(union_count, u64::saturating_add);
            shared.saturating_sub(sum(views))
        }
        _ => 0, // refused before
    }
}

/// All counts together. Clients may send sketches that claim any count.
fn sum(views: &[View<'_>]) -> u64 {
    let counts = views.iter().map(|view| count(*view));
    counts.fold(0, u64::saturating_add)
}

/// The Jaccard index: what part of what any sketch has seen all have seen.
pub(super) fn similarity(views: &[View<'_>]) -> f64 {
    let union = union(views);
    let shape = union.view().shape;
    if shape.minhash_bits == 0 {
        return intersect_count(views) as f64 / count(union.view()) as f64;
    }
    if views.iter().any(View::is_empty) {
        return if views.iter().all(View::is_empty) {
            f64::NAN
        } else {
            0.0
        };
    }
    let folded = |view: &View<'_>| Sketch::union(shape, [*view].into_iter());
    let folded: Vec<Sketch> = views.iter().map(folded).collect();
    let held = union.view().registers().filter(|value| *value != 0).count();
    let same = |register: &u64| {
        let first = folded[0].view().register(*register);
        let equal = |other: &Sketch| other.view().register(*register) == first;
        first != 0 && folded[1..].iter().all(equal)
    };
    let shared = (0..shape.registers()).filter(same).count();
    let by_chance = match views {
        [a, b] => collisions(shape, count(*a), count(*b)),
        _ => 0.0,
    };
    ((shared as f64 - by_chance) / held as f64).max(0.0)
}

/// How many registers two sets of these sizes are expected to agree in by chance.
fn collisions(shape: Shape, a: u64, b: u64) -> f64 {
    let registers = shape.registers() as f64;
    let sum: f64 = (1..=RANKS as i32)
        .map(|rank| {
            let lower = if rank == 64 {
                0.0
            } else {
                2f64.powi(-rank) / registers
            };
            let upper = 2f64.powi(1 - rank) / registers;
            let holds =
                |seen: u64| (1.0 - lower).powf(seen as f64) - (1.0 - upper).powf(seen as f64);
            holds(a) * holds(b)
        })
        .sum();
    sum * registers / 2f64.powi(i32::from(shape.minhash_bits))
}
