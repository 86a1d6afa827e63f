//! Why the running program does not do what it is asked.

use super::{ANSWER_S_MAX, REQUEST_MAX};
use onebox_openwrt::ubus;

/// See the module. What is displayed is for people, the code for programs.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no tunnel: it is switched off in the configuration.
    #[error("the tunnel is disabled")]
    Disabled,
    /// No peer has this name.
    #[error("there is no peer '{0}'")]
    UnknownPeer(String),
    /// No WAN has this name.
    #[error("there is no WAN '{0}'")]
    UnknownWan(String),
    /// The configuration has errors, one line each; it is not taken over.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// An argument is missing or makes no sense: what is accepted.
    #[error("{0}")]
    BadArgument(&'static str),
    /// What arrived is not a request.
    #[error("not a request: {0}")]
    NotARequest(serde_json::Error),
    /// What arrived has no end, or is too long.
    #[error("not a request: no line of at most {REQUEST_MAX} bytes")]
    NoLine,
    /// Nothing can be tested: why.
    #[error("{0}")]
    NotTestable(String),
    /// A speed test is under way.
    #[error("a speed test is under way")]
    TestRunning,
    /// The thread that moves packets has ended.
    #[error("the data plane has ended")]
    DataPlane,
    /// A file cannot be read, or the system refuses what the configuration asks for: why.
    #[error("{0}")]
    Refused(String),
    /// The program is ending.
    #[error("the program is ending")]
    Ending,
    /// The program did not answer in time.
    #[error("no answer within {ANSWER_S_MAX} s")]
    Late,
    /// The answer cannot be written as JSON.
    #[error("{0}")]
    Answer(serde_json::Error),
}

impl RequestError {
    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::Disabled => "disabled",
            RequestError::UnknownPeer(_) => "unknown_peer",
            RequestError::UnknownWan(_) => "unknown_wan",
            RequestError::Configuration(_) => "bad_configuration",
            RequestError::BadArgument(_) => "bad_argument",
            RequestError::NotARequest(_) => "bad_request",
            RequestError::NoLine => "no_line",
            RequestError::NotTestable(_) => "not_testable",
            RequestError::TestRunning => "test_running",
            RequestError::DataPlane => "data_plane_ended",
            RequestError::Refused(_) => "refused",
            RequestError::Ending => "ending",
            RequestError::Late => "late",
            RequestError::Answer(_) => "bad_answer",
        }
    }

    /// What ubus answers beside it.
    pub fn status(&self) -> ubus::Status {
        match self {
            RequestError::Disabled | RequestError::UnknownPeer(_) | RequestError::UnknownWan(_) => {
                ubus::Status::NOT_FOUND
            }
            RequestError::BadArgument(_) => ubus::Status::INVALID_ARGUMENT,
            _ => ubus::Status::UNKNOWN_ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::assert_codes;

    #[test]
    fn every_error_has_a_code_of_its_own_and_the_status_of_its_kind() {
        let json = || serde_json::from_str::<u8>("x").unwrap_err();
        let all = [
            (RequestError::Disabled, ubus::Status::NOT_FOUND),
            (RequestError::UnknownPeer("a".to_owned()), ubus::Status::NOT_FOUND),
            (RequestError::UnknownWan("a".to_owned()), ubus::Status::NOT_FOUND),
            (RequestError::Configuration(vec![]), ubus::Status::UNKNOWN_ERROR),
            (RequestError::BadArgument("a"), ubus::Status::INVALID_ARGUMENT),
            (RequestError::NotARequest(json()), ubus::Status::UNKNOWN_ERROR),
            (RequestError::NoLine, ubus::Status::UNKNOWN_ERROR),
            (RequestError::NotTestable("a".to_owned()), ubus::Status::UNKNOWN_ERROR),
            (RequestError::TestRunning, ubus::Status::UNKNOWN_ERROR),
            (RequestError::DataPlane, ubus::Status::UNKNOWN_ERROR),
            (RequestError::Refused("a".to_owned()), ubus::Status::UNKNOWN_ERROR),
            (RequestError::Ending, ubus::Status::UNKNOWN_ERROR),
            (RequestError::Late, ubus::Status::UNKNOWN_ERROR),
            (RequestError::Answer(json()), ubus::Status::UNKNOWN_ERROR),
        ];
        assert_codes(&all.iter().map(|(error, _)| error.code()).collect::<Vec<_>>());
        for (error, status) in all {
            assert_eq!(error.status(), status, "{error:?}");
        }
    }
}
