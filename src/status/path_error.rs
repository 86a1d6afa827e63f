//! What the system or the network answers to what a path sends, in words with what to do.
//!
//! Why: a wrong port, a firewall and a server that is switched off all look like silence to whoever
//! only waits for answers, though the kernel and ICMP (RFC 792, RFC 4443) tell them apart. Where
//! nobody says anything, the time without an answer is told, and what usually is the cause.

use super::model::LastError;
use std::net::{IpAddr, SocketAddr};

/// A kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The server has nothing on this port.
    Refused,
    /// There is no way to the server.
    Unreachable,
    /// A firewall forbids it.
    Denied,
    /// Sending fails for another reason.
    Failing,
    /// The server does not answer, by no WAN.
    Silent,
    /// The server answers, but not by this WAN.
    SilentHere,
}

impl PathError {
    /// Every kind.
    pub const ALL: [PathError; 6] = [
        PathError::Refused,
        PathError::Unreachable,
        PathError::Denied,
        PathError::Failing,
        PathError::Silent,
        PathError::SilentHere,
    ];

    /// Its stable name, for metrics and translations.
    pub fn code(self) -> &'static str {
        match self {
            PathError::Refused => "server_refuses",
            PathError::Unreachable => "server_unreachable",
            PathError::Denied => "sending_denied",
            PathError::Failing => "sending_fails",
            PathError::Silent => "server_silent",
            PathError::SilentHere => "path_silent",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            PathError::Refused => "start onebox on the server, or correct the endpoint's port",
            PathError::Unreachable => {
                "see whether the connection works, and the endpoint's address"
            }
            PathError::Denied => "let UDP to the server pass the firewall",
            PathError::Failing => "see the system's log",
            PathError::Silent => {
                "see that onebox runs on the server, that this UDP port is open in its firewall and \
                 at its provider, and that both ends have each other's keys; 'onebox doctor' on the \
                 server tells of wrong ones"
            }
            PathError::SilentHere => {
                "other WANs reach the server: see that this one has internet and lets UDP pass"
            }
        }
    }

    /// The error as a path shows it. `from` is who told by ICMP; None: the own kernel. `age_s` is
    /// how long ago, or how long there has been no answer.
    pub fn shown(self, remote: SocketAddr, from: Option<IpAddr>, age_s: u64) -> LastError {
        let (ip, port) = (remote.ip(), remote.port());
        let from = from.filter(|from| *from != ip);
        let by = from.map(|from| format!(", says {from}")).unwrap_or_default();
        let words = match self {
            PathError::Refused => {
                format!("{ip} refuses UDP {port}{by}: is the program running there?")
            }
            PathError::Unreachable => format!("{ip} cannot be reached by this WAN{by}"),
            PathError::Denied => format!("UDP to {ip} is forbidden{by}"),
            PathError::Failing => format!("UDP to {ip} cannot be sent{by}"),
            PathError::Silent => format!("{ip} has not answered on UDP {port} for {}", span(age_s)),
            PathError::SilentHere => {
                format!("{ip} has not answered by this WAN on UDP {port} for {}", span(age_s))
            }
        };
        LastError { code: self.code().to_owned(), words, remedy: self.remedy().to_owned(), age_s }
    }
}

/// A time in words, roughly.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::assert_codes;

    #[test]
    fn every_error_has_a_code_of_its_own_words_and_a_remedy() {
        assert_codes(&PathError::ALL.map(PathError::code));
        let remote: SocketAddr = "192.0.2.9:51830".parse().unwrap();
        for error in PathError::ALL {
            let shown = error.shown(remote, None, 3);
            assert!(shown.words.contains("192.0.2.9") && !shown.remedy.is_empty());
        }
        let server = PathError::Refused.shown(remote, Some(remote.ip()), 3);
        assert_eq!(server.words, "192.0.2.9 refuses UDP 51830: is the program running there?");
        let silent = PathError::Silent.shown(remote, None, 130);
        assert_eq!(silent.words, "192.0.2.9 has not answered on UDP 51830 for 2 min");
        let router = PathError::Unreachable.shown(remote, "10.1.0.1".parse().ok(), 3);
        assert_eq!(router.words, "192.0.2.9 cannot be reached by this WAN, says 10.1.0.1");
    }
}
