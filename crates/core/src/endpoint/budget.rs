//! One bound for the packets that all peers keep together.
//!
//! Why: each peer's bound is what one fast connection needs. Thousands of peers that each take it
//! would take all memory, and one peer that is slow to fetch its packets would do so at the cost of
//! the others.
//!
//! How: a peer may keep as much as is free, and never more than its own bound (dynamic thresholds with
//! factor 1: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
//! IEEE/ACM Transactions on Networking 6(2), 1998). While little is in use nobody notices; the more
//! peers are busy, the less each of them gets, and a part always stays free for who comes next.
//!
//! Limits: what counts are buffers of packets. What a peer costs without packets is bounded by the
//! number of peers.

/// See the module. All in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    all_max: usize,
    peer_max: usize,
    used: usize,
}

impl Budget {
    /// Bounds for all peers together and for each.
    pub fn new(all_max: usize, peer_max: usize) -> Budget {
        Budget { all_max, peer_max, used: 0 }
    }

    /// What each peer may keep.
    pub fn share(&self) -> usize {
        self.peer_max.min(self.all_max.saturating_sub(self.used))
    }

    /// Some peer keeps `now` instead of `charged`, which is made the same.
    pub fn charge(&mut self, charged: &mut usize, now: usize) {
        self.used = (self.used + now).saturating_sub(*charged);
        *charged = now;
    }

    /// What all keep.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_its_bound_and_many_share() {
        let mut budget = Budget::new(100, 40);
        let mut charged = [0; 200];
        assert_eq!(budget.share(), 40);
        budget.charge(&mut charged[0], 40);
        assert_eq!(budget.share(), 40);
        // Everybody takes as much as is allowed, one after the other, again and again.
        for _ in 0..50 {
            for peer in &mut charged {
                let more = (*peer + 1).min(budget.share().max(*peer));
                budget.charge(peer, more);
            }
        }
        assert!(budget.used() <= 100, "{}", budget.used());
        for peer in &mut charged {
            budget.charge(peer, 0);
        }
        assert_eq!((budget.used(), budget.share()), (0, 40));
    }
}
