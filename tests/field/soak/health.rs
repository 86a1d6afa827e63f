//! What may not grow while the programs run, and what may not be left when they have ended.
//!
//! How: memory, descriptors and threads of a program are read when it has run for 20 s and at the
//! end of the soak. After an orderly end the kernel's state and the program's files are compared
//! with those before the first start.
//!
//! Limits: WANs come and go meanwhile, so their own routes, addresses and switches are not compared.

use super::world::Side;
use crate::lab::clock;
use crate::lab::meddling::say;
use crate::lab::netns::Netns;
use crate::lab::onebox::Instance;
use crate::lab::programs::Program;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// From here on a program is expected not to grow.
const GROWN_UP: Duration = Duration::from_secs(20);
/// What it may hold more than then: the pool of free buffers, which grows to 2 MiB with the largest
/// burst so far, history, and what else was never needed before. In five minutes it is 1.5 MiB.
const MEMORY_MORE: u64 = 4 << 20;
/// What comes and goes is gone within this: a thread that looks up a name, the socket of a WAN whose
/// name is no more, which the status shows for a minute.
const PASSING: Duration = Duration::from_secs(80);

/// What a program holds.
#[derive(Clone, Debug)]
pub struct Holds {
    memory: u64,
    descriptors: Vec<String>,
    threads: Vec<String>,
}

impl Holds {
    fn of(program: &Program) -> Holds {
        Holds {
            memory: program.rss_bytes(),
            descriptors: program.descriptors(),
            threads: program.threads(),
        }
    }

    fn fits(&self, first: &Holds) -> bool {
        self.memory <= first.memory + MEMORY_MORE
            && self.descriptors.len() <= first.descriptors.len()
            && self.threads.len() <= first.threads.len()
    }
}

/// One run of a program, from its start.
pub struct Life {
    start: Instant,
    first: Option<Holds>,
}

impl Life {
    pub fn new() -> Life {
        Life { start: clock::now(), first: None }
    }

    /// To be called when everything is in order: the first figures have to be those of a program
    /// with all its WANs.
    pub fn look(&mut self, program: &Program) {
        if self.first.is_none() && self.start.elapsed() > GROWN_UP {
            self.first = Some(Holds::of(program));
        }
    }

    /// What has grown, if anything. Says the figures.
    pub fn judge(&self, side: Side, program: &Program) -> Option<String> {
        let name = side.name();
        let age = self.start.elapsed().as_secs();
        let Some(first) = &self.first else {
            println!("{name}: has run for {age} s only, too short to tell whether it grows");
            return None;
        };
        let start = clock::now();
        let mut last = Holds::of(program);
        while !last.fits(first) && start.elapsed() < PASSING {
            clock::pass(Duration::from_millis(100));
            last = Holds::of(program);
        }
        let kib = |bytes: u64| bytes / 1024;
        let text = format!(
            "{name}, in its last {age} s: {} -> {} KiB, {} -> {} descriptors, {} -> {} threads",
            kib(first.memory),
            kib(last.memory),
            first.descriptors.len(),
            last.descriptors.len(),
            first.threads.len(),
            last.threads.len()
        );
        println!("{text}");
        let more = || format!("{text}; {first:?} -> {last:?}");
        (!last.fits(first)).then(more)
    }
}

/// What a kernel has that is not of the WANs.
pub struct Kernel(Vec<(&'static str, BTreeSet<String>)>);

impl Kernel {
    pub fn of(namespace: &Netns) -> Kernel {
        let questions = [
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -br link",
            "nft list ruleset",
            "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
            "sysctl -a -r net.ipv[46].conf",
            "sysctl net.netfilter.nf_conntrack_tcp_be_liberal",
        ];
        let is_wan = |line: &str| line.contains("wan");
        // Which of several routes of the same destination is first has no meaning.
        let answer = |question| say(namespace, question);
        let lines =
            |question| answer(question).lines().filter(|l| !is_wan(l)).map(str::to_owned).collect();
        Kernel(questions.map(|question| (question, lines(question))).into())
    }

    /// What is there now and was not, or was and is not; what could not be asked then is no matter.
    pub fn changes(&self, now: &Kernel) -> Vec<String> {
        let mut changes = Vec::new();
        for ((question, before), (_, now)) in self.0.iter().zip(&now.0) {
            if before.is_empty() && question.starts_with("sysctl") {
                continue;
            }
            changes.extend(now.difference(before).map(|line| format!("{question}: left {line}")));
            changes.extend(before.difference(now).map(|line| format!("{question}: gone {line}")));
        }
        changes
    }
}

/// Files beside the configuration that an instance has left, but for the log, the kept names and history and its clock.
pub fn files_left(program: &Instance<'_>) -> Vec<String> {
    let control = program.control();
    let folder = control.parent().expect("a folder");
    let entries = std::fs::read_dir(folder).expect("the folder of the instance").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let known = ["onebox.conf", "log", "control.names", "control.history", "wall-clock"];
    names.filter(|name| !known.contains(&name.as_str())).collect()
}
