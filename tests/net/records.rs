//! What the program remembers: quotas over a restart, the recent past, and what has happened.

use crate::lab::onebox::{Instance, Pair, START, wan_section};
use crate::lab::programs::{TempDir, poll_until};
use crate::lab::topology::{INTERNET, Lab, Wan};
use crate::lab::traffic::{Flow, Sends};
use onebox::control::{Request, client};
use onebox::status::{Change, Event, Events, History, PathState, PeerState};
use std::time::Duration;

fn events(instance: &Instance<'_>) -> Vec<Event> {
    let asked = Request::Events { since: None };
    client::ask::<Events>(&instance.control(), &asked).expect("events").events
}

/// A WAN whose volume is used up is a backup, says why and until when, stays so over a restart,
/// and still carries when nothing else does.
#[test]
fn a_quota_that_is_used_up_makes_a_backup() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let state = TempDir::new();
    let quota = format!(
        "{}{}\toption quota_mb '6'\n\toption quota_day '1'\n",
        wan_section("wan1"),
        wan_section("wan2")
    );
    let mut pair = Pair::with_wans(&lab, &wan_section("wan1"), 1);
    let config = pair.router_config(&quota).replacen(
        "\toption enabled '1'\n",
        &format!("\toption enabled '1'\n\toption state_dir '{}'\n", state.file(".").display()),
        1,
    );
    pair.router.write_config(&config);
    assert!(pair.router.command(&["reload"]).status.success());
    pair.router.wait_up(2, START);
    let lan = &lab.site().lan;
    let flow = Flow::start(lan, &lab.internet, INTERNET, Sends::Down, None);
    let limited = pair.router.wait_path("wan2", &["backup"], Duration::from_secs(20));
    assert!(limited.quota_used_mb >= 6, "{limited:?}");
    assert!(limited.reason.starts_with("quota used up, only a backup until 1 "), "{limited:?}");
    let wan1 = pair.router.path("wan1").expect("a path");
    assert_eq!((wan1.state.as_str(), wan1.quota_used_mb), ("active", 0));
    flow.wait_for(2_000_000, Duration::from_secs(5));
    let told = events(&pair.router);
    let full = told.iter().any(|event| {
        matches!(&event.change, Change::Path { wan, state: PathState::Backup, reason, reason_code, .. }
            if wan == "wan2" && reason.starts_with("quota used up") && reason_code == "quota_used_up")
    });
    assert!(full, "{told:?}");
    drop(flow);

    pair.router.stop();
    pair.router.start();
    pair.router.wait_up(1, START);
    let limited = pair.router.wait_path("wan2", &["backup"], Duration::from_secs(5));
    assert!(limited.quota_used_mb >= 6, "{limited:?}");
    lab.link(0).set("carrier off");
    let flow = Flow::start(lan, &lab.internet, INTERNET, Sends::Down, None);
    flow.wait_for(500_000, Duration::from_secs(15));
}

/// The rates and round trips of the last seconds, and the changes of state with their reasons.
#[test]
fn the_recent_past_is_remembered_on_both_ends() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 30)]);
    let pair = Pair::up(&lab);
    let flow = Flow::start(&lab.site().lan, &lab.internet, INTERNET, Sends::Down, None);
    flow.wait_for(10_000_000, Duration::from_secs(20));
    let ask = |instance: &Instance<'_>, step| {
        let asked = Request::History { since: None, step };
        client::ask::<History>(&instance.control(), &asked).expect("history")
    };
    for instance in [&pair.router, &pair.server] {
        let history = ask(instance, None);
        assert_eq!((history.step_s, history.series.len()), (1, 3), "{history:?}");
        let peak = |of: &[u64]| of.iter().copied().max().unwrap_or(0);
        let total = &history.series[0];
        assert!(total.wan.is_empty() && peak(&total.down_kbps) > 10_000, "{total:?}");
        assert!(peak(&total.up_kbps) < 5_000, "{total:?}");
        for path in &history.series[1..] {
            let last = path.rtt_ms.last().copied().unwrap_or(0.0);
            assert!((15.0..500.0).contains(&last), "{path:?}");
        }
        let later = Request::History { since: Some(history.end_s - 1), step: Some(1) };
        let later: History = client::ask(&instance.control(), &later).expect("history");
        assert!((1..4).contains(&later.series[0].up_kbps.len()), "{later:?}");
        assert_eq!(ask(instance, Some(60)).step_s, 60);
    }
    lab.link(1).set("carrier off");
    let lost = poll_until(Duration::from_secs(5), "the loss is told", || {
        events(&pair.router).into_iter().find(|event| {
            matches!(&event.change, Change::Path { wan, state: PathState::Down, .. } if wan == "wan2")
        })
    });
    assert!(lost.time_s > 1_700_000_000);
    assert!(matches!(lost.change, Change::Path { reason, .. } if reason == "link is down"));
    let first = &events(&pair.server)[0];
    assert!(matches!(&first.change, Change::Peer { peer, state: PeerState::Up } if peer == "home"));
}
