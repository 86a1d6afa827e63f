//! One run: what was measured, where, and its figures; written as a line of TSV or JSON.
//!
//! The first line of a TSV file names the columns; a figure that a run does not have is `-`. In
//! JSON every line is an object without what is missing.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Result, Write as _};
use std::path::Path;

/// The figures, each with its unit in the name.
pub const FIGURES: [&str; 10] = [
    "goodput_mbit",
    "efficiency",
    "ping_p50_ms",
    "ping_p95_ms",
    "ping_sent",
    "ping_lost",
    "ping_gap_ms",
    "stall_ms",
    "recovery_ms",
    "return_ms",
];

/// The columns in front of the figures.
const LABELS: [&str; 7] = ["bench", "environment", "network", "way", "cc", "flows", "run"];

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// `sim` or `net`.
    pub bench: String,
    /// The environment, or the outage.
    pub environment: String,
    /// What carried it: `bond`, `a`, `b` or the name of a peer.
    pub network: String,
    /// `up` or `down`.
    pub way: String,
    /// Congestion control of the flows.
    pub cc: String,
    /// Number of TCP flows.
    pub flows: u32,
    /// Number of the run, or the seed of the simulation.
    pub run: u64,
    /// The figures by their names in [`FIGURES`].
    pub figures: Vec<(&'static str, f64)>,
    /// Why something is missing.
    pub note: String,
}

impl Record {
    /// A figure, if the run has it.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|f| f.0 == name).map(|f| f.1)
    }

    fn labels(&self) -> [String; 7] {
        let Record { bench, environment, network, way, cc, flows, run, .. } = self;
        let texts = [bench, environment, network, way, cc].map(|text| text.replace('\t', " "));
        let [bench, environment, network, way, cc] = texts;
        [bench, environment, network, way, cc, flows.to_string(), run.to_string()]
    }

    /// A line of TSV.
    pub fn tsv(&self) -> String {
        let figure = |name: &&str| self.figure(name).map_or("-".to_string(), number);
        let figures: Vec<String> = FIGURES.iter().map(figure).collect();
        let note = self.note.replace(['\t', '\n'], " ");
        format!("{}\t{}\t{note}", self.labels().join("\t"), figures.join("\t"))
    }

    /// An object of JSON. Figures that are endless are left out: JSON has no word for them.
    pub fn json(&self) -> String {
        let mut text = "{".to_string();
        for (name, value) in LABELS.iter().zip(self.labels()) {
            let is_number = ["flows", "run"].contains(name);
            let value = if is_number { value } else { quoted(&value) };
            let _ = write!(text, "\"{name}\":{value},");
        }
        for (name, value) in self.figures.iter().filter(|f| f.1.is_finite()) {
            let _ = write!(text, "\"{name}\":{},", number(*value));
        }
        let _ = write!(text, "\"note\":{}}}", quoted(&self.note));
        text
    }
}

/// The first line of a TSV file.
pub fn tsv_header() -> String {
    format!("{}\t{}\tnote", LABELS.join("\t"), FIGURES.join("\t"))
}

/// Appends runs to a file, whose name says the format: `.json` or `.jsonl`, else TSV.
///
/// # Errors
/// The file cannot be written.
pub fn append(path: &Path, records: &[Record]) -> Result<()> {
    let json = path.extension().is_some_and(|e| e == "json" || e == "jsonl");
    let mut file = File::options().create(true).append(true).open(path)?;
    let mut text = String::new();
    if !json && file.metadata()?.len() == 0 {
        text += &(tsv_header() + "\n");
    }
    for record in records {
        text += &(if json { record.json() } else { record.tsv() });
        text.push('\n');
    }
    file.write_all(text.as_bytes())
}

fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn quoted(text: &str) -> String {
    let mut out = "\"".to_string();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run of an environment.
    pub fn run(environment: &str, network: &str, way: &str, run: u64) -> Record {
        Record {
            bench: "net".to_string(),
            environment: environment.to_string(),
            network: network.to_string(),
            way: way.to_string(),
            cc: "cubic".to_string(),
            flows: 1,
            run,
            figures: vec![("goodput_mbit", 90.5), ("ping_p95_ms", 55.0)],
            note: String::new(),
        }
    }

    #[test]
    fn a_line_of_tsv_has_a_place_for_every_column() {
        let mut record = run("baseline", "bond", "up", 1);
        record.note = "with a\ttab".to_string();
        let line = record.tsv();
        assert_eq!(line.split('\t').count(), tsv_header().split('\t').count());
        assert!(line.starts_with("net\tbaseline\tbond\tup\tcubic\t1\t1\t90.5\t-\t-\t55\t"));
    }

    #[test]
    fn a_line_of_json_can_be_read() {
        let mut record = run("baseline", "bond", "up", 1);
        record.note = "say \"why\"\n".to_string();
        record.figures.push(("recovery_ms", f64::INFINITY));
        let value: serde_json::Value = serde_json::from_str(&record.json()).unwrap();
        assert_eq!(value["goodput_mbit"], 90.5);
        assert_eq!(value["flows"], 1);
        assert_eq!(value["note"], "say \"why\" ");
        assert!(value.get("recovery_ms").is_none());
    }

    #[test]
    fn a_file_begins_with_one_header() {
        let path = std::env::temp_dir().join(format!("onebox-bench-{}.tsv", std::process::id()));
        let _ = std::fs::remove_file(&path);
        for number in 1..=2 {
            append(&path, &[run("baseline", "bond", "up", number)]).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("bench\t")).count(), 1);
        assert_eq!(text.lines().count(), 3);
    }
}
