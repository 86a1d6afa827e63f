use super::*;
use crate::{config, endpoint, engine};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// All distinct, in snake_case.
pub(crate) fn assert_codes(codes: &[&str]) {
    let distinct: BTreeSet<_> = codes.iter().collect();
    assert_eq!(distinct.len(), codes.len(), "{codes:?}");
    for code in codes {
        let words = code.split('_');
        let mut plain =
            words.map(|word| word.bytes().all(|b| b.is_ascii_lowercase()) && !word.is_empty());
        assert!(plain.all(|plain| plain), "{code}");
    }
}

/// One of everything.
fn status() -> Status {
    let last_error = LastError {
        code: "name_unresolved".to_owned(),
        words: "vps.example.net: the server's name cannot be resolved: timeout".to_owned(),
        remedy: "check the name".to_owned(),
        age_s: 12,
    };
    let mut path = Path {
        wan: "lte".to_owned(),
        device: "wwan0".to_owned(),
        local: "192.0.2.7:41830".to_owned(),
        remote: "198.51.100.1:51830".to_owned(),
        public_address: Some("203.0.113.7".to_owned()),
        nat: Some(true),
        state: PathState::Held,
        rtt_ms: 23.5,
        rate_up_kbps: 7,
        mtu: 1492,
        quota_used_mb: 3,
        tested: Some(Tested {
            up_kbps: Some(900),
            at: 1_800_000_000,
            age_s: 60,
            ..Tested::default()
        }),
        ..Path::default()
    };
    path.set_reason(engine::Reason::Late(180).into());
    let peer = Peer {
        name: "vps".to_owned(),
        state: PeerState::Up,
        endpoint: "198.51.100.1:51830".to_owned(),
        paths: vec![path],
        last_error: Some(last_error),
        speed_test: Some(SpeedTest {
            id: 2,
            running: true,
            percent: 40,
            steps: vec![SpeedStep {
                wans: vec!["lte".to_owned()],
                way: "up".to_owned(),
                kbps: Some(900),
                ..SpeedStep::default()
            }],
        }),
        ..Peer::default()
    };
    Status {
        version: "0.1.0".to_owned(),
        role: Role::Client,
        state: State::Up,
        uptime_s: 5,
        device: "onebox0".to_owned(),
        mtu: 1420,
        addresses: vec!["10.99.0.2/24".to_owned()],
        peers: vec![peer],
        drops: BTreeMap::from([("bad mac".to_owned(), 2)]),
        drop_codes: BTreeMap::from([("bad_mac".to_owned(), 2)]),
        problems: vec![ShownProblem {
            code: "routes_refused".to_owned(),
            since_s: 1000,
            ..ShownProblem::default()
        }],
    }
}

/// The status contract: names and values that programs rely on. Fields may be added to it.
#[test]
fn the_status_is_as_the_contract_says() {
    let path = json!({
        "wan": "lte", "device": "wwan0", "link_type": "", "gateway": "", "local": "192.0.2.7:41830",
        "remote": "198.51.100.1:51830", "public_address": "203.0.113.7", "nat": true,
        "state": "held",
        "reason": "adds 180 ms and would slow the bond",
        "reason_code": "late", "reason_value": 180,
        "rtt_ms": 23.5, "rtt_min_ms": 0.0, "jitter_ms": 0.0,
        "loss_up_percent": 0.0, "loss_down_percent": 0.0,
        "rate_up_kbps": 7, "rate_down_kbps": 0,
        "capacity_up_kbps": null, "capacity_down_kbps": null,
        "mtu": 1492, "rx_bytes": 0, "tx_bytes": 0, "quota_used_mb": 3, "last_error": null,
        "tested": { "up_kbps": 900, "down_kbps": null, "at": 1_800_000_000, "age_s": 60 },
    });
    let bond = json!({
        "goodput_up_kbps": 0, "goodput_down_kbps": 0,
        "best_single_up_kbps": null, "best_single_down_kbps": null,
        "hold_ms": 0.0, "retransmitted": 0, "duplicated": 0, "released_late": 0, "tested": null,
    });
    let last_error = json!({
        "code": "name_unresolved",
        "words": "vps.example.net: the server's name cannot be resolved: timeout",
        "remedy": "check the name", "age_s": 12,
    });
    let expected = json!({
        "version": "0.1.0", "role": "client", "state": "up", "uptime_s": 5,
        "device": "onebox0", "mtu": 1420, "addresses": ["10.99.0.2/24"],
        "peers": [{
            "name": "vps", "state": "up", "endpoint": "198.51.100.1:51830",
            "last_handshake_s": null, "rx_bytes": 0, "tx_bytes": 0,
            "paths": [path], "bond": bond, "last_error": last_error,
            "speed_test": { "id": 2, "running": true, "percent": 40, "steps": [{
                "wans": ["lte"], "way": "up", "kbps": 900, "error": null, "error_code": null,
            }] },
        }],
        "drops": {"bad mac": 2}, "drop_codes": {"bad_mac": 2},
        "problems": [{
            "code": "routes_refused", "subject": "", "words": "", "remedy": "", "since_s": 1000,
        }],
    });
    assert_eq!(serde_json::to_value(status()).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Status>(expected).unwrap(), status());
}

#[test]
fn events_are_as_the_contract_says() {
    let change = Change::Path {
        peer: "vps".to_owned(),
        wan: "lte".to_owned(),
        device: "wwan0".to_owned(),
        state: PathState::Suspect,
        reason: "nothing acknowledged for 250 ms".to_owned(),
        reason_code: "silent".to_owned(),
        reason_value: Some(250),
    };
    let expected = json!({
        "peer": "vps", "wan": "lte", "device": "wwan0", "state": "suspect",
        "reason": "nothing acknowledged for 250 ms",
        "reason_code": "silent", "reason_value": 250,
    });
    assert_eq!(serde_json::to_value(&change).unwrap(), expected);
}

/// The command line and the running program need not be of one version.
#[test]
fn older_and_newer_programs_are_read() {
    let mut value = serde_json::to_value(status()).unwrap();
    value["state"] = json!("asleep");
    value["role"] = json!("relay");
    value["later"] = json!({"a": 1});
    let path = &mut value["peers"][0]["paths"][0];
    path["state"] = json!("resting");
    path["reason_code"] = json!("tired");
    let read: Status = serde_json::from_value(value.clone()).unwrap();
    assert_eq!((read.state, read.role), (State::Unknown, Role::Unknown));
    let path = &read.peers[0].paths[0];
    assert_eq!((path.state, path.reason_code.as_str()), (PathState::Unknown, "tired"));

    for new in ["problems", "drop_codes"] {
        value.as_object_mut().unwrap().remove(new);
    }
    let peer = value["peers"][0].as_object_mut().unwrap();
    peer.remove("last_error");
    let path = peer["paths"][0].as_object_mut().unwrap();
    for new in [
        "reason_code",
        "reason_value",
        "last_error",
        "link_type",
        "gateway",
        "public_address",
        "nat",
    ] {
        path.remove(new);
    }
    let read: Status = serde_json::from_value(value).unwrap();
    assert_eq!((read.problems.len(), read.peers[0].last_error.is_none()), (0, true));

    let old = json!({"id": 1, "time_s": 2, "peer": "vps", "wan": "lte", "device": "", "state":
        "new", "reason": "x"});
    let event: Event = serde_json::from_value(old).unwrap();
    assert!(matches!(event.change, Change::Path { state: PathState::Unknown, .. }));
}

#[test]
fn states_have_the_names_of_the_layers_below() {
    use engine::PathState as Engine;
    for (state, name) in [
        (Engine::Probing, "probing"),
        (Engine::Active, "active"),
        (Engine::Backup, "backup"),
        (Engine::Suspect, "suspect"),
        (Engine::Held, "held"),
        (Engine::Down, "down"),
    ] {
        assert_eq!(PathState::from(state).as_str(), name);
    }
    for state in
        [endpoint::PeerState::Connecting, endpoint::PeerState::Up, endpoint::PeerState::Down]
    {
        assert_eq!(PeerState::from(state).as_str(), state.as_str());
    }
    let client = config::Role::Client(config::Client {
        discover: true,
        outage: config::Outage::Closed { kill_switch: false },
        wans: Vec::new(),
    });
    assert_eq!(Role::from(&client).as_str(), client.as_str());
}
