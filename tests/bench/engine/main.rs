//! What a packet costs in the engine, without cryptography and system calls.
//!
//! `cargo bench --bench engine` prints nanoseconds and allocations per inner packet, for the
//! sending end, the receiving end and both, with one bulk flow and with 64, over two ideal links
//! of 500 Mbit/s. `-- --help` tells the options. Virtual time makes every run the same; what
//! differs is how long the processor took, of which the median of the repetitions is shown.
//!
//! For a profile: `cargo bench --bench engine --no-run`, and `valgrind --tool=callgrind` or
//! `perf record` with the program that it names and `--flows 1 --repetitions 1`.

#[path = "../figures/statistics.rs"]
#[allow(dead_code, unused_imports, reason = "only the median is used here")]
mod statistics;

mod allocator;
#[allow(dead_code, reason = "memory is looked at by the tests only")]
mod drive;

use drive::{Cost, Drive, Setup};
use onebox::time::SEC;
use statistics::median;

const USAGE: &str = "\
usage: cargo bench --bench engine -- [--flows LIST] [--link MBIT] [--seconds N]
                                     [--repetitions N] [--where]

  --flows LIST       numbers of bulk flows (1,64)
  --link MBIT        rate of each of the two links (500)
  --seconds N        virtual time of a repetition (1)
  --repetitions N    of which the median is shown (9)
  --where            tell from where the engines allocate
";

/// Virtual time in which the engines find the rate, seconds.
const WARM_UP: u64 = 3;

struct Options {
    flows: Vec<u16>,
    link_mbit: u64,
    seconds: u64,
    repetitions: u64,
    origins: bool,
}

fn main() {
    let Some(options) = options() else {
        eprint!("{USAGE}");
        std::process::exit(2);
    };
    println!(
        "flows | Mbit/s | ns per packet: sender | receiver | both (least - most)  | allocations per packet: sender | receiver"
    );
    for &flows in &options.flows {
        measure(&options, flows);
    }
}

fn options() -> Option<Options> {
    let mut options =
        Options { flows: vec![1, 64], link_mbit: 500, seconds: 1, repetitions: 9, origins: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse().ok().filter(|&n| n > 0);
        match word.as_str() {
            // cargo says so to every benchmark.
            "--bench" => {}
            "--where" => options.origins = true,
            "--link" => options.link_mbit = number()?,
            "--seconds" => options.seconds = number()?,
            "--repetitions" => options.repetitions = number()?,
            "--flows" => {
                let flows = words.next()?;
                let flows =
                    flows.split(',').map(|n| n.parse().ok().filter(|n| (1..=1024).contains(n)));
                options.flows = flows.collect::<Option<_>>()?;
            }
            _ => return None,
        }
    }
    Some(options)
}

fn measure(options: &Options, flows: u16) {
    let mut drive = Drive::new(Setup { flows, link_mbit: options.link_mbit });
    drive.run(WARM_UP * SEC);
    let before = drive.repairs();
    let costs: Vec<Cost> =
        (0..options.repetitions).map(|_| drive.run(options.seconds * SEC)).collect();
    let after = drive.repairs();
    let middle = |figure: &dyn Fn(&Cost) -> f64| {
        median(&costs.iter().map(figure).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let both: Vec<f64> = costs.iter().map(|cost| cost.ns(0) + cost.ns(1)).collect();
    let least = both.iter().copied().fold(f64::INFINITY, f64::min);
    let most = both.iter().copied().fold(0.0, f64::max);
    let mbit =
        |cost: &Cost| cost.packets as f64 * drive::PACKET_BITS / options.seconds as f64 / 1e6;
    println!(
        "{flows:5} | {:6.1} | {:21.0} | {:8.0} | {:5.0} ({least:5.0} - {most:5.0}) | {:30.4} | {:8.4}",
        middle(&mbit),
        middle(&|cost| cost.ns(0)),
        middle(&|cost| cost.ns(1)),
        median(&both).unwrap_or(0.0),
        middle(&|cost| cost.allocations_per_packet(0)),
        middle(&|cost| cost.allocations_per_packet(1)),
    );
    if after != before {
        let (resent, dropped) = (after.0 - before.0, after.1 - before.1);
        println!(
            "      | {resent} packets sent again, {dropped} dropped: not the steady path alone"
        );
    }
    if options.origins {
        drive.trace(SEC / 10);
        for (origin, calls) in allocator::origins().into_iter().take(12) {
            println!("      | {calls:6} allocations from {origin}");
        }
    }
}
