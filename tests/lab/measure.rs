//! How exact the emulator is on this machine: printed, so that results of the lab can be judged.

use crate::lab::clock;
use crate::lab::programs::{iperf, ping};
use crate::lab::topology::{Lab, SERVER, Wan};
use std::time::Duration;

/// Rates to try, Mbit/s: what the environments use and beyond.
const RATES: [u64; 5] = [10, 50, 100, 300, 500];

/// Print the table.
pub fn run() {
    println!("rate    up Mbit/s (of 0.9415)   down Mbit/s   late µs mean/max, > 200 µs   core");
    for rate in RATES {
        let lab = Lab::new(&[Wan::mbit_ms(rate, 10)]);
        let site = lab.site();
        let device = site.device(0);
        let before = clock::now();
        let cpu_before = cpu_us(&lab);
        let options = format!("-t 4 -O 1 --bind-dev {device}");
        let up = iperf(&site.router, &lab.server, SERVER, &options).mbit;
        let down = iperf(&site.router, &lab.server, SERVER, &format!("{options} -R")).mbit;
        let core = (cpu_us(&lab) - cpu_before) as f64 / before.elapsed().as_micros() as f64;
        let stats = lab.link(0).stats();
        let ideal = 0.9415 * rate as f64;
        println!(
            "{rate:>4}    {up:7.2} ({:5.1} %)   {down:7.2} ({:5.1} %)   {}/{}, {} of {}   {:.0} %",
            up / ideal * 100.0,
            down / ideal * 100.0,
            stats["up"]["late_us_mean"],
            stats["up"]["late_us_max"],
            stats["up"]["late_frames"],
            stats["up"]["out_frames"],
            core * 100.0
        );
    }
    let lab = Lab::new(&[Wan::mbit_ms(100, 20)]);
    clock::pass(Duration::from_millis(200));
    let idle = ping(&lab.site().router, SERVER, 100, 20, &["-I", "wan1"]);
    println!(
        "ping over 20 + 20 ms: median {:.3} ms, 95 % {:.3} ms",
        idle.median_ms(),
        idle.quantile_ms(0.95)
    );
}

fn cpu_us(lab: &Lab) -> u64 {
    lab.link(0).stats()["cpu_us"].as_u64().unwrap_or(0)
}
