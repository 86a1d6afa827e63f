//! `test`: a speed test of the running program, followed to its end.
//!
//! How: the program tests, this asks for its status some times a second. What is going on is on
//! stderr: a bar on a terminal, else a line for each part that is through; the result on stdout.

use super::args::{self, control_path};
use super::remote::failed;
use super::table::mbit;
use super::{Exit, complain, fail, print};
use crate::control::client::{self, ClientError};
use crate::control::{Request, Testing, Way};
use crate::status::{SpeedStep, SpeedTest, Status};
use crate::time::SEC;
use onebox_linux::clock;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::path::Path;
use std::time::Duration;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// How much longer than it should a test may take before it is given up, microseconds.
const PATIENCE_US: u64 = 15 * SEC;
/// Columns of the bar.
const BAR: usize = 24;

pub(super) fn test(options: &args::Test) -> Exit {
    let path = control_path(options.control.as_ref(), &options.config);
    let way = match (options.up, options.down) {
        (true, false) => Some(Way::Up),
        (false, true) => Some(Way::Down),
        _ => None,
    };
    let request = Request::Test {
        wan: options.wan.clone(),
        way,
        seconds: options.seconds,
        metered: options.metered,
        stop: options.stop,
    };
    if options.stop {
        let done = client::ask::<serde_json::Value>(&path, &request);
        return done.map_or_else(|error| failed(&path, &error), |_| Exit::Done);
    }
    let testing = match client::ask::<Testing>(&path, &request) {
        Ok(testing) => testing,
        Err(error) => return failed(&path, &error),
    };
    for skipped in &testing.skipped {
        complain(format_args!("not tested: {skipped}"));
    }
    match follow(&path, &testing) {
        Ok(Some(test)) => show(&test, options.json),
        Ok(None) => fail("the test was lost with the connection: try again"),
        Err(error) => failed(&path, &error),
    }
}

/// Waits for the end of a test; nothing, if it is not there any more.
fn follow(path: &Path, testing: &Testing) -> Result<Option<SpeedTest>, ClientError> {
    let bar = stderr().is_terminal();
    let until = clock::now() + testing.seconds * SEC + PATIENCE_US;
    let mut told = 0;
    loop {
        let status: Status = client::ask(path, &Request::Status)?;
        let peer = status.peers.into_iter().find(|peer| peer.name == testing.peer);
        let test = peer.and_then(|peer| peer.speed_test).filter(|test| test.id == testing.id);
        let Some(test) = test else {
            clear(bar);
            return Ok(None);
        };
        let done = test.steps.iter().take_while(|step| is_done(step));
        if bar {
            // Without stderr there is nobody to tell.
            let _ = write!(stderr(), "\r\x1b[K{}", progress(&test));
        } else {
            for step in done.clone().skip(told) {
                let _ = writeln!(stderr(), "{}: {}", title(step), outcome(step));
            }
        }
        told = done.count();
        if !test.running || clock::now() > until {
            clear(bar);
            return Ok(Some(test));
        }
        std::thread::sleep(EVERY);
    }
}

fn clear(bar: bool) {
    if bar {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

fn is_done(step: &SpeedStep) -> bool {
    step.kbps.is_some() || step.error.is_some()
}

/// The bar, and what is being tested.
fn progress(test: &SpeedTest) -> String {
    let filled = usize::from(test.percent.min(100)) * BAR / 100;
    let now = test.steps.iter().find(|step| !is_done(step)).map(title).unwrap_or_default();
    let rest = BAR - filled;
    format!("[{}{}] {:>3} %  {now}", "#".repeat(filled), ".".repeat(rest), test.percent)
}

fn title(step: &SpeedStep) -> String {
    format!("{} {}", name(step), step.way)
}

fn name(step: &SpeedStep) -> String {
    match &step.wans[..] {
        [wan] => wan.clone(),
        _ => "together".to_owned(),
    }
}

fn outcome(step: &SpeedStep) -> String {
    let rate = step.kbps.map(|kbps| format!("{} Mbit/s", mbit(kbps)));
    rate.or_else(|| step.error.clone()).unwrap_or_else(|| "not tested".to_owned())
}

fn show(test: &SpeedTest, json: bool) -> Exit {
    let shown = match json {
        true => serde_json::to_string_pretty(test).map(|text| text + "\n"),
        false => Ok(table(test)),
    };
    match shown.map(|text| print(&text)) {
        Ok(Exit::Done) if test.steps.iter().all(|step| step.kbps.is_none()) => Exit::Failed,
        Ok(exit) => exit,
        Err(error) => fail(error),
    }
}

/// A line for each link and for all together, then why something is not there.
fn table(test: &SpeedTest) -> String {
    let mut rows: Vec<(String, [Option<&SpeedStep>; 2])> = Vec::new();
    for step in &test.steps {
        let name = name(step);
        let row = match rows.iter().position(|row| row.0 == name) {
            Some(at) => at,
            None => {
                rows.push((name, [None; 2]));
                rows.len() - 1
            }
        };
        rows[row].1[usize::from(step.way == "down")] = Some(step);
    }
    let wide = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    let mut out = format!("{:wide$}  {:>11}  {:>13}\n", "", "Mbit/s up", "Mbit/s down");
    for (name, ways) in &rows {
        let cell = |step: Option<&SpeedStep>| {
            step.and_then(|step| step.kbps).map_or_else(|| "-".to_owned(), mbit)
        };
        let _ = writeln!(out, "{name:wide$}  {:>11}  {:>13}", cell(ways[0]), cell(ways[1]));
    }
    for step in test.steps.iter().filter(|step| step.error.is_some()) {
        let _ = writeln!(out, "{}: {}", title(step), outcome(step));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(wans: &[&str], way: &str, kbps: Option<u64>, error: Option<&str>) -> SpeedStep {
        SpeedStep {
            wans: wans.iter().map(|wan| (*wan).to_owned()).collect(),
            way: way.to_owned(),
            kbps,
            error: error.map(str::to_owned),
            error_code: None,
        }
    }

    #[test]
    fn a_result_is_a_table_and_progress_a_bar() {
        let mut test = SpeedTest {
            id: 1,
            running: false,
            percent: 50,
            steps: vec![
                step(&["dsl"], "down", Some(48_400), None),
                step(&["dsl"], "up", Some(9_800), None),
                step(&["lte"], "down", None, Some("the link does not work")),
                step(&["lte"], "up", None, None),
                step(&["dsl", "lte"], "down", Some(123_400), None),
            ],
        };
        let title = "            Mbit/s up    Mbit/s down\n";
        let expected = "\
dsl               9.8           48.4
lte                 -              -
together            -            123
lte down: the link does not work
";
        assert_eq!(table(&test), format!("{title}{expected}"));
        assert_eq!(progress(&test), "[############............]  50 %  lte up");
        test.percent = 255;
        assert!(progress(&test).starts_with("[########################]"));
    }
}
