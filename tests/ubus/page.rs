//! What the status page of LuCI costs the program: it asks for the same three things every 3 s.

use crate::bus::{Bus, Kind, SOON};
use crate::lab::onebox::{Instance, Keys, START, peer_of, router_config, server_config};
use crate::lab::programs::poll_until;
use crate::lab::topology::{Lab, Wan};
use crate::tunnel::possible;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use onebox_openwrt::ubus::Status;
use serde_json::{Value, json};
use std::time::Duration;

/// How often the page is played.
const POLLS: u32 = 1000;
/// Seconds between two polls of the page.
const INTERVAL_S: u64 = 3;
/// A thousandth of a core.
const COST_MAX: Duration = Duration::from_millis(INTERVAL_S);

/// Processor time of all threads of a process.
fn processor_time(pid: u32) -> Duration {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    Duration::from(clock_gettime(clock_getcpuclockid(pid).unwrap()).unwrap())
}

#[test]
fn the_page_costs_less_than_a_thousandth_of_a_core() {
    if !possible() {
        return;
    }
    let lab = Lab::new(&[Wan::mbit_ms(30, 10); 4]);
    let bus = Bus::started(Kind::StandIn);
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let _server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
    let config = router_config(&router_keys, &server_keys.public, None, 2, "");
    let socket = format!("\toption ubus_socket '{}'\n", bus.socket().display());
    let config = config.replacen("\toption enabled '1'\n", &socket, 1);
    let router = Instance::started(&lab.site().router, &config);
    router.wait_up(4, START);

    let mut caller = bus.client();
    let onebox = caller.wait_for("onebox");
    let mut ask = |method: &str, arguments: Value| {
        let (status, answer) = caller.call(onebox, method, arguments);
        assert_eq!(status, Status::OK, "{method}");
        answer
    };
    let length = |history: &Value| history["series"][1]["up_kbps"].as_array().map_or(0, Vec::len);
    let end_s = poll_until(SOON, "seconds of history", || {
        let history = ask("history", json!({"since": 0}));
        (length(&history) as u64 > INTERVAL_S).then(|| history["end_s"].as_u64().unwrap())
    });
    let pid = router.program().pid();
    let before = processor_time(pid);
    for _ in 0..POLLS {
        assert_eq!(ask("status", json!({}))["peers"][0]["paths"].as_array().unwrap().len(), 4);
        assert!(length(&ask("history", json!({"since": end_s - INTERVAL_S}))) as u64 >= INTERVAL_S);
        ask("events", json!({"since": end_s}));
    }
    let cost = (processor_time(pid) - before) / POLLS;
    let share = cost.as_secs_f64() / INTERVAL_S as f64 * 100.0;
    println!("a poll of the page, four WANs: {cost:?} of processor time, {share:.4} % of a core");
    assert!(cost < COST_MAX, "{cost:?}");
}
