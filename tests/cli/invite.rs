//! Inviting and joining, with real files.

use crate::{Outcome, onebox};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// An empty directory for a test.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("invite-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn with_config(words: &[&str], config: &Path, input: &str) -> Outcome {
    onebox(&[words, &["-c", config.to_str().unwrap()]].concat(), input)
}

/// The code, which must be all there is on stdout.
pub fn invite(words: &[&str], config: &Path) -> String {
    let (code, out, err) = with_config(&[&["invite"], words].concat(), config, "");
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("onebox1-") && out.ends_with('\n') && out.lines().count() == 1);
    assert!(err.contains("on the router") && !err.contains(out.trim()), "{err}");
    out.trim().to_owned()
}

pub fn join(words: &[&str], config: &Path, code: &str) -> Outcome {
    with_config(&[&["join"], words, &["-"]].concat(), config, code)
}

fn checks(config: &Path) {
    let outcome = with_config(&["check"], config, "");
    assert_eq!(outcome, (0, String::new(), String::new()), "{}", text(config));
}

/// What a code says, and that it tells no secret.
fn shown(code: &str) -> Value {
    let (exit, out, err) = onebox(&["join", "--json", "-"], code);
    assert_eq!((exit, err.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap()
}

pub const TO: [&str; 2] = ["--endpoint", "vps.example.net"];

#[test]
fn from_nothing_to_two_configurations_that_fit() {
    let folder = folder("new");
    let (server, router) = (folder.join("server"), folder.join("router"));
    let code = invite(&["home", TO[0], TO[1]], &server);
    assert_eq!((mode(&server), mode(&folder.join("server.key"))), (0o600, 0o600));
    checks(&server);
    let (exit, out, err) = join(&[], &router, &format!("  {code}\n"));
    assert_eq!((exit, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("joined as 'home'") && err.contains("start it: onebox start -c"), "{err}");
    assert_eq!((mode(&router), mode(&folder.join("router.key"))), (0o600, 0o600));
    checks(&router);
    let (ours, theirs) = (text(&server), text(&router));
    let public = onebox(&["pubkey"], &text(&folder.join("router.key"))).1;
    assert!(ours.contains(public.trim()), "{ours}");
    let public = onebox(&["pubkey"], &text(&folder.join("server.key"))).1;
    assert!(theirs.contains(public.trim()), "{theirs}");
    assert!(theirs.contains("list endpoint 'vps.example.net:51830'"), "{theirs}");
    let secret = |text: &str| {
        let line = text.lines().find(|line| line.contains("preshared_key")).map(str::to_owned);
        line.unwrap()
    };
    assert_eq!(secret(&ours), secret(&theirs));
    assert!(!err.contains(secret(&ours).split('\'').nth(1).unwrap()));

    // The same code again changes nothing, another one needs a word.
    let (exit, _, err) = join(&[], &router, &code);
    assert!(exit == 0 && err.contains("joined already"), "{err}");
    assert_eq!((text(&router), folder.join("router.key.old").exists()), (theirs.clone(), false));
    let other = invite(&["office"], &server);
    let (exit, out, err) = join(&[], &router, &other);
    assert_eq!((exit, out.as_str(), text(&router)), (1, "", theirs));
    assert!(err.contains("a tunnel to 'vps' at vps.example.net:51830 is set up here; --force"));
    assert_eq!(join(&["--force"], &router, &other).0, 0);
    checks(&router);
    assert!(text(&router).contains(shown(&other)["addresses"][0].as_str().unwrap()));
    assert_eq!(mode(&folder.join("router.key.old")), 0o600);
    // A server is not made a router by mistake.
    let (exit, _, err) = join(&[], &server, &code);
    assert!(exit == 1 && err.contains("a server is set up here"), "{err}");
    let (exit, _, err) = with_config(&["invite", "x"], &router, "");
    assert!(exit == 1 && err.contains("invited on the server"), "{err}");
}

#[test]
fn a_servers_file_keeps_all_else_and_a_name_its_code() {
    let folder = folder("kept");
    let server = folder.join("onebox");
    let key = folder.join("key");
    std::fs::write(&key, onebox(&["genkey"], "").1).unwrap();
    let before = include_str!("../config/server.conf")
        .replace("/etc/onebox/private.key", key.to_str().unwrap())
        .replace("\toption listen_port '51830'\n", "\toption listen_port '443' # odd\n");
    std::fs::write(&server, &before).unwrap();
    std::fs::set_permissions(&server, std::fs::Permissions::from_mode(0o640)).unwrap();
    let code = invite(&["cabin", "--endpoint", "2001:db8::7"], &server);
    let said = shown(&code);
    assert_eq!(said["name"], "cabin");
    assert_eq!(said["endpoints"], serde_json::json!(["[2001:db8::7]:443"]));
    assert_eq!(said["addresses"], serde_json::json!(["10.99.0.4/24", "fd99::4/64"]));
    let after = text(&server);
    let endpoint = "\tlist endpoint '[2001:db8::7]:443'\n";
    let at = after.find("\nconfig peer 'cabin'").unwrap();
    assert_eq!(after[..at].replace(endpoint, ""), before);
    assert_eq!((after.matches(endpoint).count(), mode(&server)), (1, 0o640));
    checks(&server);
    // Again, and without the endpoint: the same. Nothing is written.
    assert_eq!(invite(&["cabin"], &server), code);
    assert_eq!(text(&server), after);
    // New keys, the same address.
    let renewed = invite(&["cabin", "--renew"], &server);
    assert_ne!(renewed, code);
    assert_eq!(shown(&renewed)["addresses"], said["addresses"]);
    assert_ne!(shown(&renewed)["public_key"], said["public_key"]);
    assert_eq!(text(&server).matches("config peer 'cabin'").count(), 1);
    assert_eq!(invite(&["cabin"], &server), renewed);
    // A peer whose key was made elsewhere is not touched without a word.
    let (exit, out, err) = with_config(&["invite", "home"], &server, "");
    assert!((exit, out.as_str()) == (1, "") && err.contains("--renew"), "{err}");
    invite(&["home", "--renew"], &server);
    assert!(text(&server).contains("192.168.1.0/24"));
    checks(&server);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn many_at_once_lose_nothing() {
    let folder = folder("many");
    let server = folder.join("onebox");
    let names: Vec<String> = (0..12).map(|n| format!("r{n}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| invite(&[name, TO[0], TO[1]], &server));
        }
    });
    checks(&server);
    let mut addresses: Vec<Value> =
        names.iter().map(|name| shown(&invite(&[name], &server))["addresses"][0].clone()).collect();
    addresses.sort_by_key(ToString::to_string);
    addresses.dedup();
    assert_eq!(addresses.len(), names.len());
}

#[test]
fn the_shipped_configuration_is_taken_over_with_its_wans() {
    let folder = folder("shipped");
    let (server, router) = (folder.join("server"), folder.join("router"));
    let code = invite(&["home", TO[0], TO[1]], &server);
    let key = folder.join("etc/private.key");
    let shipped = include_str!("../../openwrt/files/etc/config/onebox")
        .replace("/etc/onebox/private.key", key.to_str().unwrap());
    let wan = "\n# the phone\nconfig wan 'lte'\n\toption device 'wwan0'\n\toption metered '1'\n";
    std::fs::write(&router, shipped.clone() + wan).unwrap();
    std::fs::set_permissions(&router, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(join(&[], &router, &code).0, 0);
    let joined = text(&router);
    assert!(joined.contains(wan) && joined.contains("# error, warn, info, debug or trace\n"));
    assert!(joined.contains("\toption enabled '1'\n") && !joined.contains("enabled '0'"));
    // It holds a secret now.
    assert_eq!((mode(&router), mode(&key)), (0o640, 0o600));
    checks(&router);
    // The same with force, into the same; and a server made of the shipped file.
    let again = invite(&["home", "--renew"], &server);
    assert_eq!(join(&["--force"], &router, &again).0, 0);
    assert!(text(&router).contains(wan));
    assert_eq!(text(&router).matches("config peer").count(), joined.matches("config peer").count());
    // Debian's is that of a server that is only to be set up, with a key and a random network.
    let debian = folder.join("debian");
    let key = folder.join("debian.key");
    std::fs::write(&key, onebox(&["genkey"], "").1).unwrap();
    let text_of = include_str!("../../cross/debian/onebox.config")
        .replace("/etc/onebox/private.key", key.to_str().unwrap());
    std::fs::write(&debian, &text_of).unwrap();
    std::fs::set_permissions(&debian, std::fs::Permissions::from_mode(0o600)).unwrap();
    let invited = invite(&["home", TO[0], TO[1]], &debian);
    let network = shown(&invited)["addresses"][1].as_str().unwrap().to_owned();
    assert!(network.starts_with("fd") && network.len() > "fd99::2/64".len(), "{network}");
    checks(&debian);
    std::fs::write(&debian, &text_of).unwrap();
    assert_eq!(join(&[], &debian, &code).0, 0);
    checks(&debian);
    let second = folder.join("second");
    std::fs::write(&second, shipped).unwrap();
    invite(&["a", TO[0], TO[1]], &second);
    assert!(text(&second).contains("option role 'server'"));
    checks(&second);
}

/// The usual key is another set-up's.
#[test]
fn a_copy_of_the_shipped_configuration_has_its_key_beside_it() {
    let folder = folder("beside");
    let debian = include_str!("../../cross/debian/onebox.config");
    for (name, shipped) in
        [("openwrt", include_str!("../../openwrt/files/etc/config/onebox")), ("debian", debian)]
    {
        let (server, router) = (folder.join(name), folder.join(format!("{name}-router")));
        for file in [&server, &router] {
            std::fs::write(file, shipped).unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let code = invite(&["home", TO[0], TO[1]], &server);
        assert_eq!(join(&[], &router, &code).0, 0);
        for file in [&server, &router] {
            let key = format!("{}.key", file.display());
            assert_eq!(mode(Path::new(&key)), 0o600);
            assert!(text(file).contains(&format!("option private_key_file '{key}'")));
            checks(file);
        }
    }
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let folder = folder("mistakes");
    let (server, router) = (folder.join("server"), folder.join("router"));
    let code = invite(&["home", TO[0], TO[1]], &server);
    let mut damaged = code.clone();
    damaged.replace_range(40..41, if &code[40..41] == "x" { "y" } else { "x" });
    for (code, words) in [
        ("", "this is no code"),
        ("onebox check", "this is no code"),
        (&code[..code.len() - 3], "the code is not complete: "),
        (&damaged, "the code is damaged: copy it once more"),
        (&code.replace("onebox1-", "onebox7-"), "the code is of version 7"),
    ] {
        for words_before in [&[][..], &["--force"], &["--show"], &["--json"]] {
            let (exit, out, err) = join(words_before, &router, code);
            assert_eq!((exit, out.as_str()), (1, ""));
            assert!(err.contains(words), "{err}");
        }
    }
    assert!(!router.exists() && !folder.join("router.key").exists());
    let before = text(&server);
    for (words, expected) in [
        (&["invite", "a b"][..], "cannot be a router's name"),
        (&["invite", "main"], "'main' is the name of a section of type 'onebox' already"),
        (&["invite", "b", "--endpoint", "a:b:c"], "--endpoint 'a:b:c': accepted: host:port"),
    ] {
        let (exit, out, err) = with_config(words, &server, "");
        assert_eq!((exit, out.as_str()), (1, ""));
        assert!(err.contains(expected), "{err}");
    }
    assert_eq!(text(&server), before);
    std::fs::write(&server, before.replace("'server'", "'clown'")).unwrap();
    let (exit, _, err) = with_config(&["invite", "b"], &server, "");
    assert!(exit == 1 && err.contains("has errors") && err.contains("read 'clown'"), "{err}");
    let (exit, out, _) = onebox(&["join", &code, "--show"], "");
    assert!(exit == 0 && out.contains("home") && out.contains("vps.example.net:51830"), "{out}");
    let full = before.replace("/24'", "/31'");
    std::fs::write(&server, full).unwrap();
    let (exit, _, err) = with_config(&["invite", "b"], &server, "");
    assert!(exit == 1 && err.contains("no address is free in 10."), "{err}");
}

/// Killed at any moment, the file is the old one or the new one.
#[test]
fn an_interrupted_invitation_leaves_a_whole_file() {
    let folder = folder("killed");
    let server = folder.join("onebox");
    invite(&["r", TO[0], TO[1]], &server);
    let mut peers = 1;
    for round in 0..60u64 {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_onebox"))
            .args(["invite", &format!("r{round}"), "-c", server.to_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round * 250));
        let _ = child.kill();
        child.wait().unwrap();
        let text = text(&server);
        let found = text.matches("config peer").count();
        assert!(found == peers || found == peers + 1, "{text}");
        peers = found;
        if round % 10 == 0 {
            checks(&server);
        }
    }
    println!("{peers} of 61 were invited");
    checks(&server);
    assert_eq!(invite(&["last"], &server).lines().count(), 1);
    let mut left: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["onebox", "onebox.key"]);
}
