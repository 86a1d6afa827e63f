//! What is wrong now, of the whole status: the program's problems, then what goes wrong with peers
//! and paths, each once.

use crate::status::{LastError, Status};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What, a sentence.
    pub(super) words: String,
    /// What to do about it, a sentence.
    pub(super) remedy: String,
}

impl Trouble {
    fn of(name: &str, error: &LastError) -> Trouble {
        let LastError { words, remedy, .. } = error;
        Trouble { words: format!("{name}: {words}"), remedy: remedy.clone() }
    }
}

/// Everything that is wrong. What a peer tells, its paths need not tell again.
pub(super) fn troubles(status: &Status) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    for problem in &status.problems {
        all.push(Trouble { words: problem.words.clone(), remedy: problem.remedy.clone() });
    }
    let told = |error: &LastError| status.problems.iter().any(|p| p.code == error.code);
    for peer in &status.peers {
        let of_peer = peer.last_error.as_ref();
        all.extend(of_peer.filter(|e| !told(e)).map(|error| Trouble::of(&peer.name, error)));
        for path in &peer.paths {
            let own = path.last_error.as_ref().filter(|error| {
                !told(error) && of_peer.is_none_or(|of_peer| of_peer.code != error.code)
            });
            all.extend(own.map(|error| Trouble::of(&path.wan, error)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Path, Peer, ShownProblem};

    fn error(code: &str) -> Option<LastError> {
        let (words, remedy) = (format!("{code} words"), format!("{code} remedy"));
        Some(LastError { code: code.to_owned(), words, remedy, age_s: 3 })
    }

    #[test]
    fn each_is_told_once() {
        let path = |wan: &str, code: &str| Path {
            wan: wan.to_owned(),
            last_error: error(code),
            ..Path::default()
        };
        let peer = Peer {
            name: "vps".to_owned(),
            last_error: error("server_silent"),
            paths: vec![path("dsl", "server_silent"), path("lte", "server_refuses")],
            ..Peer::default()
        };
        let fra = Peer {
            name: "fra".to_owned(),
            last_error: error("name_unresolved"),
            ..Peer::default()
        };
        let problem = ShownProblem {
            code: "name_unresolved".to_owned(),
            words: "fra.example: no".to_owned(),
            ..ShownProblem::default()
        };
        let status =
            Status { peers: vec![peer, fra], problems: vec![problem], ..Status::default() };
        let words: Vec<String> = troubles(&status).into_iter().map(|t| t.words).collect();
        let expected = ["fra.example: no", "vps: server_silent words", "lte: server_refuses words"];
        assert_eq!(words, expected);
        assert_eq!(troubles(&status)[2].remedy, "server_refuses remedy");
    }
}
