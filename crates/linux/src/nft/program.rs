//! One run of the program `nft`.
//!
//! How: the program is started without a shell on a thread that may wait, the text goes to its
//! standard input, and what it complains about becomes the words of the [`Error`]. What it answers
//! is read where that was asked for, up to a bound. All of it has a deadline, after which the
//! program is killed.
//!
//! The pipes are tokio's, and the end is asked for a few times a run. tokio's `process` would wait
//! for it by SIGCHLD and collect orphans, which the program for a router with 16 MB of flash
//! would carry for a handful of runs a day; a thread of our own could not write, read and keep
//! the time at once without two more.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Longest time for a run: thousands of rules take a slow router a second.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest time for a killed program to be gone.
const KILL_WAIT: Duration = Duration::from_secs(1);
/// Time between two looks whether the program has ended, once it has closed its output.
const END_POLL: Duration = Duration::from_millis(5);
/// Where it is looked for if the environment does not say where programs are.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Bytes of complaints that are kept; what follows is read and dropped.
const COMPLAINT_MAX: usize = 4096;

/// What went wrong with nftables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The program is not installed.
    #[error("the program `nft` is missing (install the package nftables)")]
    Missing,
    /// The program could not be run.
    #[error("cannot run `nft`: {0}")]
    Run(String),
    /// The kernel or the program refused the rules.
    #[error("`nft` refused the rules: {0}")]
    Refused(String),
    /// The program was killed because it did not end.
    #[error("`nft` did not end within {} s", .0.as_secs())]
    Late(Duration),
    /// It says more than is read.
    #[error("`nft` lists more than {0} bytes")]
    TooLong(usize),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            _ => Error::Run(error.to_string()),
        }
    }
}

/// Lets `nft` check a ruleset without putting it in force. Needs a tokio runtime with IO and time.
///
/// # Errors
/// See [`Error`].
pub async fn check(ruleset: &str) -> Result<(), Error> {
    Program::default().run(&["-c", "-f", "-"], ruleset).await
}

/// All rules of this network namespace, of every program's, as JSON (libnftables-json(5)), without the
/// elements of named sets; at most `max` bytes. Needs a tokio runtime with IO and time.
///
/// # Errors
/// See [`Error`]; the program may have been built without JSON.
pub async fn list(max: usize) -> Result<Vec<u8>, Error> {
    Program::default().ask(&["-j", "-t", "list", "ruleset"], "", max).await
}

/// The program, and how long it may take.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) name: OsString,
    pub(super) deadline: Duration,
}

/// What starts it. In OpenWrt's jail there is no PATH, and what execvp(3) takes instead has no `/usr/sbin`.
fn name(path: Option<OsString>, folders: &[&str]) -> OsString {
    let somewhere =
        path.is_none().then(|| folders.iter().map(|folder| Path::new(folder).join("nft")));
    let found = somewhere.and_then(|mut files| files.find(|file| file.exists()));
    found.map_or_else(|| "nft".into(), OsString::from)
}

impl Default for Program {
    fn default() -> Program {
        Program { name: name(std::env::var_os("PATH"), &FOLDERS), deadline: DEADLINE }
    }
}

impl Program {
    /// Runs it once with `input`. The program is killed if this is dropped.
    pub(super) async fn run(
        &self,
        arguments: &'static [&'static str],
        input: &str,
    ) -> Result<(), Error> {
        self.ask(arguments, input, 0).await.map(|_| ())
    }

    /// The same, with what it says, at most `max` bytes; 0: that is not read.
    async fn ask(
        &self,
        arguments: &'static [&'static str],
        input: &str,
        max: usize,
    ) -> Result<Vec<u8>, Error> {
        let name = self.name.clone();
        let mut running = None;
        let whole = async {
            // Starting a program waits for it to be loaded.
            let started = spawn_blocking(move || Running::start(&name, arguments, max > 0));
            let started = started.await.map_err(io::Error::other)??;
            running.insert(started).talk(input, max).await
        };
        if let Ok(result) = timeout(self.deadline, whole).await {
            return result;
        }
        if let Some(running) = &mut running {
            let _ = running.0.kill();
            let _ = timeout(KILL_WAIT, running.end()).await;
        }
        Err(Error::Late(self.deadline))
    }
}

/// A program that runs; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended and was waited for has no number any more, which this knows.
        let _ = self.0.kill();
        let _ = self.0.try_wait();
    }
}

impl Running {
    fn start(name: &OsString, arguments: &[&str], answers: bool) -> io::Result<Running> {
        let child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(if answers { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Running(child))
    }

    async fn talk(&mut self, input: &str, max: usize) -> Result<Vec<u8>, Error> {
        let stdin = self.0.stdin.take();
        let stdout = self.0.stdout.take().map(OwnedFd::from);
        let stderr = self.0.stderr.take().map(OwnedFd::from);
        let write = async {
            if let Some(stdin) = stdin {
                let mut pipe = Sender::from_owned_fd(OwnedFd::from(stdin))?;
                pipe.write_all(input.as_bytes()).await?;
            }
            Ok::<(), io::Error>(())
        };
        // One byte more tells that there is more.
        let answer = beginning(stdout, max + 1);
        let (written, complaint, answer) =
            tokio::join!(write, beginning(stderr, COMPLAINT_MAX), answer);
        let status = self.end().await?;
        if !status.success() {
            let complaint = String::from_utf8_lossy(&complaint?).into_owned();
            let first = complaint.lines().find(|line| !line.trim().is_empty());
            return Err(Error::Refused(first.map_or_else(|| status.to_string(), str::to_owned)));
        }
        written?;
        let answer = answer?;
        if answer.len() > max { Err(Error::TooLong(max)) } else { Ok(answer) }
    }

    async fn end(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            sleep(END_POLL).await;
        }
    }
}

/// The first `max` bytes of what comes out of a pipe, if there is one, until its end; what follows is read and
/// dropped.
async fn beginning(pipe: Option<OwnedFd>, max: usize) -> io::Result<Vec<u8>> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 4096]);
    let Some(pipe) = pipe else { return Ok(kept) };
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    loop {
        let length = pipe.read(&mut chunk).await?;
        if length == 0 {
            return Ok(kept);
        }
        let room = max.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(&chunk[..room]);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;

    /// A script that plays `nft`, in a directory of its own.
    pub(in super::super) struct Script(pub(in super::super) PathBuf);

    impl Script {
        pub(in super::super) fn new(name: &str, text: &str) -> Script {
            let folder =
                std::env::temp_dir().join(format!("onebox-nft-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            // Written by another process: a descriptor that a test beside this one hands to its
            // child by accident would make the script busy.
            let mut shell = Command::new("sh")
                .args(["-c", "cat > \"$0\"; chmod 755 \"$0\""])
                .arg(folder.join("nft"))
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let text = format!("#!/bin/sh\ncd {}\n{text}\n", folder.display());
            shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success());
            Script(folder)
        }

        pub(in super::super) fn program(&self) -> Program {
            Program { name: self.0.join("nft").into(), deadline: Duration::from_secs(30) }
        }

        pub(in super::super) fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.0.join(file)).unwrap_or_default()
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub(in super::super) fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(future)
    }

    fn run(script: &Script, input: &str) -> Result<(), Error> {
        block_on(script.program().run(&["-f", "-"], input))
    }

    #[test]
    fn it_gets_its_arguments_and_all_of_its_input() {
        let script = Script::new("input", "echo \"$@\" > arguments; cat > input");
        // More than a pipe holds.
        let input = "table inet onebox\n".repeat(20_000);
        run(&script, &input).unwrap();
        assert_eq!(script.read("arguments"), "-f -\n");
        assert!(script.read("input") == input);
    }

    #[test]
    fn it_is_found_without_a_path() {
        let script = Script::new("found", "");
        let folder = script.0.to_str().unwrap();
        assert_eq!(name(None, &["/nowhere", folder]), script.0.join("nft"));
        assert_eq!(name(None, &["/nowhere"]), "nft");
        assert_eq!(name(Some("/usr/bin".into()), &[folder]), "nft");
    }

    #[test]
    fn its_first_line_of_complaint_is_the_error() {
        let script =
            Script::new("words", "echo; echo 'line 3: no such thing' >&2; echo more >&2; exit 1");
        let refused = run(&script, &"x".repeat(200_000)).unwrap_err();
        assert_eq!(refused, Error::Refused("line 3: no such thing".to_owned()));
        let script = Script::new("silent", "exit 3");
        assert_eq!(run(&script, "").unwrap_err(), Error::Refused("exit status: 3".to_owned()));
    }

    #[test]
    fn what_it_says_is_bounded() {
        let script = Script::new("chatty", "head -c 1000000 /dev/zero | tr '\\0' a >&2; exit 1");
        match run(&script, "").unwrap_err() {
            Error::Refused(words) => assert_eq!(words.len(), COMPLAINT_MAX),
            other => panic!("{other}"),
        }
        // What is said without being wrong is no error.
        let script = Script::new("warns", "echo careful >&2");
        run(&script, "").unwrap();
    }

    #[test]
    fn what_it_answers_is_read_up_to_a_bound() {
        let script = Script::new("answer", "head -c 100000 /dev/zero | tr '\\0' a");
        let ask = |max| block_on(script.program().ask(&[], "", max));
        assert_eq!(ask(100_000).unwrap().len(), 100_000);
        assert_eq!(ask(99_999), Err(Error::TooLong(99_999)));
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let script = Script::new("slow", "echo $$ > pid; exec sleep 600");
        let deadline = Duration::from_secs(1);
        let program = Program { deadline, ..script.program() };
        let late = block_on(program.run(&["-f", "-"], "")).unwrap_err();
        assert_eq!(late, Error::Late(deadline));
        let process = PathBuf::from("/proc").join(script.read("pid").trim());
        assert!(script.read("pid").len() > 1 && !process.exists());
    }

    #[test]
    fn a_missing_one_is_told_as_that() {
        let script = Script::new("missing", "");
        let program = Program { name: script.0.join("none").into(), ..script.program() };
        assert_eq!(block_on(program.run(&[], "")), Err(Error::Missing));
    }
}
