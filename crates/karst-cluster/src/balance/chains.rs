//! Finds the cheapest chain of swaps from a node with too much to a node with room.
//!
//! Dijkstra's search needs costs of at least nothing, and a swap may gain. So each node has a *height*, at
//! first 0, and what counts is the cost of a swap as seen from the heights: cost + height of its start -
//! height of its end. That orders chains between the same two nodes as their costs do.
//!
//! Invariant
//!   seen from the heights no swap gains
//!
//! It holds at the start, when every partition has what is cheapest for it. Each search raises every node by
//! what it costs to reach it, whereby the swaps of the chain cost nothing, and so nothing when they are
//! undone, and no other swap comes to gain.

/// The cost of a swap that is not allowed. Of real ones a chain of all nodes costs less.
pub(super) const NO_WAY: i64 = i64::MAX / 4;

/// See [the module](self).
pub(super) struct Chains {
    heights: Vec<i64>,
}

impl Chains {
    pub(super) fn new(nodes: usize) -> Chains {
        Chains {
            heights: vec![0; nodes],
        }
    }

    /// The nodes along the cheapest chain from any giver to any taker. `costs[from][to]` is the cost of the
    /// cheapest swap.
    pub(super) fn cheapest(
        &mut self,
        costs: &[i64],
        givers: &[bool],
        takers: &[bool],
    ) -> Option<Vec<u16>> {
        let nodes = self.heights.len();
        let mut search = Search::new(&self.heights, givers);
        let lowest = (0..nodes)
            .filter(|node| takers[*node])
            .map(|node| self.heights[node]);
        let lowest = lowest.min()?;
        let mut best: Option<(i64, usize)> = None;
        let mut reached = 0;
        while let Some(node) = search.nearest() {
            reached = search.ways[node];
            // What is reached from here on costs at least this, so no taker is better than the best.
            if best.is_some_and(|(cost, _)| reached + lowest >= cost) {
                break;
            }
            if takers[node] {
                let way = (reached + self.heights[node], node);
                best = Some(best.map_or(way, |best| best.min(way)));
            }
            search.go_on_from(node, &costs[node * nodes..][..nodes], &self.heights);
        }
        for (height, way) in self.heights.iter_mut().zip(&search.ways) {
            *height += (*way).min(reached);
        }
        best.map(|(_, end)| search.chain_to(end))
    }
}

/// One search: what it costs to reach each node, as seen from the heights, and from where.
struct Search {
    ways: Vec<i64>,
    before: Vec<Option<usize>>,
    done: Vec<bool>,
}

impl Search {
    fn new(heights: &[i64], givers: &[bool]) -> Search {
        // All givers are reached at no cost from one point of height 0. That may be less than nothing as seen
        // from the heights, which the search does not mind where it starts.
        let start = |(height, gives): (&i64, &bool)| if *gives { -height } else { NO_WAY };
        Search {
            ways: heights.iter().zip(givers).map(start).collect(),
            before: vec![None; heights.len()],
            done: vec![false; heights.len()],
        }
    }

    /// The nearest node that was reached and not gone on from.
    fn nearest(&self) -> Option<usize> {
        let open = (0..self.ways.len()).filter(|node| !self.done[*node]);
        let nearest = open.min_by_key(|node| self.ways[*node])?;
        (self.ways[nearest] < NO_WAY).then_some(nearest)
    }

    fn go_on_from(&mut self, node: usize, costs: &[i64], heights: &[i64]) {
        self.done[node] = true;
        let here = self.ways[node] + heights[node];
        for (to, cost) in costs.iter().enumerate() {
            let way = here + cost - heights[to];
            debug_assert!(
                way >= self.ways[node],
                "a swap gains as seen from the heights"
            );
            if way < self.ways[to] && *cost < NO_WAY && !self.done[to] {
                self.ways[to] = way;
                self.before[to] = Some(node);
            }
        }
    }

    fn chain_to(&self, end: usize) -> Vec<u16> {
        let before = |node: &usize| self.before[*node];
        let mut chain: Vec<u16> = std::iter::successors(Some(end), before)
            .map(|node| node as u16)
            .collect();
        chain.reverse();
        chain
    }
}
