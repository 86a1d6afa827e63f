//! The words of the command line.
//!
//! argh says what is wrong with a line; what it says and how the program ends is decided in
//! [`parse`], since argh itself would end it with 1.

use super::{Exit, complain, print, suggest};
use crate::config::{DEFAULT_CONTROL, DEFAULT_PATH};
use crate::daemon;
use argh::FromArgs;
use onebox_openwrt::uci;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Several internet connections, one tunnel that uses them all.
#[derive(FromArgs, Debug, PartialEq)]
#[argh(
    note = "'onebox help COMMAND' tells more of one.",
    note = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not running (stop, reload, status, \
            test).",
    help_triggers("-h", "--help")
)]
struct Line {
    /// print the version
    #[argh(switch, short = 'V')]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

/// A command with its options.
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand)]
pub enum Command {
    /// Run.
    Start(Start),
    /// End the running program.
    Stop(Stop),
    /// Apply a changed configuration.
    Reload(Reload),
    /// Show the state.
    Status(Status),
    /// Test the speed.
    Test(Test),
    /// Check a configuration.
    Check(Check),
    /// Say what is wrong.
    Doctor(Doctor),
    /// Make a private key.
    Genkey(Genkey),
    /// Make the public key of a private key.
    Pubkey(Pubkey),
    /// Make a preshared key.
    Genpsk(Genpsk),
    /// Invite a router.
    Invite(Invite),
    /// Shut a router out.
    Revoke(Revoke),
    /// Join a server.
    Join(Join),
    /// Check this build on this processor.
    Selftest(Selftest),
}

/// What argh's words about an argument that it does not know begin with.
const UNRECOGNIZED: &str = "Unrecognized argument: ";

fn default_path() -> PathBuf {
    PathBuf::from(DEFAULT_PATH)
}

/// run in the foreground until SIGTERM, SIGINT or 'onebox stop'
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "start", help_triggers("-h", "--help"))]
pub struct Start {
    /// configuration, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
    /// log to standard error, which is the default
    #[argh(switch)]
    pub log_stderr: bool,
    /// log to syslog instead
    #[argh(switch)]
    pub syslog: bool,
}

/// end the running program; waits up to 10 s until it is gone
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "stop", help_triggers("-h", "--help"))]
pub struct Stop {
    /// a start follows: with the kill switch, nothing leaves past the tunnel meanwhile
    #[argh(switch)]
    pub restart: bool,
    /// if it is not running, take back what a crash has left behind
    #[argh(switch)]
    pub clean: bool,
    /// configuration that names the control socket, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
    /// the control socket itself
    #[argh(option, arg_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// make the running program read its configuration again; a bad one is refused and changes nothing
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "reload", help_triggers("-h", "--help"))]
pub struct Reload {
    /// configuration that names the control socket, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
    /// the control socket itself
    #[argh(option, arg_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// show peers and paths of the running program
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "status", help_triggers("-h", "--help"))]
pub struct Status {
    /// configuration that names the control socket, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
    /// the control socket itself
    #[argh(option, arg_name = "PATH")]
    pub control: Option<PathBuf>,
    /// print everything as JSON
    #[argh(switch)]
    pub json: bool,
    /// show it anew every second until Ctrl-C
    #[argh(switch)]
    pub watch: bool,
}

/// router: test the speed of a link, or of each and then of all together; user traffic goes first
#[derive(FromArgs, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "test",
    help_triggers("-h", "--help"),
    note = "It takes as many bytes as the links carry in that time, at most 512 MB for each part and no \
            more than a quota leaves. Interrupted, it goes on until it is through."
)]
pub struct Test {
    /// only this WAN, even if its bytes cost money
    #[argh(positional, arg_name = "WAN")]
    pub wan: Option<String>,
    /// only to the server
    #[argh(switch)]
    pub up: bool,
    /// only from the server
    #[argh(switch)]
    pub down: bool,
    /// how long each link and direction takes, 1 to 10, default 5
    #[argh(option, arg_name = "N")]
    pub seconds: Option<u64>,
    /// also WANs whose bytes cost money
    #[argh(switch)]
    pub metered: bool,
    /// end the test that is under way
    #[argh(switch)]
    pub stop: bool,
    /// print the result as JSON
    #[argh(switch)]
    pub json: bool,
    /// configuration that names the control socket, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
    /// the control socket itself
    #[argh(option, arg_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// show every problem of a configuration; fails if one is an error
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "check", help_triggers("-h", "--help"))]
pub struct Check {
    /// then what of this system keeps the tunnel from working, each with the command that mends it;
    /// fails if one stops traffic
    #[argh(switch)]
    pub system: bool,
    /// configuration, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
}

/// say step by step how the tunnel is (configuration, clock, names, each WAN, handshake, MTU,
/// forwarding, firewalls), with what to do; fails if something is wrong
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "doctor", help_triggers("-h", "--help"))]
pub struct Doctor {
    /// only this peer
    #[argh(positional, arg_name = "PEER")]
    pub peer: Option<String>,
    /// print it as JSON
    #[argh(switch)]
    pub json: bool,
    /// configuration, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
    /// the control socket itself
    #[argh(option, arg_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// print a new private key
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "genkey", help_triggers("-h", "--help"))]
pub struct Genkey {}

/// read a private key from standard input and print its public key
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "pubkey", help_triggers("-h", "--help"))]
pub struct Pubkey {}

/// print a new preshared key
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "genpsk", help_triggers("-h", "--help"))]
pub struct Genpsk {}

/// server: make a peer and print the code with which a router joins; for a name that is invited
/// already, the same code again
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "invite", help_triggers("-h", "--help"))]
pub struct Invite {
    /// name of the router: letters, digits and '_'; '-' becomes '_'
    #[argh(positional, arg_name = "NAME")]
    pub name: Option<String>,
    /// show who is invited, and when they were last here
    #[argh(switch)]
    pub list: bool,
    /// print the code as a QR code, too
    #[argh(switch)]
    pub qr: bool,
    /// where routers reach this server; by default as configured, else its public addresses
    #[argh(option, arg_name = "HOST:PORT")]
    pub endpoint: Option<String>,
    /// new keys for a router that is there already: its old code is worth nothing any more
    #[argh(switch)]
    pub renew: bool,
    /// configuration, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
}

/// server: remove a router; its keys and its code are worth nothing any more
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "revoke", help_triggers("-h", "--help"))]
pub struct Revoke {
    /// name of the router
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// configuration, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
}

/// router: write the configuration from a code of 'onebox invite', start the service and wait for the
/// server's first answer
#[derive(FromArgs, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "join",
    help_triggers("-h", "--help"),
    note = "The code holds a private key, and every user of this machine can read command lines: \
            prefer '-', and give the code on standard input."
)]
pub struct Join {
    /// the code; '-' or nothing: from standard input
    #[argh(positional, arg_name = "CODE")]
    pub code: Option<Secret>,
    /// replace what is set up already
    #[argh(switch)]
    pub force: bool,
    /// neither start the service nor wait for the server
    #[argh(switch, short = 'n')]
    pub no_start: bool,
    /// only show what the code says, without its secrets
    #[argh(switch)]
    pub show: bool,
    /// the same as JSON
    #[argh(switch)]
    pub json: bool,
    /// configuration, default /etc/config/onebox
    #[argh(option, short = 'c', arg_name = "FILE", default = "default_path()")]
    pub config: PathBuf,
}

/// A word of the command line that must not be shown.
#[derive(Clone, PartialEq)]
pub struct Secret(pub Zeroizing<String>);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

impl core::str::FromStr for Secret {
    type Err = core::convert::Infallible;
    fn from_str(text: &str) -> Result<Secret, Self::Err> {
        Ok(Secret(Zeroizing::new(text.to_owned())))
    }
}

/// check that this program computes rightly on this processor, and how fast; takes a second
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand, name = "selftest", help_triggers("-h", "--help"))]
pub struct Selftest {}

/// Understands a command line (without the program's name); what is done by that alone, such as
/// help, or not understood, is written out, and the way to end returned.
///
/// # Errors
///
/// No command remains to be run.
pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Command, Exit> {
    let words: Vec<String> = words
        .map(OsString::into_string)
        .collect::<Result<_, _>>()
        .map_err(|word| usage(&format!("not UTF-8: {}", word.display())))?;
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let helped: Vec<&str>;
    if words.first() == Some(&"help") {
        helped = words.iter().skip(1).take(1).copied().chain(["--help"]).collect();
        words = helped;
    }
    // argh takes a lone '-' for an option; for this command it says what is so without it, too.
    if words.first() == Some(&"join") {
        words.retain(|word| *word != "-");
    }
    let line = Line::from_args(&["onebox"], &words).map_err(|early| match early.status {
        Ok(()) => print(&early.output),
        Err(()) => usage(&with_hint(early.output.trim_end(), &words)),
    })?;
    match line {
        Line { version: true, .. } => {
            Err(print(concat!("onebox ", env!("CARGO_PKG_VERSION"), "\n")))
        }
        Line {
            command: Some(Command::Start(Start { log_stderr: true, syslog: true, .. })),
            ..
        } => Err(usage("--log-stderr and --syslog exclude each other")),
        Line { command: Some(Command::Status(Status { json: true, watch: true, .. })), .. } => {
            Err(usage("--json and --watch exclude each other"))
        }
        Line { command: Some(Command::Invite(Invite { list, name, qr, renew, .. })), .. }
            if list == name.is_some() || list && (qr || renew) =>
        {
            Err(usage("invite takes a NAME, or --list alone"))
        }
        Line { command: Some(command), .. } => Ok(command),
        Line { command: None, .. } => Err(usage("no command, 'onebox help' shows them")),
    }
}

/// What argh says about a word, with the one that was meant if there is one like it.
fn with_hint(said: &str, words: &[&str]) -> String {
    let Some(word) = said.strip_prefix(UNRECOGNIZED) else { return said.to_owned() };
    let help = |words: &[&str]| Line::from_args(&["onebox"], words).err().map(|early| early.output);
    let of_all = help(&["--help"]).unwrap_or_default();
    let commands = || first_words(&of_all, "Commands:");
    let (kind, known, more) = match words.first().filter(|first| commands().any(|c| c == **first)) {
        Some(command) => (
            if word.starts_with('-') { "option" } else { "word" },
            help(&[command, "--help"]),
            *command,
        ),
        None if word.starts_with('-') => ("option", None, ""),
        None => ("command", None, ""),
    };
    let known = known.unwrap_or(of_all.clone());
    if kind == "word" && more == "join" {
        // It may be half a key.
        return "join takes one code, without blanks; 'onebox join -' reads one with them"
            .to_owned();
    }
    let meant = match kind {
        "option" => suggest::nearest(word, first_words(&known, "Options:")),
        "command" => suggest::nearest(word, commands()),
        _ => None,
    };
    let meant = meant.map(|meant| format!(", did you mean '{meant}'?")).unwrap_or_default();
    let shows = format!("onebox help {more}");
    format!("unknown {kind} '{word}'{meant}\n'{}' shows what there is", shows.trim_end())
}

/// What a part of a help text lists: the first word of each line, or the long form of an option.
fn first_words<'a>(help: &'a str, part: &str) -> impl Iterator<Item = &'a str> {
    let lines = help.lines().skip_while(move |line| *line != part).skip(1);
    let lines = lines.take_while(|line| line.starts_with(' '));
    lines.filter_map(|line| {
        let entry = line.strip_prefix("  ").filter(|entry| !entry.starts_with(' '))?;
        let mut words = entry.split_whitespace();
        let first = words.next()?;
        if first.ends_with(',') { words.next() } else { Some(first) }
    })
}

fn usage(message: &str) -> Exit {
    complain(message);
    Exit::Usage
}

/// The control socket: as given, or as the configuration says, even one with errors, since the
/// program may run with an earlier one; or the default if that says nothing or cannot be read.
pub(super) fn control_path(control: Option<&PathBuf>, config: &Path) -> PathBuf {
    let configured = || {
        let text = daemon::read_bounded(config).ok()?;
        let document = uci::parse(&text).ok()?;
        let main = document.sections.iter().find(|section| section.kind == "onebox")?;
        let path = main.get("control")?.texts().first()?;
        String::from_utf8(path.bytes.clone()).ok().map(PathBuf::from)
    };
    control.cloned().or_else(configured).unwrap_or_else(|| PathBuf::from(DEFAULT_CONTROL))
}
