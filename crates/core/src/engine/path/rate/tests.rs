use super::*;

/// A link of `rate` bytes per second with a deep queue and no jitter, fed as fast as the
/// controller allows; returns the bytes delivered per millisecond of the last second and the
/// longest queue of that second.
struct Link {
    rate: Rate,
    rtt: Rtt,
    owd: Owd,
    pacer: super::super::pacing::Pacer,
    in_flight: VecDeque<(Time, Time, u64)>,
    free_at: Time,
    flying: u64,
}

impl Link {
    fn new() -> Link {
        Link {
            rate: Rate::new(Time::ZERO, None),
            rtt: Rtt::default(),
            owd: Owd::default(),
            pacer: Default::default(),
            in_flight: VecDeque::new(),
            free_at: Time::ZERO,
            flying: 0,
        }
    }

    fn run(&mut self, from: Time, to: Time, capacity: u64) -> (u64, u64) {
        let (mut delivered, mut worst) = (0, 0);
        let mut now = from;
        while now < to {
            while self.pacer.next() <= now
                && self.flying + 1400 <= self.rate.window(&self.rtt, &self.owd)
            {
                self.pacer.on_sent(now, 1400, self.rate.pacing(&self.rtt, &self.owd));
                self.flying += 1400;
                self.free_at = self.free_at.max(now) + 1400 * 1_000_000 / capacity;
                self.in_flight.push_back((now, self.free_at + 20_000, 1400));
            }
            let mut newest = None;
            let mut bytes = 0;
            while let Some(&(sent, arrives, size)) = self.in_flight.front() {
                if arrives + 20_000 > now {
                    break;
                }
                self.in_flight.pop_front();
                self.flying -= size;
                bytes += size;
                newest = Some((sent, arrives));
            }
            if let Some((sent, arrives)) = newest {
                self.rtt.add(now, now.since(sent));
                self.owd.add(now, arrives.0 as i64 - sent.0 as i64, false);
                let flying = self.flying;
                let delay = arrives.0 as i64 - sent.0 as i64;
                self.rate.on_ack(now, bytes, arrives.0, delay, flying, &self.rtt, &self.owd);
                if to.since(now) < 1_000_000 {
                    delivered += bytes;
                    worst = worst.max(self.free_at.since(now));
                }
            }
            now = now + 1000;
        }
        (delivered, worst)
    }
}

#[test]
fn finds_the_rate_and_keeps_the_queue_short() {
    for capacity in [125_000, 1_250_000, 6_250_000, 37_500_000] {
        let mut link = Link::new();
        let (delivered, queue) = link.run(Time(0), Time(3_000_000), capacity);
        assert!(delivered * 100 > capacity * 96, "{delivered} of {capacity}");
        // A few whole packets are always allowed.
        let bound = 45_000.max(8 * 1400 * 1_000_000 / capacity);
        assert!(queue < bound, "{queue} us of queue at {capacity}");
    }
}

#[test]
fn three_hundred_megabit_are_found_in_ten_round_trips() {
    let mut link = Link::new();
    link.run(Time(0), Time(500_000), 37_500_000);
    assert!(link.rate.bandwidth() > 30_000_000, "{}", link.rate.bandwidth());
}

#[test]
fn a_slow_link_is_not_flooded_for_long() {
    let mut link = Link::new();
    link.run(Time(0), Time(600_000), 1_250_000);
    let (_, queue) = link.run(Time(600_000), Time(1_500_000), 1_250_000);
    assert!(queue < 60_000, "{queue}");
}

#[test]
fn a_falling_and_rising_rate_is_followed() {
    let mut link = Link::new();
    link.run(Time(0), Time(3_000_000), 5_000_000);
    let (delivered, queue) = link.run(Time(3_000_000), Time(6_000_000), 625_000);
    assert!(delivered * 100 > 625_000 * 90, "{delivered}");
    assert!(queue < 60_000, "{queue} us of queue");
    let (delivered, _) = link.run(Time(6_000_000), Time(10_000_000), 5_000_000);
    assert!(delivered * 100 > 5_000_000 * 90, "{delivered}");
}

#[test]
fn a_link_has_a_capacity_when_it_was_full_and_keeps_it() {
    let mut link = Link::new();
    assert_eq!(link.rate.capacity(), None);
    // Some packets now and then, all of them answered, and one that is late: nothing is full.
    let mut now = Time(0);
    for n in 0..500u64 {
        now = now + 20_000;
        link.rate.on_limited(0);
        let delay = if n % 50 == 49 { 90_000 } else { 20_000 };
        link.rtt.add(now, 20_000 + delay);
        link.owd.add(now, delay as i64, true);
        let Link { rate, rtt, owd, .. } = &mut link;
        rate.on_ack(now, 300, now.0, delay as i64, 0, rtt, owd);
    }
    assert!(link.rate.bandwidth() > 0, "an estimate there is");
    assert_eq!(link.rate.capacity(), None, "{:?}", link.rate);
    let mut link = Link::new();
    link.run(Time(0), Time(2_000_000), 1_250_000);
    let full = link.rate.capacity().expect("it was full");
    assert!(full.abs_diff(1_250_000) < 60_000, "{full}");
    link.rate.restart(Time(2_000_000));
    assert_eq!(link.rate.capacity(), Some(full), "told until it is full again");
    let bounded = Rate::new(Time(0), Some(500_000));
    assert_eq!(bounded.capacity(), Some(500_000), "what is configured is known");
}
