//! Joining at a terminal, and waiting for the answer.

use crate::invite::{TO, folder, invite, text, with_config};
use crate::terminal::Terminal;
use crate::{socket, with_program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::path::Path;

fn join(config: &Path) -> Terminal {
    let terminal = Terminal::start(&["join", "-", "-c", config.to_str().unwrap()], 80);
    terminal.wait("paste the code here");
    assert!(!terminal.echoes());
    terminal
}

/// The exit code; the terminal is as it was, and has nothing for whoever reads from it next.
fn ended(mut terminal: Terminal) -> i32 {
    let code = terminal.child.wait().unwrap().code().unwrap();
    assert!(terminal.echoes());
    let mut ready = [PollFd::new(&terminal.slave, PollFlags::IN)];
    assert_eq!(poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap(), 0);
    code
}

#[test]
fn a_code_that_mail_has_broken_is_read_to_its_end_and_nothing_is_left() {
    let folder = folder("terminal");
    let (server, router) = (folder.join("server"), folder.join("router"));
    let code = invite(&["home", TO[0], TO[1]], &server);
    let (first, rest) = code.split_at(70);
    let (second, third) = rest.split_at(70);
    let mut terminal = join(&router);
    let paste =
        format!("\x1b[200~\n> \"{first}\n> {second}\n>> {third}\"\n>\ntouch left\n\x1b[201~");
    // What follows the code spoils it: it is told, and stays out of the shell.
    terminal.master.write_all(paste.as_bytes()).unwrap();
    let said = terminal.wait("the code is damaged");
    assert!(!said.contains(&first[10..]), "{said}");
    assert_eq!(ended(terminal), 1);
    let mut terminal = join(&router);
    let paste = paste.replace("touch left\n", "\n \n");
    terminal.master.write_all(paste.as_bytes()).unwrap();
    let said = terminal.wait("joined as 'home'");
    assert!(!said.contains(&first[10..]), "{said}");
    terminal.wait("start it: onebox start -c ");
    assert_eq!(ended(terminal), 0);
    // In two pieces, with a word in between.
    std::fs::remove_file(&router).unwrap();
    let mut terminal = join(&router);
    terminal.master.write_all(first.as_bytes()).unwrap();
    terminal.wait("the code is not complete");
    terminal.master.write_all(rest.as_bytes()).unwrap();
    terminal.wait("joined as 'home'");
    assert_eq!(ended(terminal), 0);
}

#[test]
fn a_terminal_is_given_back_with_ctrl_c_and_after_something_else() {
    let folder = folder("terminal-other");
    let router = folder.join("router");
    for (keys, words) in
        [(&b"onebox1-AA\x03"[..], "interrupted"), (b"ls\n", "no code of"), (b"\x04", "no code of")]
    {
        let mut terminal = join(&router);
        terminal.master.write_all(keys).unwrap();
        terminal.wait(words);
        assert_eq!(ended(terminal), 1);
    }
    assert!(!router.exists());
}

#[test]
fn the_first_answer_is_waited_for() {
    let folder = folder("answer");
    let (server, router) = (folder.join("server"), folder.join("router"));
    let code = invite(&["home", TO[0], TO[1]], &server);
    let path = socket("answer");
    let blank = format!(
        "config onebox 'main'\n\toption enabled '0'\n\toption control '{}'\n",
        path.display()
    );
    std::fs::write(&router, &blank).unwrap();
    let outcome = with_config(&["join", "--no-start"], &router, &code);
    assert!(outcome.0 == 0 && outcome.2.contains("start it: "), "{outcome:?}");
    std::fs::write(&router, blank).unwrap();
    with_program(&path, move || {
        let (exit, out, err) = with_config(&["join"], &router, &code);
        assert_eq!((exit, out.as_str()), (0, ""), "{err}");
        assert!(err.contains("the running program has taken it over"), "{err}");
        assert!(err.contains("connected: 192.0.2.1:51830 answered after 0.0 s"), "{err}");
        assert!(text(&router).contains("config peer 'vps'"));
        // The stand-in refuses each further reload.
        let (exit, _, err) = with_config(&["join"], &router, &code);
        assert!(exit == 1 && err.contains("joined already, nothing has changed"), "{err}");
    });
}
