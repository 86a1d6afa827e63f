//! What bonding is for: faster than each link, never worse than the better one.
//!
//! The better link alone is measured in the same run, as plain TCP from the router.

use crate::PLAIN_TCP;
use crate::lab::onebox::Pair;
use crate::lab::programs::ping;
use crate::lab::topology::{INTERNET, Lab, SERVER, Wan};
use crate::lab::traffic::{Flow, Sends};
use std::time::Duration;

/// Time in which a flow finds its rate, and time over which it is then measured.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURE: Duration = Duration::from_secs(5);

/// Goodput of one TCP flow through the bond, Mbit/s.
fn bonded(lab: &Lab, sends: Sends) -> f64 {
    let flow = Flow::start(&lab.site().lan, &lab.internet, INTERNET, sends, None);
    flow.measure(WARM_UP);
    flow.measure(MEASURE)
}

/// Goodput of one plain TCP flow over one link, Mbit/s.
fn plain(lab: &Lab, link: usize, sends: Sends) -> f64 {
    let device = lab.site().device(link);
    let flow = Flow::start(&lab.site().router, &lab.server, SERVER, sends, Some(&device));
    flow.measure(WARM_UP);
    flow.measure(MEASURE)
}

/// One flow over two equal links gets at least 85 % of what both could carry, both ways.
#[test]
fn one_flow_fills_two_equal_links() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 20), Wan::mbit_ms(50, 20)]);
    let _pair = Pair::up(&lab);
    for sends in [Sends::Up, Sends::Down] {
        let mbit = bonded(&lab, sends);
        println!("{sends:?}: {mbit:.1} of {:.1} Mbit/s", PLAIN_TCP * 100.0);
        assert!(mbit >= 0.85 * PLAIN_TCP * 100.0, "{sends:?}: {mbit} Mbit/s");
    }
}

/// At low load the bond adds less than 2 ms to the better link's round trip.
#[test]
fn an_idle_bond_adds_no_delay() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 20), Wan::mbit_ms(50, 30)]);
    let better = ping(&lab.site().router, SERVER, 30, 30, &["-I", "wan1"]).median_ms();
    let _pair = Pair::up(&lab);
    let bonded = ping(&lab.site().lan, INTERNET, 60, 30, &[]);
    assert_eq!(bonded.rtts_ms.len(), 60);
    let added = bonded.median_ms() - better;
    println!("{added:.2} ms added to {better:.2} ms");
    assert!(added < 2.0, "{added} ms beyond {better} ms");
}

/// Links whose delays differ by 50 ms are together better than the better one alone.
#[test]
fn unequal_delays_still_help() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 20), Wan::mbit_ms(50, 70)]);
    better_than_the_best(&lab, &[0, 1]);
}

/// One link that loses 1 % of its packets still helps the other.
#[test]
fn a_lossy_link_still_helps() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 20), Wan::mbit_ms(50, 20)]);
    lab.link(1).set("set loss=1%");
    better_than_the_best(&lab, &[0]);
}

/// The bond beats each of these links alone, both ways.
fn better_than_the_best(lab: &Lab, links: &[usize]) {
    for sends in [Sends::Up, Sends::Down] {
        let best = links.iter().map(|link| plain(lab, *link, sends)).fold(0.0, f64::max);
        let mbit = {
            let _pair = Pair::up(lab);
            bonded(lab, sends)
        };
        println!("{sends:?}: {mbit:.1} Mbit/s bonded, {best:.1} the best alone");
        assert!(mbit > best, "{sends:?}: {mbit} Mbit/s, the best alone {best} Mbit/s");
    }
}

/// A plain flow beside the tunnel on one of two links keeps at least a third of that link, and so does
/// the bond. CUBIC takes its time to open a window for a link that another fills.
#[test]
#[ignore = "takes 2.5 minutes"]
fn a_link_is_shared_fairly_with_plain_traffic() {
    const SETTLE: Duration = Duration::from_secs(25);
    const LONG: Duration = Duration::from_secs(40);
    const LINK: f64 = PLAIN_TCP * 50.0;
    // Of the other link all, less the tunnel's headers.
    const OTHER: f64 = LINK * 0.95;
    let lab = Lab::new(&[Wan::mbit_ms(50, 20), Wan::mbit_ms(50, 30)]);
    let _pair = Pair::up(&lab);
    for sends in [Sends::Up, Sends::Down] {
        let through = Flow::start(&lab.site().lan, &lab.internet, INTERNET, sends, None);
        through.measure(WARM_UP);
        let device = lab.site().device(0);
        let beside = Flow::start(&lab.site().router, &lab.server, SERVER, sends, Some(&device));
        beside.measure(SETTLE);
        let begin = through.age_ms();
        let plain = beside.measure(LONG);
        let ours = through.mbit_between(begin, through.age_ms()) - OTHER;
        println!("{sends:?}: plain {plain:.1} Mbit/s, ours {ours:.1} of {LINK:.1}");
        assert!(plain.min(ours) > LINK / 3.0 * 0.95, "{sends:?}: plain {plain}, ours {ours}");
    }
}
