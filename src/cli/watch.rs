//! `status --watch`: the state on the whole screen, renewed every second.
//!
//! Where stdout is no terminal, or one that cannot do more than write lines (`TERM=dumb`), the plain
//! text of `status` is repeated instead. Without the running program the last state stays, with the
//! reason below it, until it is back.

use super::remote::failed;
use super::screen::Screen;
use super::view::View;
use super::{Exit, complain, fail, table};
use crate::control::Request;
use crate::control::client::{self, ClientError};
use crate::status::{Events, History, Status};
use crate::time::SEC;
use onebox_linux::clock;
use std::io::{self, ErrorKind, IsTerminal, Read, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// Seconds of the past that are shown.
const PAST_S: u64 = 60;

pub(super) fn watch(path: &Path, colour: bool) -> Exit {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if !stdout().is_terminal() || dumb {
        return lines(path, colour && !dumb);
    }
    // Who cannot be asked now is not waited for.
    let first = match ask(path) {
        Ok(view) => view,
        Err(error) => return failed(path, &error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    let outcome = runtime.block_on(picture(path.to_owned(), first, colour));
    // A question that is still waiting for its answer does not keep the program.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => fail(format_args!("cannot write: {error}")),
    }
}

/// The plain text, again and again.
fn lines(path: &Path, colour: bool) -> Exit {
    let mut first = true;
    loop {
        let text = match client::ask::<Status>(path, &Request::Status) {
            Ok(status) => table::table(&status, colour),
            Err(error) if first => return failed(path, &error),
            // Whoever watches wants to see it come back.
            Err(ClientError::NotRunning) => "Not running.\n".to_owned(),
            Err(error) => format!("{error}\n"),
        };
        use std::io::Write;
        let mut out = stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Exit::Done,
            Err(error) => {
                complain(format_args!("cannot write: {error}"));
                return Exit::Failed;
            }
        }
        drop(out);
        first = false;
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn ask(path: &Path) -> Result<View, ClientError> {
    let now_s = clock::unix_us() / SEC;
    let status: Status = client::ask(path, &Request::Status)?;
    let since = Some(now_s.saturating_sub(PAST_S));
    let history: History = client::ask(path, &Request::History { since, step: None })?;
    let Events { events } = client::ask(path, &Request::Events { since: None })?;
    Ok(View { status, history, events, now_s, trouble: None, ascii: ascii() })
}

/// Whether the locale says that there is no more than ASCII; one that says nothing, as on a router,
/// is that of a terminal elsewhere.
fn ascii() -> bool {
    let mut set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os);
    let locale = set.find(|value| !value.is_empty());
    let locale = locale.map(|locale| locale.to_string_lossy().to_ascii_lowercase());
    locale.is_some_and(|locale| !locale.contains("utf-8") && !locale.contains("utf8"))
}

/// What is pressed, of a keyboard that is a terminal.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (sender, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut key = [0];
        while let Ok(1) = io::stdin().read(&mut key) {
            if sender.send(key[0]).is_err() {
                return;
            }
        }
    });
    keys
}

async fn picture(path: PathBuf, mut view: View, colour: bool) -> io::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut stopped = signal(SignalKind::from_raw(nix::libc::SIGTSTP))?;
    let mut ended = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?;
    let screen = Screen::open(colour)?;
    let mut keys = if screen.has_keyboard() { keys() } else { mpsc::unbounded_channel().1 };
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (answers_in, mut answers) = mpsc::channel(1);
    let mut asking = false;
    loop {
        screen.draw(&view.lines(screen.size()))?;
        tokio::select! {
            _ = futures_util::future::select_all(ended.iter_mut().map(|s| Box::pin(s.recv()))) => {
                return Ok(());
            }
            Some(key) = keys.recv() => {
                // Ctrl-D ends what reads as well.
                if matches!(key, b'q' | b'Q' | 4) {
                    return Ok(());
                }
            }
            _ = resized.recv() => {}
            _ = stopped.recv() => {
                screen.leave()?;
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP)?;
                screen.enter()?;
            }
            _ = seconds.tick() => {
                if !asking {
                    asking = true;
                    let (path, answers) = (path.clone(), answers_in.clone());
                    tokio::task::spawn_blocking(move || {
                        // Only the end of the program takes nobody.
                        let _ = answers.blocking_send(ask(&path));
                    });
                }
            }
            Some(answer) = answers.recv() => {
                asking = false;
                match answer {
                    Ok(new) => view = new,
                    Err(error) => view.trouble = Some(error.to_string()),
                }
            }
        }
    }
}
