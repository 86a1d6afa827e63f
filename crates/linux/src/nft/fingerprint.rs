//! Whether the table in the kernel is the one that was put there.
//!
//! Why: `nft flush ruleset`, a firewall that starts anew or a hand that slips takes our table along,
//! and traffic leaves untranslated, or not at all.
//!
//! How: the kernel lists the table's chains and rules, and all of that is one number. A chain or rule
//! that was added, removed or replaced has another handle, so the number differs. None of our rules
//! counts packets, so that nothing in the list changes by itself.
//!
//! Limits: blocks for the time that the list takes: of ours, well below a millisecond.

use std::io;

use super::ruleset::TABLE;
use crate::nfnetlink::{DUMP, GENERIC, Socket, attributes, message};

/// `NFNL_SUBSYS_NFTABLES << 8`, of linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_DELTABLE` and so on, of linux/netfilter/nf_tables.h, as all that follows.
const DEL_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const DEL_CHAIN: u16 = SUBSYSTEM | 5;
const DEL_RULE: u16 = SUBSYSTEM | 8;
const GET_RULE: u16 = SUBSYSTEM | 7;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`: all the same.
const TABLE_NAME: u16 = 1;
/// `NFPROTO_INET`.
const FAMILY: u8 = 1;
/// Offset basis and prime of the 64-bit FNV-1a hash (Fowler, Noll and Vo, draft-eastlake-fnv).
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// A number that stands for the table as it is; 0 without chains or rules.
///
/// # Errors
/// The kernel has no nftables, or refuses.
pub(super) fn fingerprint() -> io::Result<u64> {
    let socket = Socket::open()?;
    let mut number = 0;
    for question in [GET_CHAIN, GET_RULE] {
        socket.dump(&message(question, DUMP, FAMILY, &[]), |_, body| {
            if is_ours(body) {
                number = with(number, body);
            }
        })?;
    }
    Ok(number)
}

/// The number of one message more. What comes before its attributes counts the changes of all tables,
/// of whomever, and is left out.
fn with(number: u64, body: &[u8]) -> u64 {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    let start = if number == 0 { FNV_BASIS } else { number };
    body.get(GENERIC..).unwrap_or_default().iter().fold(start, hash)
}

/// Whether a message says that a table, chain or rule was removed.
pub(crate) fn is_removal(kind: u16) -> bool {
    [DEL_TABLE, DEL_CHAIN, DEL_RULE].contains(&kind)
}

/// Whether a message says that the rules, of whomever, are others now.
pub(crate) fn is_of_rules(kind: u16) -> bool {
    is_removal(kind) || [NEW_CHAIN, NEW_RULE].contains(&kind)
}

/// Whether a message about a table, chain or rule is about our table.
pub(crate) fn is_ours(body: &[u8]) -> bool {
    let (Some(&family), Some(rest)) = (body.first(), body.get(GENERIC..)) else { return false };
    let name = attributes(rest).find(|(kind, ..)| *kind == TABLE_NAME);
    let name = name.and_then(|(_, name, _)| name.strip_suffix(&[0]));
    family == FAMILY && name == Some(TABLE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_table_of_our_family_is_ours() {
        let body = |family: u8, name: &str| {
            let mut body = vec![family, 0, 0, 0];
            body.extend(((name.len() + 5) as u16).to_ne_bytes());
            body.extend([1, 0]);
            body.extend(name.bytes().chain([0]));
            body
        };
        assert!(is_ours(&body(FAMILY, TABLE)));
        assert!(!is_ours(&body(2, TABLE)));
        assert!(!is_ours(&body(FAMILY, "fw4")));
        // `res_id` of linux/netfilter/nfnetlink.h: other tables have changed.
        let mut later = body(FAMILY, TABLE);
        later[3] = 7;
        assert_eq!(with(0, &later), with(0, &body(FAMILY, TABLE)));
        assert_ne!(with(0, &later), with(0, &body(FAMILY, "other")));
        (0..9).for_each(|length| assert!(!is_ours(&body(FAMILY, TABLE)[..length])));
    }
}
