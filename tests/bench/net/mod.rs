//! `lab bench`: the bond, its links and its peers under real kernel TCP, in namespaces.
//!
//! Why: the promise of a bond is a table (environments down, figures across), and a table is worth
//! what its worst cell is worth. So every cell comes from the same load, measured in the same way,
//! in the same run, minutes and not days apart; every run is kept, and medians are shown.
//!
//! How: for each run and environment one lab with two emulated links. In it, one after the other:
//! the bond, the links alone without a tunnel, each peer; with each of them every combination of
//! way, congestion control and number of flows. [`load`] is one measurement, [`networks`] what is
//! measured, [`peers`] the others, [`failover`] the outages; `tests/bench/figures` the rest.
//!
//! Limits: one machine does everything. What it cannot do (links above some 500 Mbit/s, or beside
//! other work) shows as goodput that is missing on the plain links as well.

mod failover;
mod load;
mod networks;
mod options;
mod peers;

#[path = "../figures/mod.rs"]
mod figures;

use crate::lab::clock;
use crate::lab::emulator::model::Profile;
use crate::lab::topology::{Lab, Wan};
use figures::environments::{Environment, Line, chosen};
use figures::record::{Record, append};
use figures::table;
use load::Load;
use networks::Network;
use options::Options;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Measure what the arguments say, and print the table.
///
/// # Errors
/// The arguments are wrong, or the results cannot be written.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut options = Options::parse(arguments)?;
    let names: Vec<&str> = options.environments.iter().map(String::as_str).collect();
    let environments = if options.only_failover() { Vec::new() } else { chosen(&names)? };
    options.cc.retain(|cc| {
        let known = load::has_congestion_control(cc);
        if !known {
            println!("skipped: this kernel has no {cc}");
        }
        known
    });
    let networks = Network::all(options.links, &options.peers)?;
    let start = clock::now();
    let mut records = Vec::new();
    for run in 1..=options.runs {
        for environment in &environments {
            println!("run {run} of {}: {}", options.runs, environment.name);
            measure(environment, &networks, &options, run, &mut records)?;
        }
        if options.failover {
            println!("run {run} of {}: failover", options.runs);
            let failed = failover::measure(&options.ways, run);
            append(&options.out, &failed).map_err(|e| e.to_string())?;
            records.extend(failed);
        }
    }
    println!("\n{}\n", table::text(&records).trim_end());
    println!("every run: {}", options.out.display());
    println!("took {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn profile(line: &Line) -> Profile {
    let Line { kbps, delay_us, jitter_us, loss_ppm } = *line;
    Profile { jitter_us, loss_ppm, ..Profile::new(kbps * 1000, delay_us) }
}

/// One run of one environment: every network in turn, each under every load.
fn measure(
    environment: &Environment,
    networks: &[Network],
    options: &Options,
    run: u64,
    records: &mut Vec<Record>,
) -> Result<(), String> {
    let lab = Lab::new(&environment.lines.each_ref().map(|line| Wan::both(profile(line))));
    let loads = loads(options);
    for network in networks {
        // A tunnel that does not come up is a result; the others are measured all the same.
        let results = catch_unwind(AssertUnwindSafe(|| network.measure(&lab, &loads)));
        let results = results.unwrap_or_else(|panic| {
            let note = failover::panic_text(panic.as_ref());
            let failed = |name| (name, loads[0].clone(), Err(note.clone()));
            network.names().into_iter().map(failed).collect()
        });
        let mut measured = Vec::new();
        for (name, load, figures) in results {
            let (figures, note) = match figures {
                Ok(figures) => (figures, String::new()),
                Err(error) => (Vec::new(), error),
            };
            let mut record = Record {
                bench: "net".to_string(),
                environment: environment.name.clone(),
                network: name.to_string(),
                way: load.way.clone(),
                cc: load.cc.clone(),
                flows: load.flows,
                run,
                figures,
                note,
            };
            if let Some(mbit) = record.figure("goodput_mbit") {
                record.figures.push(("efficiency", environment.efficiency(mbit)));
            }
            println!("  {}", describe(&record));
            measured.push(record);
        }
        append(&options.out, &measured).map_err(|e| e.to_string())?;
        records.extend(measured);
    }
    Ok(())
}

/// Every combination that was asked for.
fn loads(options: &Options) -> Vec<Load> {
    let mut loads = Vec::new();
    for way in &options.ways {
        for cc in &options.cc {
            for &flows in &options.flows {
                let (way, cc, seconds) = (way.clone(), cc.clone(), options.seconds);
                loads.push(Load { way, cc, flows, seconds });
            }
        }
    }
    loads
}

fn describe(record: &Record) -> String {
    let Record { network, way, cc, flows, note, .. } = record;
    let figure = |name| record.figure(name).map_or("-".to_string(), |v| format!("{v:.1}"));
    format!(
        "{network:9} {way:4} {flows} {cc}: {} Mbit/s, ping p50 {} p95 {} ms, {} lost {note}",
        figure("goodput_mbit"),
        figure("ping_p50_ms"),
        figure("ping_p95_ms"),
        figure("ping_lost"),
    )
}
