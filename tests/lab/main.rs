//! The lab as a program: `lab measure` shows how exact the emulator is here, `lab hold` builds the
//! network and takes commands for its links, `lab demo` shows bonding from start to end, and
//! `lab bench` measures the bond, its links and its peers.

#[path = "mod.rs"]
mod lab;

#[path = "../bench/net/mod.rs"]
mod bench;
mod demo;
mod measure;

use lab::topology::{Lab, Wan};
use std::io::BufRead;

const USAGE: &str = "usage: lab measure | hold [WANS] | demo | bench [OPTIONS] [ENVIRONMENT...]

measure  figures of the emulator on this machine: rate, delay, queue, processor time
hold     a router with WANS (2) links of 50 Mbit/s and 20 ms, until the end of the input;
         each line is `LINK COMMAND`, such as `0 set up rate=20mbit loss=1%`,
         `1 blackhole on`, `0 stats`
demo     bonding from start to end
bench    the bond, its links and its peers; tests/bench/bond builds what it needs
";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["measure"] => measure::run(),
        ["demo"] => demo::run(),
        ["bench", ..] => {
            if let Err(error) = bench::run(&arguments[1..]) {
                eprintln!("lab bench: {error}; see tests/bench/bond --help");
                std::process::exit(2);
            }
        }
        ["hold"] => hold(2),
        ["hold", wans] if wans.parse::<usize>().is_ok_and(|w| (1..=9).contains(&w)) => {
            hold(wans.parse().unwrap_or(2));
        }
        _ => {
            eprint!("{USAGE}");
            std::process::exit(2);
        }
    }
}

/// Build the network, say where it is, obey.
fn hold(wans: usize) {
    let lab = Lab::new(&vec![Wan::mbit_ms(50, 20); wans]);
    let site = lab.site();
    for namespace in [&site.lan, &site.router, &lab.isp, &lab.server, &lab.internet] {
        println!("ip netns exec {} sh", namespace.name());
    }
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (link, command) = line.split_once(' ').unwrap_or((&line, ""));
        let link = link.parse::<usize>().ok().and_then(|l| site.links.get(l));
        let answer = match link.ok_or_else(|| format!("no such link: {line}")) {
            Ok(link) => link.control(command),
            Err(error) => Err(error),
        };
        println!("{}", answer.unwrap_or_else(|error| serde_json::json!({ "error": error })));
    }
}
