//! Looks whether another program's firewall drops what the tunnel is to forward.
//!
//! Why: Docker, ufw or firewalld on a server leave the tunnel up and the LAN without internet, and
//! nothing says why.
//!
//! How: a task has `nft` list the rules when others have changed theirs, when what is forwarded is
//! something else, and every [`REGULAR`] in case a message was lost; the rules are judged by
//! [`findings`](crate::findings) on a thread that may wait. What drops is a problem until it is gone.
//!
//! Limits: looks are [`APART`] apart, so that a firewall that starts anew costs one or two. What cannot
//! be listed (no `nft`, one without JSON) is no problem of its own, since traffic may well pass: the log
//! says once that nothing is known.

use crate::findings::firewall::Firewall;
use crate::findings::{Forwarding, read, shown};
use crate::status::{Problem, Problems};
use onebox_linux::clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

/// Least time between two looks.
const APART: Duration = Duration::from_secs(10);
/// Longest time between two looks: one takes a slow router some 30 ms.
const REGULAR: Duration = Duration::from_secs(60);
/// How long changes of one cause may gather before a look.
const GATHER: Duration = Duration::from_millis(500);

/// The task; it ends when this is dropped.
pub struct FirewallWatch {
    forwarding: watch::Sender<Option<Forwarding>>,
    task: JoinHandle<()>,
}

impl Drop for FirewallWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FirewallWatch {
    /// Starts the task, which waits for the first [`set`](Self::set). `changed` is notified when others
    /// have changed their rules. Needs a tokio runtime with IO and time.
    pub fn start(changed: Arc<Notify>, problems: Problems) -> FirewallWatch {
        let (forwarding, wanted) = watch::channel(None);
        let task = tokio::spawn(work(wanted, changed, problems));
        FirewallWatch { forwarding, task }
    }

    /// This is to be forwarded. Costs nothing where it is as before.
    pub fn set(&self, forwarding: Forwarding) {
        self.forwarding.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&forwarding);
            if changed {
                *known = Some(forwarding);
            }
            changed
        });
    }
}

async fn work(
    mut wanted: watch::Receiver<Option<Forwarding>>,
    changed: Arc<Notify>,
    problems: Problems,
) {
    let mut known = true;
    loop {
        let news = async {
            tokio::select! {
                outcome = wanted.changed() => outcome.is_ok(),
                () = changed.notified() => true,
            }
        };
        if timeout(REGULAR, news).await == Ok(false) {
            return;
        }
        sleep(GATHER).await;
        let Some(forwarding) = wanted.borrow_and_update().clone() else { continue };
        let outcome = match read::rules().await {
            Ok(rules) => match spawn_blocking(move || judge(&rules, forwarding)).await {
                Ok(Some(found)) => {
                    tell(&problems, &found);
                    Ok(())
                }
                Ok(None) => Err("`nft` lists them in a form that is not understood".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        if let (Err(error), true) = (&outcome, known) {
            log::warn!(
                "whether another firewall drops what is forwarded is not known: {error}; it is tried \
                 again"
            );
        }
        known = outcome.is_ok();
        if !known {
            // What was found is not known to hold any more.
            problems.clear_all(Problem::ForwardBlocked);
        }
        sleep(APART).await;
    }
}

/// The chains that drop, in words, by the tunnel's device; None where the rules are not understood.
fn judge(rules: &[u8], mut forwarding: Forwarding) -> Option<(String, Vec<String>)> {
    let firewall = Firewall::read(rules)?;
    if forwarding.server {
        // A server does not follow the network.
        forwarding.others = read::routed_devices(&forwarding.device);
    }
    let places = forwarding.dropping(&firewall);
    let words = places.iter().map(|place| shown(&firewall, place)).collect();
    Some((forwarding.device, words))
}

fn tell(problems: &Problems, (device, places): &(String, Vec<String>)) {
    if places.is_empty() {
        problems.clear_all(Problem::ForwardBlocked);
        return;
    }
    let places = places.join(", ");
    if problems.raise(clock::now(), Problem::ForwardBlocked, device, &places) {
        log::error!(
            "{device}: {}: {places}; {}",
            Problem::ForwardBlocked.words(),
            Problem::ForwardBlocked.remedy()
        );
    }
}
