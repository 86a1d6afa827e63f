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

/// Everything that is wrong.
pub(super) fn troubles(status: &Status) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    for problem in &status.problems {
        all.push(Trouble { words: problem.words.clone(), remedy: problem.remedy.clone() });
    }
    for peer in &status.peers {
        for (wan, error) in peer.errors() {
            if !status.problems.iter().any(|problem| problem.code == error.code) {
                let LastError { words, remedy, .. } = error;
                let words = format!("{}: {words}", wan.unwrap_or(&peer.name));
                all.push(Trouble { words, remedy: remedy.clone() });
            }
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
