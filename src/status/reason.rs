//! Why a path is in its state: what the engine says, and what the program knows beyond that.
//!
//! | Code | Value |
//! |---|---|
//! | `opening`, `in_use`, `backup_configured`, `returning`, `link_down`, `no_address`, `no_default_route`, `switched_off`, `peer_closed` | none |
//! | `silent` | milliseconds since something was acknowledged |
//! | `lossy` | percent of the packets that are lost |
//! | `late` | milliseconds by which it would slow the bond |
//! | `quota_used_up` | when the quota begins anew, seconds since 1970-01-01 UTC |

use super::calendar::Date;
use crate::engine;
use core::fmt;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The engine has decided.
    Engine(engine::Reason),
    /// The quota of its WAN is used up: a backup only, until a new one begins.
    QuotaUsedUp {
        /// The first day of the next period.
        until: Date,
    },
}

impl Reason {
    /// Its stable name, for metrics and translations.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Engine(reason) => reason.code(),
            Reason::QuotaUsedUp { .. } => "quota_used_up",
        }
    }

    /// The number in it, if there is one; the module tells its unit.
    pub fn value(self) -> Option<u64> {
        match self {
            Reason::Engine(reason) => reason.value(),
            Reason::QuotaUsedUp { until } => Some(until.start_s()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Engine(reason) => reason.fmt(f),
            Reason::QuotaUsedUp { until } => {
                write!(f, "quota used up, only a backup until {}", until.words())
            }
        }
    }
}

impl From<engine::Reason> for Reason {
    fn from(reason: engine::Reason) -> Reason {
        Reason::Engine(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::assert_codes;
    use engine::Reason as Engine;

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        let of_engine = [
            Engine::Opening,
            Engine::InUse,
            Engine::BackupConfigured,
            Engine::Silent(250),
            Engine::Lossy(31),
            Engine::Late(180),
            Engine::TooNarrow(1220),
            Engine::Returning,
            Engine::LinkDown,
            Engine::NoAddress,
            Engine::NoDefaultRoute,
            Engine::SwitchedOff,
            Engine::PeerClosed,
        ];
        let quota = Reason::QuotaUsedUp { until: Date { year: 2026, month: 8, day: 1 } };
        let all = of_engine.map(Reason::Engine).into_iter().chain([quota]);
        assert_codes(&all.clone().map(Reason::code).collect::<Vec<_>>());
        let values: Vec<_> = all.filter_map(Reason::value).collect();
        assert_eq!(values, [250, 31, 180, 1220, 1_785_542_400]);
        assert_eq!(quota.to_string(), "quota used up, only a backup until 1 August");
    }
}
