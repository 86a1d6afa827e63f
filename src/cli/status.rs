//! `status`: the snapshot of the running program, as JSON or for people, once or every second.

use super::args::{self, control_path};
use super::remote::failed;
use super::{Exit, fail, print, table, watch};
use crate::control::Request;
use crate::control::client;
use crate::status::Status;
use std::io::{IsTerminal, stdout};

pub(super) fn status(options: &args::Status) -> Exit {
    let path = control_path(options.control.as_ref(), &options.config);
    if options.watch {
        return watch::watch(&path, colour());
    }
    let status: Status = match client::ask(&path, &Request::Status) {
        Ok(status) => status,
        Err(error) => return failed(&path, &error),
    };
    if options.json {
        return match serde_json::to_string_pretty(&status) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => fail(error),
        };
    }
    print(&table::table(&status, colour()))
}

/// Whether the reader is a person in front of a terminal who has not declined colours.
fn colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
