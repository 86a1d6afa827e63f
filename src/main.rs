//! The onebox program: parse the command line, run the command.

use onebox::cli::args::{self, Start};
use onebox::cli::{self, Exit};
use onebox::daemon::{self, logging::Target};
use std::process::ExitCode;

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => cli::run(&command, start).into(),
        Err(exit) => exit.into(),
    }
}

fn start(options: &Start) -> Exit {
    let target = if options.syslog { Target::Syslog } else { Target::Stderr };
    match daemon::run(&options.config, target) {
        Ok(()) => Exit::Done,
        Err(error) => cli::fail_start(&error),
    }
}
