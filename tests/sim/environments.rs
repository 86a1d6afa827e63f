//! The environments of `tests/bench/environments.tsv` in virtual time, and the failover.
//!
//! Why here too: a run is the same every time, takes a fraction of its length, and an engine that
//! is slow on this machine is not slow in it. What real TCP on real time makes of the same links
//! is measured in namespaces (`tests/bench/net`); `tests/bench/bond` does both.
//!
//! How: bare engines carry one flow of the model TCP (CUBIC) and a ping every 10 ms; beside them
//! the same flow over each link alone. Medians over seeds, in the same table and the same records
//! as the measurement. Runs are spread over the processors, which changes none of them.
//!
//! `SIM_ENVIRONMENT=a,b` chooses (`failover` is one of them), `SIM_SEED=n` is the first seed and
//! `SIM_RUNS=n` how many, `SIM_WAY=up` one way only, `SIM_OUT=file` appends the records and makes
//! missed goals no failure, `SIM_VERBOSE=1` tells all.

use crate::figures::environments::{Environment, Line, chosen};
use crate::figures::record::{Record, append};
use crate::figures::statistics::{BIN_MS, TCP_SHARE, longest_zero_ms, recovered_ms};
use crate::figures::table;
use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::scenario::{Kind, Outcome, Scenario, variable};
use onebox::time::{MS, SEC};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The flow gets this long to find its speed, and until then it is measured, seconds.
const SETTLE: f64 = 10.0;
const LASTS: f64 = 30.0;
/// Pings sent in the last seconds may be on their way at the end.
const PING_TAIL: f64 = 2.0;

/// When a link fails, for how long that is watched, and how long the whole lasts, seconds.
const CUT: f64 = 5.0;
const WATCHED: f64 = 4.0;
/// Rate of the link that remains, Mbit/s, and the share of it that counts as recovered.
const REMAINING_MBIT: f64 = 50.0;
const RECOVERED: f64 = 0.8;

fn spec(line: &Line) -> Spec {
    Spec::new(line.kbps, line.delay_us).jitter(line.jitter_us).loss(line.loss_ppm)
}

fn measure(name: &str, seed: u64, lines: &[Line], way: Way, kind: Kind) -> Outcome {
    Scenario::new(name)
        .seed(seed)
        .links(lines.iter().map(spec))
        .flow("tcp", Flow::bulk(way))
        .flow("ping", Flow::ping(10 * MS))
        .lasts((LASTS * SEC as f64) as u64)
        .play(kind)
}

/// One simulation to be played.
enum Job {
    /// An environment, bonded or over one of its links.
    Load { environment: Environment, link: Option<usize>, way: Way, seed: u64 },
    /// One of two links fails.
    Outage { outage: &'static str, way: Way, seed: u64 },
}

impl Job {
    fn play(&self) -> (Record, Option<String>) {
        match self {
            Job::Load { environment, link, way, seed } => load(environment, *link, *way, *seed),
            Job::Outage { outage, way, seed } => (fail(outage, *way, *seed), None),
        }
    }
}

fn record(environment: &str, network: &str, way: Way, seed: u64) -> Record {
    Record {
        bench: "sim".to_string(),
        environment: environment.to_string(),
        network: network.to_string(),
        way: if way == Way::Up { "up" } else { "down" }.to_string(),
        cc: "cubic".to_string(),
        flows: 1,
        run: seed,
        figures: Vec::new(),
        note: String::new(),
    }
}

/// Plays an environment; also what to tell those who want to hear all.
fn load(
    environment: &Environment,
    link: Option<usize>,
    way: Way,
    seed: u64,
) -> (Record, Option<String>) {
    let network = link.map_or("bond", |link| ["a", "b"][link]);
    let outcome = match link {
        None => measure(&environment.name, seed, &environment.lines, way, Kind::Bare),
        Some(link) => {
            measure(&environment.name, seed, &environment.lines[link..=link], way, Kind::Plain)
        }
    };
    let mbit = outcome.mbps("tcp", SETTLE, LASTS);
    let percentile = |p| outcome.percentile_ms("ping", SETTLE, LASTS - PING_TAIL, p);
    let sent = outcome.flow("ping").delays_ms(seconds(SETTLE), seconds(LASTS - PING_TAIL));
    let mut record = record(&environment.name, network, way, seed);
    record.figures = vec![
        ("goodput_mbit", mbit),
        ("efficiency", environment.efficiency(mbit)),
        ("ping_p50_ms", percentile(50.0)),
        ("ping_p95_ms", percentile(95.0)),
        ("ping_sent", (sent.0.len() + sent.1) as f64),
        ("ping_lost", sent.1 as f64),
    ];
    record.note = outcome.violations.join("; ");
    (record, link.is_none().then(|| tell(&outcome)))
}

fn seconds(s: f64) -> u64 {
    (s * SEC as f64) as u64
}

fn tell(o: &Outcome) -> String {
    let f = o.sender("tcp");
    let series = o.flow("tcp").series(0, seconds(LASTS), SEC / 2);
    format!(
        "    sent again {}, cuts {}, undone {}, timeouts {}, {:?}\n    {:?}\n    {}\n    {}\n    {}",
        f.resent,
        f.cuts,
        f.undone,
        f.timeouts,
        f.slow_start_end,
        o.links,
        o.beliefs[0],
        o.beliefs[1],
        series.iter().map(|v| format!("{v:.0} ")).collect::<String>()
    )
}

/// Plays the failure of one of two links under one flow.
fn fail(outage: &str, way: Way, seed: u64) -> Record {
    let silent = outage == "blackhole";
    let outcome = Scenario::new("failover")
        .seed(seed)
        .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
        .flow("tcp", Flow::bulk(way))
        .flow("ping", Flow::ping(10 * MS))
        .at(seconds(CUT), "A fails", move |w| match silent {
            true => w.change_link(0, |l| l.blackhole = true),
            false => w.set_carrier(0, false),
        })
        .lasts(seconds(CUT + WATCHED))
        .play(Kind::Bare);
    let bins = &outcome.flow("tcp").bins;
    let bin = |s: f64| ((s * 1000.0) as usize / BIN_MS as usize).min(bins.len());
    let after = &bins[bin(CUT)..bin(CUT + WATCHED)];
    let recovered = recovered_ms(after, RECOVERED * TCP_SHARE * REMAINING_MBIT);
    let (from, to) = (CUT - 0.5, CUT + WATCHED - 1.0);
    let mut record = record(outage, "bond", way, seed);
    record.figures = vec![
        ("ping_lost", outcome.lost("ping", from, to)),
        ("ping_gap_ms", outcome.gap_ms("ping", from, to)),
        ("stall_ms", longest_zero_ms(after) as f64),
        ("recovery_ms", recovered.map_or(f64::INFINITY, |ms| ms as f64)),
    ];
    record.note = outcome.violations.join("; ");
    record
}

/// The words of the variable.
fn words(name: &str) -> Vec<String> {
    let text = std::env::var(name).unwrap_or_default();
    text.split(',').filter(|word| !word.is_empty()).map(str::to_string).collect()
}

fn jobs() -> Vec<Job> {
    let names = words("SIM_ENVIRONMENT");
    let failover = names.is_empty() || names.iter().any(|name| name == "failover");
    let named: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name != "failover").collect();
    let environments = match named.is_empty() && !names.is_empty() {
        true => Vec::new(),
        false => chosen(&named).expect("names of environments"),
    };
    let (first, runs) = (variable("SIM_SEED", 1u64), variable("SIM_RUNS", 1u64));
    let asked = words("SIM_WAY");
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|way| way == name);
    let ways = [(Way::Up, "up"), (Way::Down, "down")];
    let ways = || ways.into_iter().filter(|way| wanted(way.1)).map(|way| way.0);
    let mut jobs = Vec::new();
    for seed in first..first + runs {
        for environment in &environments {
            for way in ways() {
                for link in [None, Some(0), Some(1)] {
                    jobs.push(Job::Load { environment: environment.clone(), link, way, seed });
                }
            }
        }
        for outage in table::OUTAGES.into_iter().filter(|_| failover) {
            jobs.extend(ways().map(|way| Job::Outage { outage, way, seed }));
        }
    }
    jobs
}

/// Plays all jobs on all processors; the results in the order of the jobs.
fn play_all(jobs: &[Job]) -> Vec<(Record, Option<String>)> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let place = job as *const Job as usize;
                    let result = job.play();
                    results.lock().expect("no panic inside").push((place, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no panic inside");
    results.sort_by_key(|result| result.0);
    results.into_iter().map(|result| result.1).collect()
}

/// Prints the table; fails where a goal is missed, after all of it is printed.
#[test]
#[ignore = "takes minutes: run it in release with --ignored --nocapture"]
fn environments() {
    let results = play_all(&jobs());
    if std::env::var_os("SIM_VERBOSE").is_some() {
        for (record, told) in &results {
            if let Some(told) = told {
                println!("{} {}, seed {}\n{told}", record.environment, record.way, record.run);
            }
        }
    }
    let records: Vec<Record> = results.into_iter().map(|result| result.0).collect();
    let text = table::text(&records);
    println!("\n{}\n", text.trim_end());
    let violations: Vec<&Record> = records.iter().filter(|r| !r.note.is_empty()).collect();
    assert!(violations.is_empty(), "{violations:#?}");
    match std::env::var_os("SIM_OUT") {
        Some(path) => append(path.as_ref(), &records).expect("records written"),
        None => assert_eq!(table::misses(&text), 0, "rows of the table miss a goal"),
    }
}

/// Prints what the plain links of each environment give, to be compared with measurements of
/// Linux's CUBIC over the same links (Mbit/s; A and B): baseline 47 47, rtt_320 47 19, jit_20 38
/// 45, loss_05 3.9 4.2, loss_2 2.1 2.1, dual_lte 3.6 2.3, fiber_lte 282 2.5, lte_starlink 37 1.0,
/// lte_geo 38 1.2, congested 1.0 0.9.
#[test]
#[ignore = "for people: run it with --ignored --nocapture"]
fn links_alone() {
    let names = words("SIM_ENVIRONMENT");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for environment in chosen(&names).expect("names of environments") {
        let mean = |line: &Line| {
            let mbps = |seed| {
                measure(&environment.name, seed, std::slice::from_ref(line), Way::Down, Kind::Plain)
                    .mbps("tcp", 1.0, LASTS)
            };
            (1..=3).map(mbps).sum::<f64>() / 3.0
        };
        let figures = environment.lines.each_ref().map(mean);
        println!("{:13} | {:.1} | {:.1}", environment.name, figures[0], figures[1]);
    }
}
