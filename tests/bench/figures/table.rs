//! The table for people: medians of the runs, and a `!` behind every figure that misses its goal.
//!
//! The goals are those of one default configuration in every environment and both ways: see the
//! constants. An environment meets a goal when both ways do.

use super::environments::{Environment, all};
use super::record::Record;
use super::statistics::median;
use std::fmt::Write as _;

/// Efficiency in every environment, and the median of all.
const EFFICIENCY: f64 = 0.90;
const EFFICIENCY_MEDIAN: f64 = 0.94;
/// Ping under load beyond the round trip of the better path, 95th percentile, milliseconds.
const PING_BEYOND_MS: f64 = 30.0;

/// What is known of an outage, how its column is called, and the goal of each outage.
struct Goal {
    figure: &'static str,
    title: &'static str,
    blackhole: f64,
    carrier: f64,
}

const OUTAGE_GOALS: [Goal; 5] = [
    Goal { figure: "ping_lost", title: "pings lost", blackhole: 0.0, carrier: 0.0 },
    Goal { figure: "ping_gap_ms", title: "ping gap ms", blackhole: 100.0, carrier: 50.0 },
    Goal { figure: "recovery_ms", title: "TCP at 80 % ms", blackhole: 500.0, carrier: 500.0 },
    Goal { figure: "stall_ms", title: "TCP at zero ms", blackhole: 200.0, carrier: 50.0 },
    Goal { figure: "return_ms", title: "back after ms", blackhole: 3000.0, carrier: 3000.0 },
];

/// Names of the outages, as records have them.
pub const OUTAGES: [&str; 2] = ["blackhole", "carrier"];
const WAYS: [&str; 2] = ["up", "down"];

/// Everything that the records tell.
pub fn text(records: &[Record]) -> String {
    let mut text = String::new();
    let (outages, loads): (Vec<_>, Vec<_>) =
        records.iter().partition(|r| OUTAGES.contains(&r.environment.as_str()));
    for (bench, cc, flows) in distinct(&loads, |r| (r.bench.clone(), r.cc.clone(), r.flows)) {
        let of = |r: &&&Record| r.bench == bench && r.cc == cc && r.flows == flows;
        let runs: Vec<&Record> = loads.iter().filter(of).copied().collect();
        let count = distinct(&runs, |r| r.run).len();
        let plural = if flows == 1 { "" } else { "s" };
        let _ = writeln!(text, "{bench}: {flows} {cc} flow{plural}, {}", medians_of(count));
        Loads { runs }.write(&mut text);
        text.push('\n');
    }
    for bench in distinct(&outages, |r| r.bench.clone()) {
        let runs: Vec<&Record> = outages.iter().filter(|r| r.bench == bench).copied().collect();
        let count = distinct(&runs, |r| r.run).len();
        let _ =
            writeln!(text, "{bench}: one of two links of 50 Mbit/s fails, {}", medians_of(count));
        write_outages(&mut text, &runs);
        text.push('\n');
    }
    for record in records.iter().filter(|r| !r.note.is_empty()) {
        let Record { bench, environment, network, way, run, note, .. } = record;
        let _ = writeln!(text, "{bench} {environment} {network} {way}, run {run}: {note}");
    }
    text
}

fn medians_of(runs: usize) -> String {
    if runs == 1 { "a single run".to_string() } else { format!("medians of {runs} runs") }
}

/// How many rows of a text miss a goal.
pub fn misses(text: &str) -> usize {
    let is_row = |line: &&str| line.contains(" | ") || line.starts_with("median");
    text.lines().filter(is_row).filter(|line| line.contains('!')).count()
}

/// The different keys of records, in order of first appearance.
fn distinct<K: PartialEq>(records: &[&Record], key: impl Fn(&Record) -> K) -> Vec<K> {
    let mut keys = Vec::new();
    for record in records {
        let key = key(record);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// A figure in so many places, with a mark when it misses its goal or is missing.
fn cell(value: Option<f64>, digits: usize, width: usize, good: impl Fn(f64) -> bool) -> String {
    match value {
        Some(value) if good(value) => format!("{value:width$.digits$} "),
        Some(value) => format!("{value:width$.digits$}!"),
        None => format!("{:>width$}!", "-"),
    }
}

/// A figure without a goal.
fn plain(value: Option<f64>, digits: usize, width: usize) -> String {
    value.map_or(format!("{:>width$}", "-"), |value| format!("{value:width$.digits$}"))
}

/// Runs under load: of one bench, congestion control and number of flows.
struct Loads<'a> {
    runs: Vec<&'a Record>,
}

/// What a row says of the goals.
struct Verdict {
    efficiencies: Vec<f64>,
    efficient: bool,
    above_best: Option<bool>,
    quick: bool,
}

impl Loads<'_> {
    fn median(&self, environment: &str, network: &str, way: &str, figure: &str) -> Option<f64> {
        let of =
            |r: &&&Record| r.environment == environment && r.network == network && r.way == way;
        let values: Vec<f64> =
            self.runs.iter().filter(of).filter_map(|r| r.figure(figure)).collect();
        median(&values)
    }

    fn write(&self, text: &mut String) {
        let networks = distinct(&self.runs, |r| r.network.clone());
        let peers: Vec<&String> =
            networks.iter().filter(|n| !["bond", "a", "b"].contains(&n.as_str())).collect();
        let _ = write!(
            text,
            "{:13} |   E up | E down | ping p95 ms up/down (goal) | lost up/down | Mbit/s up/down  \
             | A alone up/down | B alone up/down | best alone   ",
            "environment"
        );
        for peer in &peers {
            let _ = write!(text, " | {peer:>13}");
        }
        text.push('\n');
        let mut verdicts = Vec::new();
        for environment in all() {
            if self.runs.iter().any(|r| r.environment == environment.name) {
                verdicts.push(self.write_row(text, &environment, &peers));
            }
        }
        write_verdicts(text, &verdicts);
    }

    fn write_row(
        &self,
        text: &mut String,
        environment: &Environment,
        peers: &[&String],
    ) -> Verdict {
        let name = environment.name.as_str();
        let mbit = |network: &str| WAYS.map(|way| self.median(name, network, way, "goodput_mbit"));
        let bond = |figure: &str| WAYS.map(|way| self.median(name, "bond", way, figure));
        let wanted =
            WAYS.map(|way| self.runs.iter().any(|r| r.environment == name && r.way == way));
        let (a, b, bonded) = (mbit("a"), mbit("b"), mbit("bond"));
        // `None` is the least, so that one link is enough.
        let best = [0, 1].map(|way| [a[way], b[way]].into_iter().flatten().reduce(f64::max));
        let goal_ms = environment.base_rtt_ms() + PING_BEYOND_MS;
        let efficient = |e: f64| e >= EFFICIENCY;
        let quick = |ms: f64| ms <= goal_ms;
        let above = |way: usize, mbit: f64| best[way].is_none_or(|best| mbit >= best);
        let either = |cells: [String; 2]| {
            let shown = [0, 1]
                .map(|way| if wanted[way] { cells[way].clone() } else { "      ".to_string() });
            format!("{}/{}", shown[0], shown[1])
        };
        let e = bonded.map(|mbit| mbit.map(|mbit| environment.efficiency(mbit)));
        let p95 = bond("ping_p95_ms");
        let lost = bond("ping_lost");
        let _ = write!(text, "{name:13} |");
        for way in [0, 1] {
            let shown = if wanted[way] { cell(e[way], 3, 6, efficient) } else { " ".repeat(7) };
            let _ = write!(text, " {shown}|");
        }
        let _ =
            write!(text, " {:>16} ({goal_ms:5.0}) ", either(p95.map(|ms| cell(ms, 0, 6, quick))));
        let _ = write!(text, "   | {:>12}", either(lost.map(|n| plain(n, 0, 5))));
        let rates = [0, 1].map(|way| cell(bonded[way], 1, 6, |mbit| above(way, mbit)));
        let _ = write!(text, " | {:>15}", either(rates));
        for alone in [a, b, best] {
            let _ = write!(text, " | {:>15}", either(alone.map(|mbit| plain(mbit, 1, 6))));
        }
        for peer in peers {
            let _ = write!(text, " | {:>13}", either(mbit(peer).map(|mbit| plain(mbit, 1, 6))));
        }
        text.push('\n');
        let ways = || (0..2).filter(|&way| wanted[way]);
        let compared = ways().all(|way| best[way].is_some());
        Verdict {
            efficiencies: ways().map(|way| e[way].unwrap_or(0.0)).collect(),
            efficient: ways().all(|way| e[way].is_some_and(efficient)),
            above_best: compared
                .then(|| ways().all(|way| bonded[way].is_some_and(|mbit| above(way, mbit)))),
            quick: ways().all(|way| p95[way].is_some_and(quick)),
        }
    }
}

fn write_verdicts(text: &mut String, verdicts: &[Verdict]) {
    let efficiencies: Vec<f64> =
        verdicts.iter().flat_map(|v| v.efficiencies.iter().copied()).collect();
    let middle = median(&efficiencies).unwrap_or(0.0);
    let mark = if middle >= EFFICIENCY_MEDIAN { "" } else { "!" };
    let all = verdicts.len();
    let efficient = verdicts.iter().filter(|v| v.efficient).count();
    let quick = verdicts.iter().filter(|v| v.quick).count();
    let _ = write!(
        text,
        "median E {middle:.3}{mark}; of {all} environments {efficient} have E >= {EFFICIENCY}, \
         {quick} a ping within its goal"
    );
    let compared: Vec<bool> = verdicts.iter().filter_map(|v| v.above_best).collect();
    if !compared.is_empty() {
        let above = compared.iter().filter(|&&above| above).count();
        let _ =
            write!(text, ", {above} of {} are never below the better link alone", compared.len());
    }
    text.push('\n');
}

fn write_outages(text: &mut String, runs: &[&Record]) {
    // What no run has at all was not to be measured.
    let measured = |goal: &&Goal| runs.iter().any(|r| r.figure(goal.figure).is_some());
    let goals: Vec<&Goal> = OUTAGE_GOALS.iter().filter(measured).collect();
    let _ = write!(text, "{:10} | way  | network", "outage");
    for goal in &goals {
        let _ = write!(text, " | {:>14}", goal.title);
    }
    text.push('\n');
    for outage in OUTAGES {
        for (network, way) in distinct(runs, |r| (r.network.clone(), r.way.clone())) {
            let of = |r: &&&Record| r.environment == outage && r.network == network && r.way == way;
            let runs: Vec<&Record> = runs.iter().filter(of).copied().collect();
            if runs.is_empty() {
                continue;
            }
            let _ = write!(text, "{outage:10} | {way:4} | {network:7}");
            for goal in &goals {
                let most = if outage == "carrier" { goal.carrier } else { goal.blackhole };
                let values: Vec<f64> = runs.iter().filter_map(|r| r.figure(goal.figure)).collect();
                let _ = write!(text, " | {}", cell(median(&values), 0, 13, |value| value <= most));
            }
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::run;
    use super::*;

    fn with(network: &str, way: &str, number: u64, mbit: f64, ping_ms: f64) -> Record {
        let mut record = run("baseline", network, way, number);
        record.figures = vec![("goodput_mbit", mbit), ("ping_p95_ms", ping_ms), ("ping_lost", 0.0)];
        record
    }

    /// The row of an environment in a table.
    fn row<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(name)).expect("a row")
    }

    #[test]
    fn what_meets_its_goals_has_no_mark() {
        let mut records = Vec::new();
        for way in WAYS {
            // 0.9415 * 100 Mbit/s is all that there is.
            records
                .extend([90.0, 92.0, 60.0].map(|mbit| with("bond", way, mbit as u64, mbit, 60.0)));
            records.extend(["a", "b"].map(|link| with(link, way, 1, 47.0, 180.0)));
        }
        let text = text(&records);
        assert!(!row(&text, "baseline").contains('!'), "{text}");
        assert!(row(&text, "baseline").contains("0.956"), "the median of three: {text}");
        assert!(text.contains("1 of 1 are never below"), "{text}");
        assert!(text.contains("medians of 4 runs"), "{text}");
    }

    #[test]
    fn what_misses_a_goal_is_marked() {
        let mut records = Vec::new();
        for way in WAYS {
            records.push(with("bond", way, 1, 40.0, 71.0));
            records.push(with("a", way, 1, 47.0, 180.0));
        }
        records.push(with("mptcp", "up", 1, 33.0, 180.0));
        let text = text(&records);
        let row = row(&text, "baseline");
        assert_eq!(row.matches('!').count(), 6, "E, ping and Mbit/s, both ways: {text}");
        assert!(row.ends_with("33.0/     -"), "{text}");
        assert!(text.contains("0 of 1 are never below"), "{text}");
        assert_eq!(misses(&text), 2, "the row and the median: {text}");
    }

    #[test]
    fn one_way_alone_is_no_miss_of_the_other() {
        let text = text(&[with("bond", "down", 1, 92.0, 60.0)]);
        assert!(!row(&text, "baseline").contains('!'), "{text}");
        assert!(!text.contains("never below"), "there was nothing to compare with: {text}");
    }

    #[test]
    fn outages_have_a_table_and_notes_are_told() {
        let mut record = run("blackhole", "bond", "up", 1);
        record.figures = vec![("ping_lost", 3.0), ("ping_gap_ms", 80.0), ("recovery_ms", 500.0)];
        record.note = "the flow broke".to_string();
        let mut carrier = run("carrier", "bond", "up", 1);
        carrier.figures = vec![("ping_lost", 0.0), ("stall_ms", 50.0), ("recovery_ms", 501.0)];
        let text = text(&[record, carrier]);
        let row = row(&text, "blackhole");
        assert_eq!(row.matches('!').count(), 2, "pings lost, and no stall known: {text}");
        assert!(!text.contains("back after"), "nobody measured it: {text}");
        assert!(text.contains("501!"), "{text}");
        assert!(text.contains("net blackhole bond up, run 1: the flow broke"), "{text}");
    }
}
