//! The command line.
//!
//! Exit codes, so that scripts can tell what happened:
//!
//! | Code | Meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: the configuration has errors, the running program refuses, the system refuses |
//! | 2 | wrong usage |
//! | 3 | not running (`stop`, `reload`, `status`, `test`) |
//!
//! What was asked for goes to stdout, everything else to stderr as `onebox: message`.

mod answer;
pub mod args;
mod check;
mod doctor;
mod error;
mod invite;
mod join;
mod keys;
mod paste;
mod peers;
mod qr;
mod remote;
mod screen;
mod selftest;
mod service;
mod setup;
mod speed;
mod status;
mod suggest;
mod table;
mod troubles;
mod view;
mod watch;

use crate::config::DEFAULT_PATH;
use crate::daemon;
use args::{Command, Start};
use nix::unistd::geteuid;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// There is no running program to talk to.
    NotRunning,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotRunning => 3,
        })
    }
}

/// Runs a command. `start` is how the program itself runs, so that this layer need not know it.
pub fn run(command: &Command, start: impl FnOnce(&Start) -> Exit) -> Exit {
    if is_for_root(command) && !geteuid().is_root() {
        return fail(FOR_ROOT);
    }
    match command {
        Command::Start(options) => start(options),
        Command::Stop(options) => remote::stop(options),
        Command::Reload(options) => remote::reload(options),
        Command::Status(options) => status::status(options),
        Command::Test(options) => speed::test(options),
        Command::Check(options) => check::check(options),
        Command::Doctor(options) => doctor::doctor(options),
        Command::Genkey(_) => keys::genkey(),
        Command::Pubkey(_) => keys::pubkey(),
        Command::Genpsk(_) => keys::genpsk(),
        Command::Invite(options) if options.list => peers::list(options),
        Command::Invite(options) => invite::invite(options),
        Command::Revoke(options) => peers::revoke(options),
        Command::Join(options) => join::join(options),
        Command::Selftest(_) => selftest::selftest(),
    }
}

/// What somebody is told who is not root and would have to be.
const FOR_ROOT: &str = "only root may do this, try it with sudo";

/// Whether it changes what is root's on every system.
fn is_for_root(command: &Command) -> bool {
    let config = match command {
        Command::Invite(options) => &options.config,
        Command::Revoke(options) => &options.config,
        Command::Join(options) if !options.show && !options.json => &options.config,
        _ => return false,
    };
    config == Path::new(DEFAULT_PATH)
}

/// Whether the system refuses something for no other reason than that the user is not root.
fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root()
}

/// Says on stderr what the system refuses; first, if so, that it would not refuse root.
fn fail_io(error: &io::Error, message: impl Display) -> Exit {
    if is_denied(error) {
        complain(FOR_ROOT);
    }
    fail(message)
}

/// Says on stderr why the program does not start.
pub fn fail_start(error: &daemon::Error) -> Exit {
    match error.system() {
        Some(system) => fail_io(system, error),
        None => fail(error),
    }
}

/// Says on stderr what went wrong.
pub fn fail(message: impl Display) -> Exit {
    complain(message);
    Exit::Failed
}

/// One message on stderr; several lines each get the program's name.
fn complain(message: impl Display) {
    let mut text = String::new();
    for line in message.to_string().lines() {
        text.push_str("onebox: ");
        text.push_str(line);
        text.push('\n');
    }
    // Without stderr there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes to stdout. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => fail(format_args!("cannot write: {error}")),
    }
}
