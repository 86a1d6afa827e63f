//! WANs by netifd's names and changes of state, with real tunnels in namespaces.

use crate::bus::{Bus, Caller, SOON, kinds, on_path};
use crate::lab::onebox::{Instance, Keys, Peer, START, router_config, server_config};
use crate::lab::programs::poll_until;
use crate::lab::topology::{Lab, Wan};
use onebox::status::State;
use onebox_openwrt::ubus::{Client, Incoming, Method, Object, Status};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// As much of netifd as the program asks for.
struct Netifd {
    tell: mpsc::UnboundedSender<(Map<String, Value>, Signal)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How netifd says that something has changed.
#[derive(Clone, Copy, PartialEq)]
enum Signal {
    Notification,
    Event,
}

impl Netifd {
    const OBJECT: Object =
        Object { path: "network.interface", methods: &[Method { name: "dump", arguments: &[] }] };

    fn start(socket: &Path, dump: Map<String, Value>) -> Netifd {
        let (tell, mut told) = mpsc::unbounded_channel();
        let socket = socket.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut client = Client::connect(&socket).await.unwrap();
                let object = client.add(&Netifd::OBJECT).await.unwrap();
                let mut dump = dump;
                loop {
                    tokio::select! {
                        incoming = client.next() => match incoming.unwrap() {
                            Incoming::Call(call) => {
                                assert_eq!(call.method, "dump");
                                client.answer(&call, Some(&dump), Status::OK).unwrap();
                            }
                            Incoming::Reply(_, reply) => assert_eq!(reply.status, Status::OK),
                            _ => {}
                        },
                        news = told.recv() => {
                            let Some((new, signal)) = news else { return };
                            dump = new;
                            let about = Map::from_iter([("interface".into(), json!("lte"))]);
                            match signal {
                                Signal::Notification => {
                                    client.notify(object, "interface.update", &about).unwrap();
                                }
                                Signal::Event => {
                                    client.send_event("network.interface", &about).unwrap();
                                }
                            }
                        }
                    }
                }
            });
        });
        Netifd { tell, thread: Some(thread) }
    }

    /// From now on this is so.
    fn change(&self, dump: Map<String, Value>, signal: Signal) {
        self.tell.send((dump, signal)).unwrap();
    }

    fn stop(mut self) {
        let thread = self.thread.take().unwrap();
        drop(self);
        thread.join().unwrap();
    }
}

/// Interfaces and the devices behind them.
fn dump(list: &[(&str, &str)]) -> Map<String, Value> {
    let entry = |&(name, device): &(&str, &str)| json!({"interface": name, "up": true, "l3_device": device, "device": device});
    Map::from_iter([("interface".into(), list.iter().map(entry).collect())])
}

pub fn possible() -> bool {
    let tools = ["ip", "nft"].iter().all(|tool| on_path(tool).is_some());
    let tun = std::fs::File::options().write(true).open("/dev/net/tun").is_ok();
    let possible = tools && tun && nix::unistd::geteuid().is_root();
    if !possible {
        println!("SKIPPED: needs root, ip, nft and /dev/net/tun");
    }
    possible
}

fn event(name: &str, data: Value) -> (String, Value) {
    (name.to_owned(), data)
}

#[test]
fn wans_are_found_by_netifd_and_changes_are_told() {
    if !possible() {
        return;
    }
    for kind in kinds() {
        let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
        let mut bus = Bus::started(kind);
        let netifd = Netifd::start(&bus.socket(), dump(&[("dsl", "wan1"), ("lte", "gone0")]));
        bus.client().wait_for("network.interface");
        let (server_keys, router_keys) = (Keys::new(), Keys::new());
        let peer = Peer {
            name: "home",
            public: &router_keys.public,
            preshared: None,
            number: 2,
            lan_number: lab.site().lan_number,
        };
        let _server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
        let wans = "config wan 'dsl'\n\toption interface 'dsl'\n\
                    config wan 'phone'\n\toption interface 'lte'\n";
        let config = router_config(&router_keys, &server_keys.public, None, 2, wans);
        let socket = format!("\toption ubus_socket '{}'\n", bus.socket().display());
        let config = config.replacen("\toption enabled '1'\n", &socket, 1);
        let router = Instance::started(&lab.site().router, &config);
        router.wait_up(1, START);
        let dsl = router.path("wan1").expect("a path over wan1");
        assert_eq!((dsl.wan.as_str(), router.path("wan2").is_none()), ("dsl", true));

        let mut caller = bus.client();
        let onebox = caller.wait_for("onebox");
        caller.listen("onebox.*", onebox);
        netifd.change(dump(&[("dsl", "wan1"), ("lte", "wan2")]), Signal::Notification);
        router.wait_path("wan2", &["active"], Duration::from_secs(3));
        let active = json!({"peer": "vps", "wan": "phone", "device": "wan2", "state": "active",
            "reason": "in use", "reason_code": "in_use", "reason_value": null});
        let expected = event("onebox.path", active);
        // As an event and as a notification.
        caller.hear("the new path", |heard| heard.iter().filter(|e| **e == expected).count() == 2);

        let (status, paths) = caller.call(onebox, "paths", json!({}));
        let names: Vec<_> = paths["paths"].as_array().unwrap().iter().map(|p| &p["wan"]).collect();
        assert_eq!((status, names), (Status::OK, vec![&json!("dsl"), &json!("phone")]));
        if let Some(text) = bus.ubus(&["call", "onebox", "status"]) {
            println!("{text}");
            let shown: onebox::status::Status = serde_json::from_str(&text).unwrap();
            assert_eq!((shown.state.as_str(), shown.peers[0].paths.len()), ("up", 2));
        }
        let to_backup = json!({"wan": "phone", "mode": "backup"});
        assert_eq!(caller.call(onebox, "set_path", to_backup), (Status::OK, json!({})));
        router.wait_path("wan2", &["backup"], Duration::from_secs(3));
        let unknown = json!({"wan": "moon", "mode": "off"});
        let (status, table) = caller.call(onebox, "set_path", unknown);
        assert_eq!((status, &table["code"]), (Status::NOT_FOUND, &json!("unknown_wan")));

        let nobody = caller.call(onebox, "reconnect", json!({"peer": "moon"}));
        let words = json!({"error": "there is no peer 'moon'", "code": "unknown_peer"});
        assert_eq!(nobody, (Status::NOT_FOUND, words));
        let again = caller.call(onebox, "reconnect", json!({"peer": "vps"}));
        assert_eq!(again, (Status::OK, json!({})));
        for state in ["connecting", "up"] {
            let expected = event("onebox.peer", json!({"peer": "vps", "state": state}));
            caller.hear(state, |heard| heard.contains(&expected));
        }
        router.wait_up(1, SOON);

        // netifd goes and comes again, with the interfaces the other way round.
        netifd.stop();
        assert_eq!(router.status().peers[0].paths.len(), 2);
        let netifd = Netifd::start(&bus.socket(), dump(&[("dsl", "wan2"), ("lte", "wan1")]));
        named(&router, "wan1", "phone");
        // The same by the event alone.
        netifd.change(dump(&[("dsl", "wan1"), ("lte", "wan2")]), Signal::Event);
        named(&router, "wan1", "dsl");
        netifd.stop();

        // A bus that goes does not concern the tunnel; when it comes, all is as before.
        bus.stop();
        poll_until(SOON, "the bus is missed", || router.log().contains("no ubus").then_some(()));
        assert_eq!(router.status().state, State::Up);
        bus.start();
        let netifd = Netifd::start(&bus.socket(), dump(&[("dsl", "wan2"), ("lte", "wan1")]));
        let mut caller: Caller = bus.client();
        caller.wait_for("onebox");
        named(&router, "wan1", "phone");
        netifd.stop();
    }
}

/// Waits until the path over a device is that of this WAN.
fn named(router: &Instance<'_>, device: &str, wan: &str) {
    poll_until(SOON, &format!("{device} is {wan}"), || {
        router.path(device).filter(|path| path.wan == wan)
    });
}
