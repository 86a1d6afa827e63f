//! Why a server refuses a peer's handshakes, in words with what to do.
//!
//! Why: the router hears nothing (PROTOCOL.md, "Why strangers get no answer"), so only the server can
//! say that a secret is wrong. Of another version both hear.

use super::model::LastError;
use crate::endpoint::Drop;

/// The error as the peer shows it, `age_s` after its last handshake that was refused.
pub fn refusal(why: Drop, age_s: u64) -> LastError {
    let (words, remedy) = match why {
        Drop::WrongPresharedKey => (
            "its router calls with another preshared key".to_owned(),
            "give both ends the same preshared_key, or join with a new code: onebox invite NAME \
             --renew",
        ),
        Drop::WrongVersion => (
            "the other end speaks another version of the protocol".to_owned(),
            "install the same version of onebox on both ends",
        ),
        why => (
            format!("its router's handshakes are refused: {}", why.code().replace('_', " ")),
            "see that both ends run the same version, and have each other's keys",
        ),
    };
    LastError { code: why.code().to_owned(), words, remedy: remedy.to_owned(), age_s }
}
