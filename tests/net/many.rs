//! A server with as many peers as it takes, nearly all of which never come.

use crate::lab::clock;
use crate::lab::onebox::{Instance, Keys, Peer, START, peer_of, router_config, server_config};
use crate::lab::programs::{ping, poll_until};
use crate::lab::topology::{INTERNET, Lab, Wan};
use onebox::control::{Request, client};
use onebox::crypto::keys::PrivateKey;
use onebox::endpoint::PEERS_MAX;
use onebox::status::{Events, PeerState};
use std::time::Duration;

/// Resident bytes of the program with all peers configured.
const RESIDENT_MAX: u64 = 25 << 20;
/// What a peer that begins anew may cost the control thread, in statuses of all peers: a ratio, since a busy
/// machine is slower in both. It makes two or three events, each told in several places.
const STATUSES_MAX: u32 = 2;
/// Times that the one peer begins anew.
const ANEW: usize = 30;

/// A server's configuration with peers that never come, and one that does.
fn config(keys: &Keys, home: Peer<'_>) -> String {
    let mut text = server_config(keys, &[home]);
    for n in 1..PEERS_MAX {
        let mut key = [0; 32];
        key[8..10].copy_from_slice(&(n as u16).to_be_bytes());
        text += &format!(
            "config peer 'p{n}'\n\toption public_key '{}'\n\
             \tlist allowed_ips '10.80.{}.{}/32'\n\tlist allowed_ips 'fd80::{n:x}/128'\n",
            PrivateKey::from_bytes(key).public(),
            n / 256,
            n % 256
        );
    }
    text
}

/// Processor time of the first thread of a process (proc(5), schedstat).
fn control_thread(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).expect("times");
    Duration::from_nanos(text.split(' ').next().expect("a field").parse().expect("a number"))
}

/// The last event's number and time. What was before `since` is not asked for.
fn last_event(instance: &Instance<'_>, since: u64) -> (u64, u64) {
    let asked = Request::Events { since: Some(since) };
    let told = client::ask::<Events>(&instance.control(), &asked).expect("events").events;
    told.last().map_or((0, 0), |event| (event.id, event.time_s))
}

#[test]
fn thousands_of_idle_peers_cost_little() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let home = peer_of(lab.site(), "home", &router_keys, None, 2);
    let server = Instance::started(&lab.server, &config(&server_keys, home));
    let pid = server.program().pid();
    let idle = server.program().rss_bytes();
    assert_eq!(server.status().peers.len(), PEERS_MAX);
    let shown = server.program().rss_bytes();
    println!(
        "{PEERS_MAX} peers: {:.1} MB resident, {:.1} MB after a status of all of them",
        idle as f64 / 1e6,
        shown as f64 / 1e6
    );
    assert!(idle <= RESIDENT_MAX, "{idle} bytes resident");

    let router_text = router_config(&router_keys, &server_keys.public, None, 2, "");
    let router = Instance::started(&lab.site().router, &router_text);
    router.wait_up(2, START);
    let (first, mut time) = last_event(&server, 0);
    // What its seconds and the requests cost, without events.
    let spent_by = |act: &mut dyn FnMut()| {
        let before = control_thread(pid);
        act();
        control_thread(pid).saturating_sub(before)
    };
    const REQUESTS: u32 = 100;
    let of_second = spent_by(&mut || clock::pass(Duration::from_secs(3))) / 3;
    let of_request = spent_by(&mut || {
        for _ in 0..REQUESTS {
            last_event(&server, time);
        }
    });
    let of_request = of_request / REQUESTS;
    let of_status = spent_by(&mut || (0..REQUESTS).for_each(|_| drop(server.status()))) / REQUESTS;
    let mut requests = 1;
    let (before, mut last) = (control_thread(pid), first);
    let since = clock::now();
    for _ in 0..ANEW {
        let asked = Request::Reconnect { peer: None };
        client::request(&router.control(), &asked).expect("it reconnects");
        (last, time) = poll_until(START, "the server has heard of it", || {
            requests += 1;
            Some(last_event(&server, time)).filter(|(id, _)| *id > last)
        });
        router.wait_up(2, START);
    }
    let count = last_event(&server, time).0 - first;
    let spent = control_thread(pid).saturating_sub(before);
    let others = of_second.mul_f64(since.elapsed().as_secs_f64()) + of_request * requests;
    let spent = spent.saturating_sub(others);
    println!(
        "{count} events in {:.1} s: {:.2} ms of the control thread each, a status {:.2} ms",
        since.elapsed().as_secs_f64(),
        spent.as_secs_f64() * 1e3 / count as f64,
        of_status.as_secs_f64() * 1e3
    );
    assert!(count >= ANEW as u64, "{count} events");
    assert!(spent <= of_status * STATUSES_MAX * ANEW as u32, "{spent:?} for {count} events");
    assert_eq!(ping(&lab.site().lan, INTERNET, 5, 50, &[]).rtts_ms.len(), 5);
    assert_eq!(server.status().peers[0].state, PeerState::Up);

    // A reload that changes one of them leaves the others alone, and the connection.
    let text = config(&server_keys, peer_of(lab.site(), "home", &router_keys, None, 2));
    server.write_config(&text.replacen("fd80::fff/128", "fd81::fff/128", 1));
    let output = server.command(&["reload"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ping(&lab.site().lan, INTERNET, 5, 50, &[]).rtts_ms.len(), 5);
}
