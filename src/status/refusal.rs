//! Why a peer is refused, its handshakes or what it said, in words with what to do.
//!
//! Why: the router hears nothing (PROTOCOL.md, "Why strangers get no answer"), so only the server can
//! say that a secret is wrong. Of another version both hear.

use super::model::LastError;
use crate::endpoint::{Breach, Drop};

/// The error as the peer shows it, `age_s` after a connection was ended for false acknowledgements.
pub fn breach(whose: Breach, age_s: u64) -> LastError {
    let (code, words, remedy) = match whose {
        Breach::Theirs => (
            "false_acknowledgements",
            "the connection was ended: the other end acknowledged packets that were never sent to it",
            "see who has its key, and that it runs an unchanged program",
        ),
        Breach::Ours => (
            "accused_of_false_acknowledgements",
            "the other end has ended the connection: it says that this one acknowledged packets that \
             were never sent",
            "see that both ends run unchanged programs of the same version",
        ),
    };
    let (code, words, remedy) = (code.to_owned(), words.to_owned(), remedy.to_owned());
    LastError { code, words, remedy, age_s }
}

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
