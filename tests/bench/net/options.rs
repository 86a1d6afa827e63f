//! The words behind `lab bench`, as `tests/bench/bond --help` tells them.

use std::path::PathBuf;

/// Time in which flows find their rate, not counted, seconds.
pub const SETTLE: u64 = 10;

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How often everything is measured.
    pub runs: u64,
    /// Congestion controls.
    pub cc: Vec<String>,
    /// Numbers of flows.
    pub flows: Vec<u32>,
    /// `up`, `down`.
    pub ways: Vec<String>,
    /// Names of what is measured beside bond and links; `None`: all that can be.
    pub peers: Option<Vec<String>>,
    /// Whether the links are measured alone.
    pub links: bool,
    /// Length of a measurement.
    pub seconds: u64,
    /// Where every run is written.
    pub out: PathBuf,
    /// Names of environments; empty: all.
    pub environments: Vec<String>,
    /// Whether outages are measured.
    pub failover: bool,
}

impl Options {
    /// Read them.
    ///
    /// # Errors
    /// An unknown option, or a value that it does not take.
    pub fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options {
            runs: 3,
            cc: vec!["cubic".to_string()],
            flows: vec![1],
            ways: vec!["up".to_string(), "down".to_string()],
            peers: None,
            links: true,
            seconds: 20,
            out: PathBuf::from("target/bench/bond.tsv"),
            environments: Vec::new(),
            failover: false,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                options.environments.push(word.clone());
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            options.set(word, value).map_err(|wanted| format!("{word} {value}: {wanted}"))?;
        }
        options.failover =
            options.environments.is_empty() || options.environments.iter().any(is_failover);
        if options.environments.iter().all(is_failover) {
            options.environments.truncate(1);
        } else {
            options.environments.retain(|name| !is_failover(name));
        }
        Ok(options)
    }

    /// Whether outages are all that is to be measured.
    pub fn only_failover(&self) -> bool {
        self.environments.first().is_some_and(is_failover)
    }

    fn set(&mut self, word: &str, value: &str) -> Result<(), &'static str> {
        match word {
            "--runs" => self.runs = number(value, 1..=1000)?,
            "--seconds" => self.seconds = number(value, SETTLE + 2..=3600)?,
            "--out" => self.out = PathBuf::from(value),
            "--cc" => self.cc = list(value, |cc| ["cubic", "bbr"].contains(&cc), "cubic,bbr")?,
            "--way" => self.ways = list(value, |way| ["up", "down"].contains(&way), "up,down")?,
            "--links" if ["yes", "no"].contains(&value) => self.links = value == "yes",
            "--links" => return Err("yes or no"),
            "--peers" if value == "none" => self.peers = Some(Vec::new()),
            "--peers" => self.peers = Some(list(value, |_| true, "")?),
            "--flows" => {
                let flows = value.split(',').map(|n| number(n, 1..=128).map(|n| n as u32));
                self.flows = flows.collect::<Result<_, _>>()?;
            }
            _ => return Err("unknown option"),
        }
        Ok(())
    }
}

fn is_failover(name: &String) -> bool {
    name == "failover"
}

fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, &'static str> {
    text.parse().ok().filter(|n| range.contains(n)).ok_or("a number out of range")
}

fn list(
    text: &str,
    known: impl Fn(&str) -> bool,
    wanted: &'static str,
) -> Result<Vec<String>, &'static str> {
    let words: Vec<String> = text.split(',').map(str::to_string).collect();
    if words.iter().all(|word| known(word)) { Ok(words) } else { Err(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        Options::parse(&words)
    }

    #[test]
    fn without_words_everything_once_with_each_link() {
        let options = parse("").unwrap();
        assert_eq!((options.runs, options.seconds), (3, 20));
        assert_eq!((options.cc, options.flows), (vec!["cubic".to_string()], vec![1]));
        assert_eq!(options.ways, ["up", "down"]);
        assert!(options.failover && options.peers.is_none() && options.environments.is_empty());
    }

    #[test]
    fn words_are_read() {
        let line =
            "--runs 1 --cc bbr --flows 1,8 --way down --peers none --seconds 14 loss_2 jit_5";
        let options = parse(line).unwrap();
        assert_eq!((options.runs, options.seconds, options.flows), (1, 14, vec![1, 8]));
        assert_eq!(options.environments, ["loss_2", "jit_5"]);
        assert_eq!(options.peers, Some(Vec::new()));
        assert!(!options.failover);
    }

    #[test]
    fn failover_is_an_environment_of_its_own() {
        let both = parse("failover baseline").unwrap();
        assert_eq!((both.failover, both.environments), (true, vec!["baseline".to_string()]));
        let alone = parse("failover").unwrap();
        assert!(alone.failover && alone.only_failover());
        assert!(!parse("").unwrap().only_failover());
    }

    #[test]
    fn wrong_words_are_refused() {
        for line in [
            "--runs",
            "--runs 0",
            "--seconds 5",
            "--cc vegas",
            "--way left",
            "--what 1",
            "--links 1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
