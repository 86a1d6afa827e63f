//! Writes down what goes wrong with a router's peers and paths.
//!
//! Why: while there has been no connection there is no change of state that would be told, and the log
//! of a router that cannot connect was empty.
//!
//! How: every [`LOOK_US`] the peers are looked at; what is new is told, and not again while it lasts.

use crate::status::{LastError, Peer, Problem};
use crate::time::{SEC, Time};
use litemap::LiteMap;

/// From one look to the next, microseconds.
const LOOK_US: u64 = 5 * SEC;

/// What was told.
#[derive(Debug, Default)]
pub struct Errors {
    looked: Option<Time>,
    /// The code by peer, or peer and path.
    told: LiteMap<String, String>,
}

impl Errors {
    /// Whether it is time to look.
    pub fn is_due(&mut self, now: Time) -> bool {
        let due = self.looked.is_none_or(|at| now.since(at) >= LOOK_US);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// The peers are like this now: what is to be told.
    pub fn note(&mut self, peers: &[Peer]) -> Vec<String> {
        let (mut met, mut lines) = (LiteMap::new(), Vec::new());
        for peer in peers {
            for (wan, LastError { code, words, remedy, .. }) in peer.errors() {
                let name = match wan {
                    Some(wan) => format!("{}, {wan}", peer.name),
                    None => peer.name.clone(),
                };
                // A name that cannot be resolved is told by who looks it up.
                if self.told.get(&name) != Some(code) && code != Problem::NameUnresolved.code() {
                    lines.push(format!("{name}: {words}; {remedy}"));
                }
                met.insert(name, code.clone());
            }
        }
        self.told = met;
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Path;

    #[test]
    fn what_lasts_is_told_once() {
        let error = |code: &str| {
            let (words, remedy) = (format!("{code} words"), "do".to_owned());
            Some(LastError { code: code.to_owned(), words, remedy, age_s: 0 })
        };
        let peer = |of_peer: Option<LastError>, of_path: Option<LastError>| {
            let path = Path { wan: "lte".to_owned(), last_error: of_path, ..Path::default() };
            let (name, paths) = ("vps".to_owned(), vec![path]);
            vec![Peer { name, paths, last_error: of_peer, ..Peer::default() }]
        };
        let mut errors = Errors::default();
        let silent = || peer(error("server_silent"), error("server_silent"));
        assert_eq!(errors.note(&silent()), ["vps: server_silent words; do"]);
        assert!(errors.note(&silent()).is_empty());
        let one = || peer(None, error("path_silent"));
        assert_eq!(errors.note(&one()), ["vps, lte: path_silent words; do"]);
        assert!(errors.note(&one()).is_empty() && errors.note(&peer(None, None)).is_empty());
        assert_eq!(errors.note(&one()).len(), 1);
        assert!(errors.note(&peer(error("name_unresolved"), None)).is_empty());
        let mut due = Errors::default();
        let looks = (0..10).filter(|at| due.is_due(Time::ZERO + at * SEC)).count();
        assert_eq!(looks, 2);
    }
}
