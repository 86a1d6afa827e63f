//! Waiting for the server's first answer, and saying why there is none.
//!
//! Why: whoever has set a router up wants to know whether it works, and if not what to do, without
//! knowing where to look.

use super::troubles::{Trouble, troubles};
use crate::control::Request;
use crate::control::client::{self, ClientError};
use crate::status::{Peer, PeerState, State, Status};
use crate::time::SEC;
use onebox_linux::clock;
use std::path::Path;
use std::time::Duration;

/// Longest time that is waited, in seconds: a handshake that was lost on the way is repeated twice
/// within it, and a name is found or not.
pub(super) const WAIT_S: u64 = 10;
/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Reasons that are told at most.
const REASONS_MAX: usize = 4;

/// Waits until a server answers. `fresh`: by a handshake that is made from now on. What to say,
/// and whether it is good news.
pub(super) fn wait(control: &Path, fresh: bool) -> Result<String, String> {
    let begin = clock::now();
    loop {
        let asked = client::ask::<Status>(control, &Request::Status);
        let waited = clock::now().since(begin);
        let waited_s = waited / SEC;
        match &asked {
            Ok(status) if status.state == State::Disabled => {
                return Err("the program is switched off by option enabled".to_owned());
            }
            Ok(status) => {
                let new = |peer: &Peer| peer.last_handshake_s.is_some_and(|s| s <= waited_s + 1);
                let up = |peer: &&Peer| peer.state == PeerState::Up && (!fresh || new(peer));
                if let Some(peer) = status.peers.iter().find(up) {
                    let took = waited as f64 / SEC as f64;
                    return Ok(format!("connected: {} answered after {took:.1} s", peer.endpoint));
                }
            }
            // It has only just been started.
            Err(ClientError::NotRunning) => {}
            Err(error) => return Err(error.to_string()),
        }
        if waited_s >= WAIT_S {
            return Err(match asked {
                Ok(status) => why(&status),
                Err(_) => "the program does not run: see the system's log".to_owned(),
            });
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Why there is no answer, as far as the program knows.
fn why(status: &Status) -> String {
    let all = troubles(status).into_iter().take(REASONS_MAX);
    let told = all.map(|Trouble { words, remedy }| match remedy.as_str() {
        "" => words,
        remedy => format!("{words} ({remedy})"),
    });
    let mut reasons: Vec<String> = told.collect();
    if reasons.is_empty() {
        let tried = status.peers.iter().find(|peer| !peer.endpoint.is_empty());
        let tried = tried.map_or("the server", |peer| peer.endpoint.as_str());
        reasons.push(format!(
            "nothing comes back from {tried}: does onebox run there, and may its UDP port be reached \
             through its provider's firewall and its own?"
        ));
    }
    let mut words = format!("no answer of the server within {WAIT_S} s:");
    for reason in reasons {
        words.push('\n');
        words.push_str(&reason);
    }
    words.push_str("\nit goes on trying; 'onebox doctor' looks for more, 'onebox status --watch' shows how it goes");
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{LastError, Path, ShownProblem};

    #[test]
    fn what_the_program_knows_is_told_once() {
        let error = |words: &str| LastError {
            code: "server_refuses".to_owned(),
            words: words.to_owned(),
            remedy: "do this".to_owned(),
            ..LastError::default()
        };
        let path = Path { last_error: Some(error("refused")), ..Path::default() };
        let mut peer = Peer {
            name: "vps".to_owned(),
            endpoint: "192.0.2.1:51830".to_owned(),
            last_error: Some(error("refused")),
            paths: vec![path.clone(), path],
            ..Peer::default()
        };
        let problem = ShownProblem { words: "no ubus".to_owned(), ..ShownProblem::default() };
        let status =
            Status { peers: vec![peer.clone()], problems: vec![problem], ..Status::default() };
        let text = why(&status);
        assert_eq!(text.matches("\nvps: refused (do this)\n").count(), 1, "{text}");
        assert!(text.contains("\nno ubus\n"), "{text}");
        peer.last_error = None;
        peer.paths.clear();
        let text = why(&Status { peers: vec![peer], ..Status::default() });
        assert!(text.contains("nothing comes back from 192.0.2.1:51830: "), "{text}");
    }
}
