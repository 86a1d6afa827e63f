//! The environments: pairs of links, read from `tests/bench/environments.tsv`.
//!
//! Queues are drop-tail, 150 ms of the rate and at least 64 KiB. The workload is one TCP flow
//! (CUBIC), up and then down, with a ping every 10 ms beside it.

use super::statistics::TCP_SHARE;

/// The table, compiled in.
const TABLE: &str = include_str!("../environments.tsv");

/// A link, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Rate on the line, kbit/s.
    pub kbps: u64,
    /// Delay one way, microseconds.
    pub delay_us: u64,
    /// Jitter on top, uniform from zero to this, order kept, microseconds.
    pub jitter_us: u64,
    /// Independent loss, millionths.
    pub loss_ppm: u32,
}

/// A pair of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Links A and B.
    pub lines: [Line; 2],
}

impl Environment {
    /// Sum of the links' rates, kbit/s.
    pub fn kbps_sum(&self) -> u64 {
        self.lines.iter().map(|line| line.kbps).sum()
    }

    /// Goodput as a share of what plain TCP would get of links with the sum of the rates.
    pub fn efficiency(&self, mbit: f64) -> f64 {
        mbit * 1000.0 / (TCP_SHARE * self.kbps_sum() as f64)
    }

    /// Mean round trip of the better path without load, milliseconds.
    pub fn base_rtt_ms(&self) -> f64 {
        let rtt_us = self.lines.iter().map(|line| 2 * line.delay_us + line.jitter_us).min();
        rtt_us.unwrap_or(0) as f64 / 1000.0
    }
}

/// All of them.
pub fn all() -> Vec<Environment> {
    parse(TABLE).unwrap_or_else(|error| panic!("environments.tsv: {error}"))
}

/// Those with these names, in the order of the table; all of them without names.
///
/// # Errors
/// There is none of such a name.
pub fn chosen(names: &[&str]) -> Result<Vec<Environment>, String> {
    let all = all();
    if let Some(name) = names.iter().find(|name| all.iter().all(|e| e.name != **name)) {
        let known = all.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(" ");
        return Err(format!("no environment {name}; there are {known}"));
    }
    let wanted = |e: &Environment| names.is_empty() || names.contains(&e.name.as_str());
    Ok(all.into_iter().filter(wanted).collect())
}

fn parse(table: &str) -> Result<Vec<Environment>, String> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(parse_environment).collect()
}

fn parse_environment(text: &str) -> Result<Environment, String> {
    match text.split('\t').collect::<Vec<_>>().as_slice() {
        [name, a, b] => {
            Ok(Environment { name: (*name).to_string(), lines: [parse_line(a)?, parse_line(b)?] })
        }
        _ => Err(format!("not name, A, B: {text}")),
    }
}

fn parse_line(text: &str) -> Result<Line, String> {
    let numbers: Option<Vec<u64>> = text.split(' ').map(|n| n.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[kbps, delay_us, jitter_us, loss]) if kbps > 0 && loss <= 1_000_000 => {
            Ok(Line { kbps, delay_us, jitter_us, loss_ppm: loss as u32 })
        }
        _ => Err(format!("not rate, delay, jitter, loss: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_sixteen_different_ones() {
        let mut names: Vec<String> = all().into_iter().map(|e| e.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 16);
    }

    #[test]
    fn a_row_is_read() {
        let read = parse("# a comment\nx\t50000 20000 10000 5000\t1000 7000 0 0\n").unwrap();
        assert_eq!(read.len(), 1);
        let line = Line { kbps: 50_000, delay_us: 20_000, jitter_us: 10_000, loss_ppm: 5000 };
        assert_eq!(read[0].lines[0], line);
        assert_eq!(read[0].kbps_sum(), 51_000);
        assert_eq!(read[0].base_rtt_ms(), 14.0);
        assert!((read[0].efficiency(51.0 * TCP_SHARE) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn wrong_rows_are_refused() {
        for row in ["x\t1 2 3 4", "x\t1 2 3\t1 2 3 4", "x\t0 2 3 4\t1 2 3 4", "x\t1 2 3 y\t1 2 3 4"]
        {
            assert!(parse(row).is_err(), "{row}");
        }
    }

    #[test]
    fn names_choose() {
        let two = chosen(&["loss_2", "baseline"]).unwrap();
        assert_eq!(two.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["baseline", "loss_2"]);
        assert_eq!(chosen(&[]).unwrap().len(), 16);
        assert!(chosen(&["nowhere"]).unwrap_err().contains("nowhere"));
    }
}
