//! From two machines without configuration to traffic through the bond, by one code.

use crate::lab::onebox::{Instance, START, binary};
use crate::lab::programs::{interface_bytes, ping};
use crate::lab::topology::{INTERNET, INTERNET6, Lab, SERVER, SERVER6, Wan};
use onebox::status::State;
use std::io::Write;
use std::process::Stdio;

/// As it is shipped: switched off. The instance puts its sockets in.
const SHIPPED: &str = "config onebox 'main'\n\toption enabled '0'\n\toption role 'client'\n";

/// `onebox join -`.
fn join(router: &Instance<'_>, code: &str) -> String {
    let mut command = router.namespace.command(binary().to_str().expect("UTF-8"));
    command.args(["join", "-", "-c"]).arg(router.config_file());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("onebox");
    child.stdin.take().expect("stdin").write_all(code.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("output");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    said
}

/// The server finds its public addresses by itself, the running router takes the code over, and
/// a second router is invited while the first is connected, without disturbing it.
#[test]
fn a_code_makes_a_working_bond() {
    let mut lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let second = lab.add_site(&[Wan::mbit_ms(30, 10)]);
    let mut server = Instance::new(&lab.server, SHIPPED);
    let invite = |server: &Instance<'_>, name: &str| {
        let output = server.command(&["invite", name]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let code = invite(&server, "home");
    server.start();
    assert_eq!(server.status().state, State::Connecting);

    // Running, but switched off, as on a router where nothing has been set up yet.
    let router = Instance::started(&lab.site().router, SHIPPED);
    assert_eq!(router.status().state, State::Disabled);
    let said = join(&router, &code);
    assert!(said.contains(&format!("{SERVER}:51830, [{SERVER6}]:51830")), "{said}");
    assert!(said.contains("the running program has taken it over"), "{said}");
    router.wait_up(2, START);
    for address in [INTERNET, INTERNET6] {
        assert_eq!(ping(&lab.site().lan, address, 10, 50, &[]).rtts_ms.len(), 10, "{address}");
    }
    assert!(interface_bytes(&lab.site().router, "onebox0").1 > 0);
    let status = server.status();
    assert_eq!((status.state.as_str(), status.peers[0].state.as_str()), ("up", "up"));

    let handshake = status.peers[0].last_handshake_s.expect("a handshake");
    let code = invite(&server, "cabin");
    let other = Instance::new(&lab.sites[second].router, SHIPPED);
    join(&other, &code);
    let mut other = other;
    other.start();
    other.wait_up(1, START);
    let lan = &lab.sites[second].lan;
    assert_eq!(ping(lan, INTERNET, 5, 50, &[]).rtts_ms.len(), 5);
    let status = server.status();
    let states: Vec<_> = status.peers.iter().map(|p| (p.name.as_str(), p.state.as_str())).collect();
    assert_eq!(states, [("home", "up"), ("cabin", "up")]);
    assert!(status.peers[0].last_handshake_s.expect("a handshake") >= handshake);
    // The code once more changes nothing.
    assert!(join(&other, &code).contains("joined already"));
}
