//! The command line as its users meet it: the built program, its output and its exit codes.

// Helpers of tests are tests; the lint knows only the functions marked as such.
#![allow(clippy::unwrap_used)]

mod invite;
mod join;
mod peers;
mod terminal;
mod watch;

use onebox::config::Mode;
use onebox::control::server::{Call, ControlServer};
use onebox::control::{Reloaded, Request, RequestError, Response, Testing};
use onebox::status::{
    Events, History, Path as StatusPath, PathState, Peer, PeerState, Problems, Role, State, Status,
};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::sync::mpsc;

/// Exit code, stdout and stderr.
type Outcome = (i32, String, String);

fn onebox(words: &[&str], input: &str) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onebox"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn file(name: &str, text: &str, mode: u32) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// A path for a socket; short, since a socket's path must be.
fn socket(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("onebox-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[test]
fn version_and_help_are_printed_and_succeed() {
    for word in ["--version", "-V"] {
        let expected = format!("onebox {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(onebox(&[word], ""), (0, expected, String::new()));
    }
    let (code, out, err) = onebox(&["--help"], "");
    assert_eq!((code, err.as_str()), (0, ""));
    for word in [
        "start", "stop", "reload", "status", "test", "check", "doctor", "genkey", "pubkey",
        "genpsk", "invite", "revoke", "join", "selftest",
    ] {
        assert!(out.contains(word), "{out}");
    }
    assert!(out.contains("Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not running"), "{out}");
    let (code, out, _) = onebox(&["status", "--help"], "");
    assert!(code == 0 && out.contains("--watch") && out.contains("--control"), "{out}");
}

#[test]
fn help_is_a_command_and_a_mistyped_word_gets_what_was_meant() {
    let help = onebox(&["--help"], "");
    assert_eq!(onebox(&["help"], ""), help);
    assert_eq!(onebox(&["help", "status"], ""), onebox(&["status", "--help"], ""));
    for (words, expected) in [
        (&["stat"][..], "unknown command 'stat', did you mean 'status'?\nonebox: 'onebox help' "),
        (&["help", "jion"], "unknown command 'jion', did you mean 'join'?"),
        (&["dance"], "unknown command 'dance'\n"),
        (&["--verison"], "unknown option '--verison', did you mean '--version'?"),
        (
            &["status", "--wach"],
            "unknown option '--wach', did you mean '--watch'?\nonebox: 'onebox help status' ",
        ),
        (&["check", "-x"], "unknown option '-x'\n"),
        (&["invite", "a", "b"], "unknown word 'b'\n"),
        // Half a key is not repeated.
        (&["join", "onebox1-AA", "BB"], "join takes one code, without blanks; "),
    ] {
        let (code, out, err) = onebox(words, "");
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.starts_with(&format!("onebox: {expected}")), "{err}");
    }
}

#[test]
fn wrong_usage_exits_2_and_says_so_on_stderr() {
    for words in [
        &[][..],
        &["dance"],
        &["--dance"],
        &["check", "-c"],
        &["check", "a", "b"],
        &["status", "--json", "--watch"],
        &["start", "--syslog", "--log-stderr"],
        &["invite"],
        &["invite", "home", "--list"],
        &["revoke"],
        &["join", "a", "b"],
    ] {
        let (code, out, err) = onebox(words, "");
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}: {err}");
        assert!(err.starts_with("onebox: "), "{words:?}: {err}");
    }
}

#[test]
fn keys_fit_together() {
    let (code, private, err) = onebox(&["genkey"], "");
    assert_eq!((code, err.as_str(), private.len()), (0, "", 45));
    let (code, public, _) = onebox(&["pubkey"], &private);
    assert_eq!((code, public.len()), (0, 45));
    assert_ne!(public, private);
    assert_eq!(onebox(&["pubkey"], &private).1, public);
    // RFC 7748 §6.1, Alice.
    let (_, public, _) = onebox(&["pubkey"], "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n");
    assert_eq!(public, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n");
    let (code, first, _) = onebox(&["genpsk"], "");
    assert_eq!((code, first.len()), (0, 45));
    assert_ne!(first, onebox(&["genpsk"], "").1);
    let (code, out, err) = onebox(&["pubkey"], "secret but no key\n");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("onebox: standard input: a key has 44 characters")
            && !err.contains("secret"),
        "{err}"
    );
}

#[test]
fn the_selftest_passes_and_tells_the_speed() {
    let (code, out, err) = onebox(&["selftest"], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let version = concat!("onebox ", env!("CARGO_PKG_VERSION"), ": ");
    assert!(lines.first().unwrap().starts_with(version), "{out}");
    assert!(lines[1..lines.len() - 1].iter().all(|line| line.starts_with("ok ")), "{out}");
    assert!(lines.last().unwrap().ends_with(" MB/s") && out.ends_with('\n'), "{out}");
}

#[test]
fn check_shows_every_problem_and_fails_on_errors() {
    let text = "config onebox 'main'\n\
                \toption role 'clown'\n\
                \toption mtu '9000'\n\
                \toption colour 'red'\n\
                config wan 'lte'\n\
                \toption interface 'wwan'\n\
                \toption mode 'sometimes'\n";
    let path = file("bad.conf", text, 0o600);
    let name = path.to_str().unwrap();
    let (code, out, err) = onebox(&["check", "-c", name], "");
    assert_eq!((code, err.as_str()), (1, ""));
    let expected = format!(
        "{name}:1: error: section 'main', option 'private_key_file': missing, accepted: the path of \
         a file, or option private_key\n\
         {name}:1: error: section 'main', option 'address': missing, accepted: an address with \
         prefix length, such as 10.99.0.2/24 or fd99::2/64, one or several\n\
         {name}:1: error: section 'main': no section of type 'peer', accepted: one for the server\n\
         {name}:2: error: section 'main', option 'role': read 'clown', accepted: client or server\n\
         {name}:3: error: section 'main', option 'mtu': read '9000', accepted: 0 (from the paths) \
         or a whole number from 1280 to 1920\n\
         {name}:4: warning: section 'main', option 'colour': unknown, has no effect\n\
         {name}:7: error: section 'lte', option 'mode': read 'sometimes', accepted: active, backup \
         or off\n"
    );
    assert_eq!(out, expected);
}

#[test]
fn check_says_nothing_about_what_is_right_and_warns_of_open_secrets() {
    let client = include_str!("../config/client.conf");
    let path = file("good.conf", client, 0o644);
    let name = path.to_str().unwrap();
    assert_eq!(onebox(&["check", "-c", name], ""), (0, String::new(), String::new()));
    let key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    let open = client.replace(
        "option private_key_file '/etc/onebox/private.key'",
        &format!("option private_key '{key}'"),
    );
    let path = file("open.conf", &open, 0o644);
    let name = path.to_str().unwrap();
    let (code, out, _) = onebox(&["check", "--config", name], "");
    let expected = format!(
        "{name}:7: warning: section 'main', option 'private_key': everybody may read this file \
         (mode 0644), accepted: mode 0600\n"
    );
    assert_eq!((code, out), (0, expected));
    let path = file("closed.conf", &open, 0o600);
    let (code, out, _) = onebox(&["check", "-c", path.to_str().unwrap()], "");
    assert_eq!((code, out.as_str()), (0, ""));
}

/// What is around the program is another matter once it is known how it is to run.
#[test]
fn check_looks_at_the_system_only_for_a_right_configuration() {
    let path = file("unfit.conf", "config onebox 'main'\n\toption role 'clown'\n", 0o600);
    let name = path.to_str().unwrap();
    let plain = onebox(&["check", "-c", name], "");
    assert_eq!(plain.0, 1);
    assert_eq!(onebox(&["check", "--system", "-c", name], ""), plain);
    let (code, out, _) = onebox(&["check", "--help"], "");
    assert!(code == 0 && out.contains("--system"), "{out}");
}

/// What only root may is said first, before what it is that the system refuses.
#[test]
fn who_is_not_root_is_told_so_first() {
    use std::os::unix::process::CommandExt;
    let client = include_str!("../config/client.conf");
    let folder = std::env::temp_dir().join(format!("onebox-rootless-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let closed = folder.join("closed");
    std::fs::create_dir_all(&closed).unwrap();
    let path = file("rootless.conf", client, 0o644);
    // Where a user may read both, wherever they are. Copied by another process: a descriptor that a
    // test beside this one hands to its child by accident would make the program busy.
    let copied =
        Command::new("cp").arg(env!("CARGO_BIN_EXE_onebox")).args([&path, &folder]).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let (config, inside) = (folder.join("rootless.conf"), closed.join("file"));
    let (config, inside) = (config.to_str().unwrap(), inside.to_str().unwrap());
    let told = "onebox: only root may do this, try it with sudo\n";
    for (words, expected) in [
        // Rules of firewalls are for root to read.
        (&["check", "--system", "-c", config][..], "onebox: --system reads the rules of firewalls"),
        (&["invite", "home"], told),
        (&["invite", "--list"], told),
        (&["revoke", "home"], told),
        (&["join", "-"], told),
        (&["check", "-c", inside], told),
        (&["start", "-c", inside], told),
        (&["invite", "home", "-c", inside], told),
        (&["status", "--control", inside], told),
        (&["stop", "--control", inside], told),
    ] {
        let mut command = Command::new(folder.join("onebox"));
        command.args(words).stdin(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(65_534);
        }
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{words:?}: {err}");
        assert!(err.starts_with(expected), "{words:?}: {err}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn the_examples_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["tests/config/client.conf", "tests/config/server.conf"] {
        let path = root.join(name);
        let outcome = onebox(&["check", "-c", path.to_str().unwrap()], "");
        assert_eq!(outcome, (0, String::new(), String::new()), "{name}");
    }
    let path = root.join("openwrt/files/etc/config/onebox");
    let (code, out, _) = onebox(&["check", "-c", path.to_str().unwrap()], "");
    assert_eq!(code, 0, "{out}");
    assert!(out.lines().all(|line| line.contains(" warning: ")), "{out}");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    for command in ["check", "start"] {
        let (code, out, err) = onebox(&[command, "-c", "/nowhere/onebox"], "");
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.starts_with("onebox: /nowhere/onebox: No such file"), "{err}");
    }
    let path = file("start.conf", "config onebox main\n", 0o600);
    let (code, _, err) = onebox(&["start", "-c", path.to_str().unwrap()], "");
    assert_eq!(code, 1);
    assert!(err.contains("the configuration has errors"), "{err}");
}

#[test]
fn without_a_running_program_the_exit_code_is_3() {
    let socket = socket("nobody");
    let socket = socket.to_str().unwrap();
    for command in ["status", "stop", "reload", "test"] {
        let (code, out, err) = onebox(&[command, "--control", socket], "");
        assert_eq!((code, out.as_str()), (3, ""));
        assert_eq!(err, format!("onebox: not running (nobody answers on {socket})\n"));
    }
    // The socket's path comes from the configuration.
    let text = include_str!("../config/client.conf").replace("/var/run/onebox.sock", socket);
    // So it does if the rest of that is wrong: reloading it must reach the program.
    let text = text.replace("role 'client'", "role 'clown'");
    let path = file("socket.conf", &text, 0o600);
    let (code, _, err) = onebox(&["status", "-c", path.to_str().unwrap()], "");
    assert_eq!(code, 3);
    assert!(err.contains(socket), "{err}");
}

fn some_status() -> Status {
    let path =
        |wan: &str, state| StatusPath { wan: wan.to_owned(), state, ..StatusPath::default() };
    let peer = Peer {
        name: "vps".to_owned(),
        state: PeerState::Up,
        endpoint: "192.0.2.1:51830".to_owned(),
        last_handshake_s: Some(0),
        paths: vec![
            path("dsl", PathState::Active),
            path("lte", PathState::Active),
            path("sat", PathState::Held),
        ],
        ..Peer::default()
    };
    Status { role: Role::Client, state: State::Up, peers: vec![peer], ..Status::default() }
}

/// Runs a program that answers like the real one while `test` runs; the second reload is refused.
fn with_program(path: &Path, test: impl FnOnce() + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ControlServer::bind(path).unwrap();
        let (sender, mut calls) = mpsc::channel::<Call>(1);
        let mut server = Some(tokio::spawn(async move { server.run(sender, Problems::default()).await }));
        let mut test = tokio::task::spawn_blocking(test);
        let mut reloads = 0;
        loop {
            tokio::select! {
                done = &mut test => break done.unwrap(),
                Some(Call { request, reply }) = calls.recv() => {
                    let stop = matches!(request, Request::Stop { .. });
                    let answer = match request {
                        Request::Status => Ok(Response::Status(Box::new(some_status()))),
                        Request::Reload if reloads == 0 => {
                            reloads += 1;
                            let done = Reloaded {
                                warnings: vec!["f:1: warning: odd".to_owned()],
                                changes: vec!["WAN 'lte' is new".to_owned()],
                            };
                            Ok(Response::Reloaded(done))
                        }
                        Request::Reload => {
                            let lines = ["f:1: error: a", "f:2: error: b"].map(str::to_owned);
                            Err(RequestError::Configuration(lines.to_vec()))
                        },
                        Request::History { .. } => {
                            Ok(Response::History(History::default()))
                        }
                        Request::Events { .. } => {
                            Ok(Response::Events(Events::default()))
                        }
                        Request::Test { stop: false, .. } => {
                            let skipped = vec!["lte: its bytes cost money".to_owned()];
                            Ok(Response::Testing(Testing { id: 3, seconds: 1, skipped, ..Testing::default() }))
                        }
                        Request::Test { .. }
                        | Request::Stop { .. }
                        | Request::Reconnect { .. } => Ok(Response::Done),
                        Request::SetPath { mode: Mode::Off, wan } => Err(RequestError::UnknownWan(wan)),
                        Request::SetPath { .. } => Ok(Response::Done),
                    };
                    reply.send(answer).unwrap();
                    if let Some(server) = server.take_if(|_| stop) {
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                        server.abort();
                    }
                }
            }
        }
    });
}

#[test]
fn the_running_program_is_shown_reloaded_and_stopped() {
    let path = socket("program");
    let socket = path.clone();
    with_program(&path, move || {
        let socket = socket.to_str().unwrap();
        let (code, out, _) = onebox(&["status", "--json", "--control", socket], "");
        assert_eq!(code, 0);
        assert_eq!(serde_json::from_str::<Status>(&out).unwrap(), some_status());
        // In the order of the contract, and readable.
        assert!(out.starts_with("{\n  \"version\": \"\",\n  \"role\": \"client\",\n"), "{out}");

        let (code, out, err) = onebox(&["status", "--control", socket], "");
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("Bonded over 2 of 3 links, "), "{out}");
        assert!(!out.contains('\x1b'), "{out}");

        let (code, out, err) = onebox(&["reload", "--control", socket], "");
        assert_eq!((code, out.as_str()), (0, "WAN 'lte' is new\n"));
        assert_eq!(err, "onebox: f:1: warning: odd\n");
        let (code, out, err) = onebox(&["reload", "--control", socket], "");
        assert_eq!((code, out.as_str()), (1, ""));
        assert_eq!(err, "onebox: f:1: error: a\nonebox: f:2: error: b\n");

        let (code, out, err) = onebox(&["test", "--control", socket], "");
        assert_eq!((code, out.as_str()), (1, ""));
        let lost = "the test was lost with the connection: try again";
        assert_eq!(err, format!("onebox: not tested: lte: its bytes cost money\nonebox: {lost}\n"));
        let done = (0, String::new(), String::new());
        assert_eq!(onebox(&["test", "--stop", "--control", socket], ""), done);

        watch(socket);

        assert_eq!(onebox(&["stop", "--control", socket], ""), (0, String::new(), String::new()));
        assert_eq!(onebox(&["stop", "--control", socket], "").0, 3);
    });
    assert!(!path.exists());
}

/// Without a terminal, `--watch` repeats the plain text, and ends when nobody reads any more.
fn watch(socket: &str) {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(env!("CARGO_BIN_EXE_onebox"))
        .args(["status", "--watch", "--control", socket])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("Bonded"));
        assert!(line.is_some_and(|line| !line.contains('\x1b')));
    }
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
