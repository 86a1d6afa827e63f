//! An interface of netifd's that is the tunnel: netifd is told when it works, and with what.

use crate::bus::{Bus, SOON, kinds};
use crate::lab::clock;
use crate::lab::onebox::{Instance, Keys, START, peer_of, router_config, server_config};
use crate::lab::programs::poll_until;
use crate::lab::topology::{Lab, Wan};
use crate::tunnel::possible;
use onebox_openwrt::ubus::blobmsg::Type;
use onebox_openwrt::ubus::{Client, Incoming, Method, Object, Status};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

const OBJECT: Object = Object {
    path: "network.interface",
    methods: &[
        Method { name: "dump", arguments: &[] },
        Method { name: "notify_proto", arguments: &[("interface", Type::String)] },
        Method { name: "up", arguments: &[("interface", Type::String)] },
        Method { name: "down", arguments: &[("interface", Type::String)] },
    ],
};

/// As much of netifd as an interface with a protocol of its own needs.
struct Netifd {
    told: Arc<Mutex<Vec<Value>>>,
    state: mpsc::UnboundedSender<&'static str>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Netifd {
    fn start(socket: &Path) -> Netifd {
        let told = Arc::<Mutex<Vec<Value>>>::default();
        let (state, mut wanted) = mpsc::unbounded_channel();
        let (socket, list) = (socket.to_owned(), told.clone());
        let serve = async move {
            let mut client = Client::connect(&socket).await.unwrap();
            client.add(&OBJECT).await.unwrap();
            // As the script leaves it while no program runs: "unserved".
            let mut now = "unserved";
            let mut error = json!({});
            let event = Map::from_iter([("interface".to_owned(), json!("vpn"))]);
            loop {
                let before = now;
                tokio::select! {
                    incoming = client.next() => match incoming.unwrap() {
                        Incoming::Call(call) if call.method == "dump" => {
                            let left = json!([{"subsystem": "onebox", "code": "NOT_RUNNING"}]);
                            let vpn = json!({"interface": "vpn", "proto": "onebox",
                                "up": now == "up", "pending": now == "pending",
                                "errors": if now == "unserved" { left } else { json!([]) }});
                            let wan = json!({"interface": "wan", "proto": "dhcp", "up": true,
                                "l3_device": "wan1", "dns-server": ["203.0.113.53", "no address"]});
                            let all = json!([vpn, wan]);
                            let dump = Map::from_iter([("interface".to_owned(), all)]);
                            client.answer(&call, Some(&dump), Status::OK).unwrap();
                        }
                        Incoming::Call(call) => {
                            let mut table = call.table().unwrap();
                            assert_eq!(table["interface"], "vpn");
                            now = match (&*call.method, table.get("error")) {
                                ("up", _) => "pending",
                                ("down", _) if error[0] == "NOT_RUNNING" => "unserved",
                                ("down", _) => "down",
                                (_, Some(said)) => {
                                    error = said.clone();
                                    now
                                }
                                _ if table["link-up"] == true => "up",
                                _ => "pending",
                            };
                            if call.method != "notify_proto" {
                                table = Map::from_iter([(call.method.clone(), json!("vpn"))]);
                            }
                            list.lock().unwrap().push(Value::Object(table));
                            client.answer(&call, None, Status::OK).unwrap();
                        }
                        _ => {}
                    },
                    new = wanted.recv() => match new {
                        Some(new) => now = new,
                        None => return,
                    },
                }
                // By `ifup`, only our protocol's script says that an interface waits.
                if (before == "down" || before == "unserved") && now == "pending" {
                    client.send_event("onebox.setup", &event).unwrap();
                } else if before != now {
                    client.send_event("network.interface", &event).unwrap();
                }
            }
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve);
        });
        Netifd { told, state, thread: Some(thread) }
    }

    /// Waits until it has been told something for the n-th time; whether that is a working link.
    fn nth(&self, n: usize) -> Value {
        poll_until(SOON, &format!("telling {n}"), || self.told.lock().unwrap().get(n - 1).cloned())
    }

    fn stop(mut self) {
        let thread = self.thread.take().unwrap();
        drop(self);
        thread.join().unwrap();
    }
}

#[test]
fn netifd_is_told_when_the_tunnel_works_and_sets_addresses_and_routes() {
    if !possible() {
        return;
    }
    for kind in kinds() {
        let lab = Lab::new(&[Wan::mbit_ms(30, 10)]);
        let bus = Bus::started(kind);
        let netifd = Netifd::start(&bus.socket());
        bus.client().wait_for("network.interface");
        let (server_keys, router_keys) = (Keys::new(), Keys::new());
        let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
        let mut server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
        let config = router_config(&router_keys, &server_keys.public, None, 2, "");
        let options = format!(
            "\toption ubus_socket '{}'\n\toption netifd 'vpn'\n\toption fallback_after '1'\n\
             \toption probe_interval '1'\n",
            bus.socket().display()
        );
        let config = config.replacen("\toption enabled '1'\n", &options, 1);
        let mut router = Instance::started(&lab.site().router, &config);
        router.wait_up(1, START);

        let up = json!({"action": 0, "interface": "vpn", "link-up": true, "ifname": "onebox0",
            "ipaddr": [{"ipaddr": "10.99.0.2", "mask": "24"}],
            "ip6addr": [{"ipaddr": "fd99::2", "mask": "64"}],
            "routes": [{"target": "0.0.0.0", "netmask": "0"}],
            "routes6": [{"target": "::", "netmask": "0"}]});
        let down = json!({"action": 0, "interface": "vpn", "link-up": false});
        let error = |code: &str| json!({"action": 3, "interface": "vpn", "error": [code]});
        // What was left down, since no program ran, it takes up.
        assert_eq!(netifd.nth(1), json!({"up": "vpn"}));
        // The answer may come before netifd has it waiting.
        let early = usize::from(netifd.nth(2) == error("NO_ANSWER"));
        let nth = |n: usize| netifd.nth(n + early);
        assert_eq!(nth(2), up);
        let namespace = &lab.site().router;
        assert!(!namespace.output("ip addr show dev onebox0").contains("10.99.0.2"));
        let rules = namespace.output("ip rule");
        assert!(rules.contains("from all to 203.0.113.53 iif lo lookup 5183"), "{rules}");
        assert!(rules.contains("900:") && !rules.contains("901:") && !rules.contains("903:"));

        server.kill();
        assert_eq!(nth(3), down);
        assert_eq!(nth(4), error("NO_ANSWER"));
        server.start();
        assert_eq!(nth(5), up);
        netifd.state.send("down").unwrap();
        clock::pass(Duration::from_millis(300));
        assert_eq!(
            netifd.told.lock().unwrap().len(),
            5 + early,
            "what is down by command stays down"
        );
        netifd.state.send("pending").unwrap();
        assert_eq!(nth(6), up);
        clock::pass(Duration::from_millis(300));
        assert_eq!(netifd.told.lock().unwrap().len(), 6 + early, "once is enough");
        router.stop();
        assert_eq!(nth(7), error("NOT_RUNNING"));
        assert_eq!(nth(8), json!({"down": "vpn"}));
        netifd.stop();
    }
}
