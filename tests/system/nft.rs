//! The program while `nft` is slow, or refuses.

use std::time::Duration;

use crate::daemon::Daemon;
use crate::world::{Namespace, eventually, ip};

/// Longest time for an answer of the control socket.
const ANSWER: Duration = Duration::from_secs(1);

/// How long something takes.
fn took(job: impl FnOnce()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a test measures a real program in real time")]
    let now = std::time::Instant::now;
    let start = now();
    job();
    now() - start
}

#[test]
fn a_slow_nft_holds_nothing_up() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let mut daemon = Daemon::start("", "sleep 4; echo > done");
        eventually(Duration::from_secs(2), "the rules", || ip("address").contains("10.99.0.2"));
        let mut answers = 0;
        while daemon.file("done").is_empty() {
            let answer = took(|| assert!(daemon.answers()));
            assert!(answer < ANSWER, "{answer:?}");
            answers += 1;
        }
        assert!(answers > 1, "{answers}");
        assert!(daemon.stop());
        assert!(!daemon.file("input").contains("chain"), "the table is removed last");
        assert!(!daemon.file("log").contains("nft"), "{}", daemon.file("log"));
    });
}

#[test]
fn an_nft_that_refuses_is_told_and_the_rest_goes_on() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let mut daemon = Daemon::start("", "echo 'Error: no such thing' >&2; exit 1");
        let words = "`nft` refused the rules: Error: no such thing";
        eventually(Duration::from_secs(2), "the words", || daemon.file("log").contains(words));
        assert!(daemon.answers());
        assert!(ip("address").contains("10.99.0.2"));
        assert!(daemon.stop());
        assert_eq!(daemon.file("log").matches(words).count(), 1);
    });
}
