//! The signals that tell the program to end, and to read its configuration again.
//!
//! How: they are listened to from [`Signals::listen`] on, whether somebody waits for them or not, so
//! that one that comes while the tunnel is being set up ends the program when that is done and all
//! can be undone. Until the process is gone they do nothing else any more.

use std::io;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// See the module.
#[derive(Debug)]
pub struct Signals {
    terminate: Listener,
    interrupt: Listener,
    hangup: Listener,
    stopped: bool,
}

impl Signals {
    /// Begins to listen. Needs a tokio runtime with signals.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stopped: false,
        })
    }

    /// Waits until the program is to end, for which [`next`](Self::next) need not wait then. May be
    /// cancelled.
    pub async fn stop(&mut self) {
        if !self.stopped {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            self.stopped = true;
        }
    }

    /// Waits for the next signal. May be cancelled.
    pub async fn next(&mut self) -> Signal {
        if self.stopped {
            return Signal::Stop;
        }
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}
