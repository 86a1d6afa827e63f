//! The object `onebox`: what it offers, what it answers, and that it is always there.

use crate::Daemon;
use crate::bus::{Bus, Kind, SOON, kinds};
use crate::lab::programs::poll_until;
use crate::stand_in::{StandIn, shown};
use onebox_openwrt::ubus::{Error, Object, Status};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn its_methods_are_listed_with_their_arguments() {
    for kind in kinds() {
        let bus = Bus::started(kind);
        let daemon = Daemon::start(&bus.socket(), None);
        let mut caller = bus.client();
        caller.wait_for("onebox");
        let expected = json!({
            "status": {}, "paths": {}, "reconnect": {"peer": "String"},
            "set_path": {"wan": "String", "mode": "String"}, "reload": {},
            "test": {"wan": "String", "way": "String", "seconds": "Integer",
                "metered": "Boolean", "stop": "Boolean"},
            "history": {"since": "Integer", "step": "Integer"}, "events": {"since": "Integer"},
        });
        assert_eq!(shown(&caller.signature("onebox")), expected);
        if let Some(text) = bus.ubus(&["-v", "list", "onebox"]) {
            let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
            let expected = [
                r#""status":{}"#,
                r#""paths":{}"#,
                r#""reconnect":{"peer":"String"}"#,
                r#""set_path":{"wan":"String","mode":"String"}"#,
                concat!(
                    r#""test":{"wan":"String","way":"String","seconds":"Integer","#,
                    r#""metered":"Boolean","stop":"Boolean"}"#
                ),
                r#""reload":{}"#,
                r#""history":{"since":"Integer","step":"Integer"}"#,
                r#""events":{"since":"Integer"}"#,
            ];
            assert_eq!(lines, expected, "{text}");
        }
        daemon.stop();
        assert_eq!(caller.lookup("onebox"), None);
    }
}

#[test]
fn the_status_is_that_of_the_command_line() {
    for kind in kinds() {
        let bus = Bus::started(kind);
        let daemon = Daemon::start(&bus.socket(), None);
        let mut caller = bus.client();
        let onebox = caller.wait_for("onebox");
        let without_time = |mut status: Value| {
            assert!(status["uptime_s"].is_u64());
            status["uptime_s"] = Value::Null;
            status
        };
        let expected = without_time(daemon.try_status().unwrap());
        assert_eq!(expected["state"], "disabled");
        let (status, table) = caller.call(onebox, "status", json!({}));
        assert_eq!((status, without_time(table)), (Status::OK, expected.clone()));
        // As rpcd asks, with an argument of its own.
        let (_, table) = caller.call(onebox, "status", json!({"ubus_rpc_session": "0"}));
        assert_eq!(without_time(table), expected);
        if let Some(text) = bus.ubus(&["call", "onebox", "status"]) {
            assert_eq!(without_time(serde_json::from_str(&text).unwrap()), expected);
        }
        for arguments in
            [json!({}), json!({"since": 0, "step": 1}), json!({"since": 5_000_000_000u64})]
        {
            let (status, table) = caller.call(onebox, "history", arguments);
            let total =
                json!({"peer": "", "wan": "", "up_kbps": [], "down_kbps": [], "rtt_ms": []});
            let expected = json!({"end_s": 0, "step_s": 1, "series": [total]});
            assert_eq!((status, table), (Status::OK, expected));
        }
        let (status, table) = caller.call(onebox, "events", json!({"since": 7}));
        assert_eq!((status, table), (Status::OK, json!({"events": []})));
        let (status, table) = caller.call(onebox, "paths", json!({}));
        assert_eq!((status, table), (Status::OK, json!({"paths": []})));
        daemon.stop();
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_words() {
    for kind in kinds() {
        let bus = Bus::started(kind);
        let daemon = Daemon::start(&bus.socket(), None);
        let mut caller = bus.client();
        let onebox = caller.wait_for("onebox");
        let mut ask = |method: &str, arguments: Value| caller.call(onebox, method, arguments);
        let disabled = json!({"error": "the tunnel is disabled", "code": "disabled"});
        let path = json!({"wan": "lte", "mode": "backup"});
        assert_eq!(ask("reconnect", json!({})), (Status::NOT_FOUND, disabled.clone()));
        assert_eq!(ask("set_path", path), (Status::NOT_FOUND, disabled.clone()));
        assert_eq!(ask("test", json!({})), (Status::NOT_FOUND, disabled.clone()));
        assert_eq!(ask("test", json!({"stop": true})), (Status::NOT_FOUND, disabled));
        for (method, arguments) in [
            ("set_path", json!({})),
            ("set_path", json!({"wan": "lte", "mode": "sometimes"})),
            ("set_path", json!({"wan": 1, "mode": "off"})),
            ("test", json!({"wan": 1})),
            ("test", json!({"way": "both"})),
            ("test", json!({"seconds": 11})),
            ("test", json!({"seconds": "long"})),
            ("test", json!({"metered": "yes"})),
            ("reconnect", json!({"peer": ["a"]})),
            ("history", json!({"since": "today"})),
            ("history", json!({"since": -1})),
            ("history", json!({"step": 7})),
            ("events", json!({"since": 1.5})),
        ] {
            let (status, table) = ask(method, arguments.clone());
            assert_eq!(
                (status, &table["code"]),
                (Status::INVALID_ARGUMENT, &json!("bad_argument")),
                "{method} {arguments}"
            );
            assert!(table["error"].is_string(), "{method} {arguments}");
        }
        assert_eq!(ask("stop", json!({})), (Status::METHOD_NOT_FOUND, json!({})));

        daemon.configure(&bus.socket(), "\toption log_level debug\n");
        let (status, table) = ask("reload", json!({}));
        assert_eq!((status, &table["changes"]), (Status::OK, &json!(["log level is DEBUG now"])));
        daemon.configure(&bus.socket(), "\toption mtu many\n");
        let (status, table) = ask("reload", json!({}));
        assert_eq!((status, &table["code"]), (Status::UNKNOWN_ERROR, &json!("bad_configuration")));
        let words = table["error"].as_str().unwrap();
        assert!(words.contains("read 'many'") && words.contains(daemon.file().to_str().unwrap()));
        assert_eq!(ask("status", json!({})).0, Status::OK);
        daemon.stop();
    }
}

#[test]
fn a_bus_that_comes_late_or_again_gets_the_object() {
    for kind in kinds() {
        let mut bus = Bus::new(kind);
        let daemon = Daemon::start(&bus.socket(), None);
        poll_until(SOON, "it says that there is no bus", || {
            (daemon.said("no ubus at") > 0).then_some(())
        });
        let problems = || daemon.try_status().unwrap()["problems"].clone();
        let missing = &problems()[0];
        assert_eq!(missing["code"], "ubus_missing");
        assert_eq!(missing["subject"], bus.socket().to_str().unwrap());
        assert!(missing["remedy"].as_str().is_some_and(|remedy| remedy.contains("ubusd")));
        assert!(missing["since_s"].as_u64().is_some_and(|since| since > 1_700_000_000));
        for _ in 0..3 {
            bus.start();
            let mut caller = bus.client();
            let onebox = caller.wait_for("onebox");
            assert_eq!(caller.call(onebox, "status", json!({})).0, Status::OK);
            assert_eq!(problems(), json!([]));
            bus.stop();
        }
        assert!(daemon.try_status().is_some());
        daemon.stop();
    }
}

#[test]
fn a_reload_moves_it_to_another_bus() {
    for kind in kinds() {
        let (first, second) = (Bus::started(kind), Bus::started(kind));
        let daemon = Daemon::start(&first.socket(), None);
        let mut caller = first.client();
        caller.wait_for("onebox");
        daemon.configure(&second.socket(), "");
        daemon.reload();
        second.client().wait_for("onebox");
        assert_eq!(caller.lookup("onebox"), None);
        daemon.stop();
    }
}

#[test]
fn a_name_that_is_taken_is_told_and_no_more() {
    for kind in kinds() {
        let bus = Bus::started(kind);
        let mut other = bus.client();
        const TAKEN: Object = Object { path: "onebox", methods: &[] };
        other.add(&TAKEN).expect("it is free");
        let refused = other.add(&TAKEN).unwrap_err();
        assert!(matches!(refused, Error::Refused(Status::INVALID_ARGUMENT)), "{refused}");
        let daemon = Daemon::start(&bus.socket(), None);
        poll_until(SOON, "it says so", || {
            (daemon.said("the object 'onebox' (invalid argument)") == 1).then_some(())
        });
        assert!(daemon.try_status().is_some());
        daemon.stop();
    }
}

/// A bus that forbids everything: one line in the log, and the program goes on.
#[test]
fn being_denied_is_told_once() {
    let told = |daemon: Daemon| {
        poll_until(SOON, "it says so", || (daemon.said("ubus refuses") == 1).then_some(()));
        let log = daemon.log();
        assert!(log.contains("the object 'onebox' (invalid argument)"), "{log}");
        assert!(log.contains("ubus.object.add (permission denied)"), "{log}");
        assert!(log.contains("the event network.interface (permission denied)"), "{log}");
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(
            (daemon.said("control::ubus: "), daemon.said("ERROR")),
            (2, 0),
            "{}",
            daemon.log()
        );
        assert!(daemon.try_status().is_some());
        daemon.stop();
    };
    let bus = Bus::new(Kind::StandIn);
    let _denies = StandIn::start(&bus.socket(), true);
    told(Daemon::start(&bus.socket(), None));
    if kinds().contains(&Kind::Real) {
        let mut other = std::process::Command::new("setpriv");
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "true"]);
        if !other.status().is_ok_and(|status| status.success()) {
            println!("not with ubusd: only root can become somebody else");
            return;
        }
        let bus = Bus::started(Kind::Real);
        use std::os::unix::fs::PermissionsExt;
        for (path, mode) in [(bus.files.file("."), 0o755), (bus.socket(), 0o777)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        told(Daemon::start(&bus.socket(), Some(65534)));
    }
}
