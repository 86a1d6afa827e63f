//! `stop` and `reload`: what is asked of the running program.

use super::args::{Reload, Stop, control_path};
use super::service::Service;
use super::{Exit, complain, fail, fail_io, fail_start, print};
use crate::control::client::{self, ClientError};
use crate::control::{Reloaded, Request};
use crate::daemon;
use std::path::Path;

/// How long `stop` waits, in seconds: `nft` may hang twice for 10 s before all is undone.
const STOP_S_MAX: u64 = 25;

pub(super) fn stop(options: &Stop) -> Exit {
    let path = control_path(options.control.as_ref(), &options.config);
    let stopped = client::stop(&path, STOP_S_MAX, options.restart);
    if options.clean
        && matches!(stopped, Err(ClientError::NotRunning))
        && let Err(error) = daemon::clean(&options.config)
    {
        return fail_start(&error);
    }
    match stopped {
        Ok(()) => {
            // procd starts whatever ends, for what reason ever; its script asks with an option.
            let asked_by_script = options.clean || options.restart;
            if !asked_by_script && Service::of(&options.config) == Some(Service::Procd) {
                complain("the service starts it again in some seconds: /etc/init.d/onebox stop");
            }
            Exit::Done
        }
        Err(error) => failed(&path, &error),
    }
}

pub(super) fn reload(options: &Reload) -> Exit {
    let path = control_path(options.control.as_ref(), &options.config);
    match client::ask::<Reloaded>(&path, &Request::Reload) {
        Ok(done) => {
            for warning in done.warnings {
                complain(warning);
            }
            let changes = if done.changes.is_empty() {
                "nothing has changed\n".to_owned()
            } else {
                done.changes.iter().map(|change| format!("{change}\n")).collect()
            };
            print(&changes)
        }
        Err(error) => failed(&path, &error),
    }
}

/// Says why there is no answer.
pub(super) fn failed(path: &Path, error: &ClientError) -> Exit {
    match error {
        ClientError::NotRunning => {
            complain(format_args!("not running (nobody answers on {})", path.display()));
            Exit::NotRunning
        }
        ClientError::Io(refused) => fail_io(refused, error),
        error => fail(error),
    }
}
