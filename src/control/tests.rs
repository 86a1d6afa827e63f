use super::client::{self, ClientError};
use super::server::{BindError, Call, ControlServer};
use super::*;
use crate::status::Problems;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// A directory of its own for a test, with a path for a socket in it.
fn socket(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("onebox-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("socket")
}

/// The answer of the server of these tests: what it was asked.
fn echo(request: &Request) -> Response {
    let asked = serde_json::to_string(request).unwrap();
    Response::Reloaded(Reloaded { warnings: vec![asked], changes: vec![] })
}

/// Runs a server that answers with its request, `stop` by ending, while `test` runs.
fn with_server(path: &Path, test: impl FnOnce(&Path) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = path.to_owned();
    runtime.block_on(async {
        let server = ControlServer::bind(&path).unwrap();
        let (sender, mut calls) = mpsc::channel::<Call>(1);
        let mut server =
            Some(tokio::spawn(async move { server.run(sender, Problems::default()).await }));
        let asked = path.clone();
        let mut test = tokio::task::spawn_blocking(move || test(&asked));
        loop {
            tokio::select! {
                done = &mut test => break done.unwrap(),
                Some(Call { request, reply }) = calls.recv() => {
                    let stop = request == Request::Stop { restart: false };
                    reply.send(match request {
                        Request::Reconnect { .. } => {
                            Err(RequestError::Configuration(vec!["no".into(), "at all".into()]))
                        },
                        other => Ok(echo(&other)),
                    }).unwrap();
                    if let Some(server) = server.take_if(|_| stop) {
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        server.abort();
                    }
                }
            }
        }
    });
}

#[test]
fn requests_and_answers_make_the_round() {
    let path = socket("round");
    with_server(&path, |path| {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let echoed = |asked: &Request| serde_json::to_value(echo(asked)).unwrap();
        assert_eq!(client::request(path, &Request::Status).unwrap(), echoed(&Request::Status));
        let asked = Request::SetPath { wan: "lte".to_owned(), mode: Mode::Backup };
        assert_eq!(
            serde_json::to_value(&asked).unwrap(),
            json!({"command": "set_path", "wan": "lte", "mode": "backup"})
        );
        assert_eq!(client::request(path, &asked).unwrap(), echoed(&asked));
        let asked = Request::Reconnect { peer: None };
        assert_eq!(serde_json::to_value(&asked).unwrap(), json!({"command": "reconnect"}));
        let refused = client::request(path, &asked).unwrap_err();
        assert_eq!(refused.to_string(), "no\nat all");
        assert!(
            matches!(refused, ClientError::Refused { code, .. } if code == "bad_configuration")
        );
    });
    assert!(!path.exists());
}

fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // The other side may close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn what_is_no_request_is_refused_in_words() {
    with_server(&socket("junk"), |path| {
        assert!(
            raw(path, b"{\"command\":\"dance\"}\n").starts_with("{\"ok\":false,\"error\":\"not")
        );
        assert!(raw(path, b"junk\n").contains("not a request"));
        assert!(raw(path, b"junk\n").ends_with("\"code\":\"bad_request\"}\n"));
        assert!(raw(path, b"{\"command\":\"status\"}").contains("no line of at most 65536 bytes"));
        assert_eq!(raw(path, b""), "");
        // Too long: refused or cut off, and the server goes on.
        raw(path, &vec![b' '; REQUEST_MAX + 4096]);
        assert!(client::request(path, &Request::Status).is_ok());
    });
}

#[test]
fn more_connections_than_are_served_at_once_wait_their_turn() {
    with_server(&socket("many"), |path| {
        let idle: Vec<UnixStream> =
            (0..CONNECTIONS_MAX).map(|_| UnixStream::connect(path).unwrap()).collect();
        let asked = path.to_owned();
        let waiting = std::thread::spawn(move || client::request(&asked, &Request::Status));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!waiting.is_finished());
        drop(idle);
        assert!(waiting.join().unwrap().is_ok());
    });
}

#[test]
fn stopping_waits_until_nobody_listens() {
    with_server(&socket("stop"), |path| {
        client::stop(path, 10, false).unwrap();
        assert!(matches!(client::stop(path, 10, false), Err(ClientError::NotRunning)));
    });
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_respected() {
    let path = socket("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(matches!(client::request(&path, &Request::Status), Err(ClientError::NotRunning)));
    with_server(&path, |path| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        assert!(matches!(ControlServer::bind(path), Err(BindError::AlreadyRunning(_))));
        // The attempt has not removed it.
        assert!(client::request(path, &Request::Status).is_ok());
    });
    std::fs::write(&path, "a file").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    assert!(matches!(ControlServer::bind(&path), Err(BindError::Io { .. })));
    assert!(path.exists());
}
