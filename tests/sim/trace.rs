//! The history of a run as a file, for `tests/sim/plot` and for `awk`.
//!
//! Why: that a figure is missed says that something went wrong, not what. A trace shows what the
//! engine believed when it decided, beside what was true.
//!
//! How: lines of fields parted by tabs; the first field says what a line is about, and a line
//! with `#` in front of that names the fields. Times are milliseconds. A line is written when it
//! differs from the last one about the same thing, so that a value holds until the next line.
//!
//! Limits: sampled every ten milliseconds; what comes and goes between two samples is not seen.

use crate::history::Sample;
use crate::packet::{SIDES, Side};
use crate::report::{BIN_US, Record};
use crate::scenario::Outcome;
use onebox::engine::{PathSnapshot, Snapshot};
use onebox::time::MS;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;

const HEAD: &str = "\
#run\ttitle
#step\ttime_ms\twhat
#path\ttime_ms\tside\tpath\tstate\treason\tphase\tcapacity_kbps\tpacing_kbps\tin_flight\twindow\t\
rtt_ms\trtt_min_ms\tfeedback_ms\tstanding_ms\tspread_ms\tdelay_ms\tsent\tlost\tprotected
#end\ttime_ms\tside\tentrance\tentrance_oldest_ms\tstore\theld\thold_ms\thold_asked_ms\t\
retransmitted\tduplicated\tduplicates\treleased_late\tdropped_aqm\tdropped_full\tabandoned\trepaired
#link\ttime_ms\tlink\tfrom\trate_kbps\tqueue\tqueue_ms\twire_bytes\tdropped\tlost
#flow\ttime_ms\tname\tkbps
#sample\ttime_ms\tname\tdelay_ms
";

/// How often a file of each name has been written by this process.
static WRITTEN: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Writes the trace of a run into a directory, which is made.
///
/// # Panics
/// When that cannot be done.
pub fn write(dir: &Path, title: &str, steps: &[(u64, &str)], outcome: &Outcome) {
    let text = text(title, steps, outcome);
    let name: String =
        title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join("-");
    let count = {
        let mut written = WRITTEN.lock().expect("no other writer has died");
        let count = written.entry(name.clone()).or_default();
        *count += 1;
        *count
    };
    let file = if count == 1 { format!("{name}.tsv") } else { format!("{name}-{count}.tsv") };
    std::fs::create_dir_all(dir).expect("the directory of traces");
    std::fs::write(dir.join(&file), text).expect("a trace can be written");
    eprintln!("trace: {}", dir.join(file).display());
}

fn ms(us: u64) -> f64 {
    us as f64 / MS as f64
}

fn text(title: &str, steps: &[(u64, &str)], outcome: &Outcome) -> String {
    let mut lines = Lines { text: HEAD.to_owned(), last: BTreeMap::new() };
    let _ = writeln!(lines.text, "run\t{title}");
    for (us, what) in steps {
        let _ = writeln!(lines.text, "step\t{}\t{what}", ms(*us));
    }
    for sample in &outcome.history.samples {
        lines.sample(sample);
    }
    for (name, record, _) in &outcome.flows {
        lines.flow(name, record);
    }
    lines.text
}

struct Lines {
    text: String,
    /// The last line about each thing, without its time.
    last: BTreeMap<String, String>,
}

impl Lines {
    /// A line about `about` at a time, unless nothing has changed.
    fn add(&mut self, kind: &str, time_us: u64, about: &str, values: String) {
        let key = format!("{kind}\t{about}");
        if self.last.get(&key) == Some(&values) {
            return;
        }
        let _ = writeln!(self.text, "{kind}\t{}\t{about}\t{values}", ms(time_us));
        self.last.insert(key, values);
    }

    fn sample(&mut self, sample: &Sample) {
        let at = sample.at.0;
        for (side, end) in SIDES.iter().zip(&sample.ends) {
            let Some(end) = end else { continue };
            self.add("end", at, side_name(*side), end_values(end));
            for path in &end.paths {
                let about = format!("{}\t{}", side_name(*side), path.id.0);
                self.add("path", at, &about, path_values(path));
            }
        }
        for (number, link) in sample.links.iter().enumerate() {
            for (side, l) in SIDES.iter().zip(link) {
                let about = format!("{number}\t{}", side_name(*side));
                let values = format!(
                    "{}\t{}\t{:.1}\t{}\t{}\t{}",
                    l.through_kbps(),
                    l.queued,
                    l.queue_ms(),
                    l.counters.wire_bytes,
                    l.counters.dropped,
                    l.counters.lost
                );
                self.add("link", at, &about, values);
            }
        }
    }

    fn flow(&mut self, name: &str, record: &Record) {
        for (i, bytes) in record.bins.iter().enumerate() {
            let kbps = format!("{}", bytes * 8000 / BIN_US);
            self.add("flow", i as u64 * BIN_US, name, kbps);
        }
        if !record.bins.is_empty() {
            self.add("flow", record.bins.len() as u64 * BIN_US, name, "0".to_owned());
        }
        for sample in &record.samples {
            let delay = sample.delay_us.map_or("lost".to_owned(), |us| format!("{:.1}", ms(us)));
            let _ = writeln!(self.text, "sample\t{}\t{name}\t{delay}", ms(sample.sent.0));
        }
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn path_values(p: &PathSnapshot) -> String {
    format!(
        "{:?}\t{}\t{:?}\t{}\t{}\t{}\t{}\t{:.1}\t{:.1}\t{:.1}\t{:.1}\t{:.1}\t{:.1}\t{}\t{}\t{}",
        p.state,
        p.reason,
        p.phase,
        p.bandwidth / 125,
        p.pacing / 125,
        p.in_flight,
        p.window,
        ms(p.rtt_us),
        ms(p.rtt_min_us),
        ms(p.feedback_us),
        ms(p.standing_us),
        ms(p.spread_us),
        p.delay_us as f64 / MS as f64,
        p.packets_sent,
        p.packets_lost,
        u8::from(p.protected),
    )
}

fn end_values(s: &Snapshot) -> String {
    format!(
        "{}\t{:.1}\t{}\t{}\t{:.1}\t{:.1}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        s.queued_bytes,
        ms(s.queued_us),
        s.memory.unacked.0,
        s.held_bytes,
        ms(s.hold_us),
        ms(s.hold_reported_us),
        s.retransmitted,
        s.duplicated,
        s.duplicates,
        s.released_late,
        s.dropped_aqm,
        s.dropped_full,
        s.abandoned,
        s.repaired,
    )
}
