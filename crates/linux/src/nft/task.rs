//! The table as it was asked for last, made so beside everything else.
//!
//! Why: the program takes milliseconds as a rule, seconds on a router that is busy, and for ever
//! when something is wrong; whoever asks has other things to do.
//!
//! How: one task has the program run, one run after the other, always for what was asked for last;
//! what was asked for in between is passed over. A run that fails is reported once, and tried again
//! every [`RETRY`], or when something else is asked for. Whoever suspects that somebody else has
//! changed the table asks for a [`check`](Nft::check): a table that is not the one that was made is
//! made again.
//!
//! Limits: a run that has begun is not broken off by another one, so that what was asked for last
//! is in force or known to fail after two deadlines of the program at most.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::fingerprint::fingerprint;
use super::program::{Error, Program};
use super::ruleset::{Ruleset, TABLE, removal};

/// Time until a run that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// How the table is to be. The number tells one from the next.
#[derive(Debug, Clone)]
struct Desired {
    number: u64,
    /// None: no table.
    ruleset: Option<Ruleset>,
    /// How often a check was asked for.
    checks: u64,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    number: u64,
    result: Result<(), Error>,
}

/// The task; it ends when this is dropped, and so does a program that runs.
#[derive(Debug)]
pub struct Nft {
    desired: watch::Sender<Desired>,
    outcomes: watch::Receiver<Outcome>,
    task: JoinHandle<()>,
}

impl Drop for Nft {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Nft {
    /// Starts the task, which leaves the table alone until it is asked. Needs a tokio runtime
    /// with IO and time.
    pub fn start() -> Nft {
        Nft::with(Program::default(), RETRY)
    }

    fn with(program: Program, retry: Duration) -> Nft {
        let (desired, asked) = watch::channel(Desired { number: 0, ruleset: None, checks: 0 });
        let (report, outcomes) = watch::channel(Outcome { number: 0, result: Ok(()) });
        let task = tokio::spawn(work(program, retry, asked, report));
        Nft { desired, outcomes, task }
    }

    /// Asks for a table, or for none, in the place of whatever there is.
    pub fn set(&self, ruleset: Option<Ruleset>) {
        self.desired.send_modify(|last| {
            last.number += 1;
            last.ruleset = ruleset;
        });
    }

    /// Has it looked whether the table is still the one that was asked for.
    pub fn check(&self) {
        self.desired.send_modify(|last| last.checks += 1);
    }

    /// What was asked for last. None before the first time.
    pub fn desired(&self) -> Option<Option<Ruleset>> {
        let last = self.desired.borrow();
        (last.number > 0).then(|| last.ruleset.clone())
    }

    /// Waits until something else is known about what was asked for last than was reported
    /// before: it is in force, or fails. May be cancelled.
    ///
    /// # Errors
    /// Why it fails; it is tried again.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            if self.outcomes.changed().await.is_err() {
                // The task ends with us only.
                std::future::pending::<()>().await;
            }
            let outcome = self.outcomes.borrow_and_update().clone();
            if outcome.number == self.desired.borrow().number {
                return outcome.result;
            }
        }
    }

    /// Waits until what was asked for last is in force or known to fail; not longer than two
    /// deadlines of the program.
    ///
    /// # Errors
    /// Why it fails; it is tried again.
    pub async fn settled(&mut self) -> Result<(), Error> {
        let number = self.desired.borrow().number;
        match self.outcomes.wait_for(|outcome| outcome.number == number).await {
            Ok(outcome) => outcome.result.clone(),
            Err(_) => Ok(()),
        }
    }
}

async fn work(
    program: Program,
    retry: Duration,
    mut desired: watch::Receiver<Desired>,
    outcomes: watch::Sender<Outcome>,
) {
    let mut failed = false;
    // The number that is in force, and how the kernel has its table.
    let mut in_force = (0, 0);
    loop {
        let next = desired.changed();
        let next = if failed { timeout(retry, next).await.unwrap_or(Ok(())) } else { next.await };
        if next.is_err() {
            return;
        }
        let Desired { number, ruleset, .. } = desired.borrow_and_update().clone();
        if !failed && number == in_force.0 {
            if ruleset.is_none() || in_force.1 == in_kernel().await {
                continue;
            }
            log::warn!("somebody has changed the nftables table {TABLE}: it is made anew");
        }
        let remove = ruleset.is_none();
        let ruleset = ruleset.unwrap_or_else(removal);
        let result = match program.run(&["-f", "-"], ruleset.text()).await {
            // Whoever has no such program has no such table.
            Err(Error::Missing) if remove => Ok(()),
            result => result,
        };
        failed = result.is_err();
        if !failed {
            in_force = (number, in_kernel().await);
        }
        let new = Outcome { number, result };
        outcomes.send_if_modified(|outcome| {
            let changed = *outcome != new;
            *outcome = new;
            changed
        });
    }
}

/// How the kernel has the table; 0 where it does not say.
async fn in_kernel() -> u64 {
    match spawn_blocking(fingerprint).await {
        Ok(Ok(number)) => number,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::tests::{Script, block_on};
    use super::super::{Tables, ruleset};
    use super::*;

    fn ruleset_for(device: &str) -> Option<Ruleset> {
        Some(ruleset(device, &Tables { mss_clamp: true, ..Tables::default() }, 0, &[]))
    }

    #[test]
    fn the_newest_wins_and_runs_do_not_overlap() {
        // A run that finds another one going on says so.
        let script = Script::new(
            "newest",
            "mkdir running || echo overlap >> log; cat > input; grep -m 1 -o 'wan[0-9]*' input >> log
             sleep 0.3; rmdir running",
        );
        block_on(async {
            let mut nft = Nft::with(script.program(), RETRY);
            assert_eq!(nft.desired(), None);
            nft.set(ruleset_for("wan1"));
            while script.read("log").is_empty() {
                tokio::task::yield_now().await;
            }
            for number in 2..=9 {
                nft.set(ruleset_for(&format!("wan{number}")));
                tokio::task::yield_now().await;
            }
            assert_eq!(nft.desired(), Some(ruleset_for("wan9")));
            nft.settled().await.unwrap();
            assert_eq!(script.read("log"), "wan1\nwan9\n");
        });
    }

    #[test]
    fn a_failure_is_reported_once_and_tried_again() {
        let script = Script::new(
            "again",
            "cat > input; echo >> runs; [ -e good ] && exit 0; echo 'not now' >&2; exit 1",
        );
        block_on(async {
            let mut nft = Nft::with(script.program(), Duration::from_millis(20));
            nft.set(ruleset_for("wan1"));
            let refused = Error::Refused("not now".to_owned());
            assert_eq!(nft.changed().await, Err(refused));
            while script.read("runs").len() < 4 {
                let more = timeout(Duration::from_millis(20), nft.changed()).await;
                assert!(more.is_err(), "{more:?}");
            }
            std::fs::write(script.0.join("good"), "").unwrap();
            assert_eq!(nft.changed().await, Ok(()));
        });
    }

    #[test]
    fn without_the_program_there_is_nothing_to_remove() {
        let script = Script::new("none", "");
        let program = Program { name: script.0.join("none").into(), ..script.program() };
        block_on(async {
            let mut nft = Nft::with(program, RETRY);
            nft.set(None);
            assert_eq!(nft.settled().await, Ok(()));
            nft.set(ruleset_for("wan1"));
            assert_eq!(nft.settled().await, Err(Error::Missing));
        });
    }

    #[test]
    fn the_thread_goes_on_while_the_program_runs() {
        let script = Script::new("thread", "cat > input; sleep 0.5");
        block_on(async {
            let mut nft = Nft::with(script.program(), RETRY);
            nft.set(ruleset_for("wan1"));
            let mut turns = 0;
            let count = async {
                loop {
                    turns += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                result = nft.settled() => result.unwrap(),
                () = count => {}
            }
            assert!(turns > 10, "{turns}");
        });
    }
}
