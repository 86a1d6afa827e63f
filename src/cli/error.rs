//! Why `invite`, `revoke` and `join` do not do what they are asked.

use super::{Exit, fail, fail_io, fail_start};
use crate::config::free::Full;
use crate::config::invitation::{CodeError, NAME_MAX};
use crate::config::{Diagnostic, Severity};
use crate::control::client::ClientError;
use crate::daemon;
use core::fmt::Write;
use onebox_openwrt::uci::edit::EditError;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    /// The system refuses a file, standard input or a question.
    #[error("{what}: {error}")]
    Io {
        /// What it is about.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The configuration's text cannot be read or changed.
    #[error("{}: {error}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        error: EditError,
    },
    /// What is put into the text cannot be.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The configuration has errors.
    #[error("{}: the configuration has errors:{}", path.display(), errors(path, problems))]
    Configuration {
        /// The file.
        path: PathBuf,
        /// All its problems.
        problems: Vec<Diagnostic>,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] daemon::Error),
    /// The path of the key's file cannot be written into a configuration.
    #[error("the path of the key's file is not UTF-8")]
    KeyPath,
    /// What was given is no code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// No code can be made.
    #[error("no code for this: {0}")]
    NoCode(CodeError),
    /// No router can have this name.
    #[error("'{0}' cannot be a router's name: 1 to {NAME_MAX} letters, digits and '_' or '-'")]
    Name(String),
    /// The name is another section's.
    #[error("'{name}' is the name of a section of type '{kind}' already: choose another")]
    NameTaken {
        /// The name.
        name: String,
        /// The section's type.
        kind: String,
    },
    /// There is no such router.
    #[error("no router is called '{name}'{}", meant(similar.as_deref()))]
    NoRouter {
        /// The name.
        name: String,
        /// One that is there and could be meant.
        similar: Option<String>,
    },
    /// Only a server invites.
    #[error("{}: this is a router's configuration (role 'client'); routers are invited on the server", .0.display())]
    NotAServer(PathBuf),
    /// The server's networks are full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The peer has no address to be invited to.
    #[error("peer '{0}' has no address of the tunnel's networks in allowed_ips")]
    NoAddress(String),
    /// The peer's key was made elsewhere.
    #[error(
        "peer '{0}' is there, with a key that no invitation of this server made. --renew gives it \
         new keys; the router that has the old ones must join anew"
    )]
    ForeignKey(String),
    /// `--endpoint` is none.
    #[error(
        "--endpoint '{0}': accepted: host:port, such as vps.example.net:51830, 192.0.2.1:51830 or \
         [2001:db8::1]:51830; without port it is listen_port"
    )]
    Endpoint(String),
    /// The machine has only these addresses, none of which the internet knows.
    #[error(
        "where routers reach this server is not known: this machine has {}. Say it with --endpoint \
         HOST:PORT, the name or public address of this server",
        has(.0)
    )]
    NoEndpoint(Vec<IpAddr>),
    /// Something is set up that would be lost.
    #[error("{}: {what}; --force replaces that", path.display())]
    SetUp {
        /// The file.
        path: PathBuf,
        /// What is set up.
        what: String,
    },
    /// The running program refuses the change.
    #[error("the running program has not taken it over: {0}")]
    NotTaken(ClientError),
    /// The service does not start.
    #[error("the service does not start: {0}")]
    NotStarted(String),
}

impl SetupError {
    /// Says on stderr why it is not done.
    pub(super) fn fail(&self) -> Exit {
        match self {
            SetupError::Io { error, .. } => fail_io(error, self),
            SetupError::NotTaken(ClientError::Io(error)) => fail_io(error, self),
            SetupError::Key(error) => fail_start(error),
            _ => fail(self),
        }
    }

    /// The system refuses something about a file.
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> SetupError + '_ {
        |error| SetupError::Io { what: path.display().to_string(), error }
    }

    /// The system refuses something else.
    pub(super) fn io(what: &str) -> impl Fn(io::Error) -> SetupError + '_ {
        |error| SetupError::Io { what: what.to_owned(), error }
    }
}

/// The errors among these, each on a line of its own.
fn errors(path: &Path, problems: &[Diagnostic]) -> String {
    let mut words = String::new();
    for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
        let _ = write!(words, "\n{}:{}: {problem}", path.display(), problem.line);
    }
    words
}

fn meant(similar: Option<&str>) -> String {
    let all = "'onebox invite --list' shows all";
    similar.map_or_else(|| format!("; {all}"), |name| format!(", did you mean '{name}'? {all}"))
}

fn has(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("no public address, only {}", list.join(", "))
}
