//! `lab demo`: bonding from start to end, for people, in under a minute.
//!
//! A home with three lines downloads from the internet: first over the best line alone, then over
//! the bond, while one line dies in silence and comes back. Everything is emulated and isolated;
//! the numbers are measured.

use crate::lab::clock;
use crate::lab::onebox::{Pair, binary};
use crate::lab::topology::{INTERNET, Lab, SERVER, Wan};
use crate::lab::traffic::{Flow, Sends};
use onebox::status::PathState;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Name, Mbit/s and one-way delay in milliseconds of each line; the last is the fastest.
const LINES: [(&str, u64, u64); 3] = [("dsl", 50, 15), ("lte", 30, 35), ("starlink", 80, 25)];
/// The line that is measured alone and then cut.
const BEST: usize = 2;
/// Time between two pictures of the table.
const PICTURE: Duration = Duration::from_millis(500);

/// Run the demonstration.
pub fn run() {
    println!("onebox demo: {}", binary().display());
    println!("A LAN host, a router with three lines, a server, a host on the internet:");
    for (name, mbit, ms) in LINES {
        println!("  {name:<9} {mbit:>3} Mbit/s, {ms} ms one way");
    }
    let lab = Lab::new(&LINES.map(|(_, mbit, ms)| Wan::mbit_ms(mbit, ms)));
    let site = lab.site();

    say("The best line alone, without a tunnel: one TCP download from the server");
    let alone = {
        let device = site.device(BEST);
        let flow = Flow::start(&site.router, &lab.server, SERVER, Sends::Down, Some(&device));
        flow.measure(Duration::from_secs(2));
        flow.measure(Duration::from_secs(3))
    };
    println!("  {} alone: {alone:.1} Mbit/s", LINES[BEST].0);

    say("Starting server and router from their UCI files");
    let before = clock::now();
    let sections = (0..LINES.len()).map(|line| {
        let (name, device) = (LINES[line].0, site.device(line));
        format!("config wan '{name}'\n\toption device '{device}'\n\toption mode 'active'\n")
    });
    let pair = Pair::with_wans(&lab, &sections.collect::<String>(), LINES.len());
    println!("  up with {} paths after {:.1} s", LINES.len(), before.elapsed().as_secs_f64());

    say("The same download over the bond, from the LAN host to the internet");
    let flow = Flow::start(&site.lan, &lab.internet, INTERNET, Sends::Down, None);
    watch(&pair, &flow, 8);
    let now_ms = flow.age_ms();
    let bonded = flow.mbit_between(now_ms - 4000, now_ms);

    say(&format!("{} dies: no carrier loss, it swallows every packet", LINES[BEST].0));
    lab.link(BEST).set("blackhole on");
    let cut_ms = flow.age_ms();
    watch(&pair, &flow, 5);
    let healed_ms = flow.age_ms();
    let (stall_ms, rest) =
        (flow.longest_stall_ms(cut_ms, healed_ms), flow.mbit_between(healed_ms - 3000, healed_ms));

    say(&format!("{} is back", LINES[BEST].0));
    lab.link(BEST).set("blackhole off");
    watch(&pair, &flow, 7);
    let end_ms = flow.age_ms();
    let back = flow.mbit_between(end_ms - 3000, end_ms);

    let sum: u64 = LINES.iter().map(|(_, mbit, _)| mbit).sum();
    let share = |mbit: f64| mbit / (0.9415 * sum as f64) * 100.0;
    say("What one TCP download got");
    println!("  best line alone       {alone:6.1} Mbit/s");
    println!("  bonded                {bonded:6.1} Mbit/s   {:.2} times as much", bonded / alone);
    println!("                                        {:.0} % of the sum", share(bonded));
    println!("  while a line was dead {rest:6.1} Mbit/s   longest pause {stall_ms} ms");
    println!("  after it came back    {back:6.1} Mbit/s");
    match flow.failure() {
        None => println!("  the connection lived through all of it"),
        Some(failure) => println!("  the connection broke: {failure}"),
    }
}

fn say(text: &str) {
    println!("\n== {text}");
}

/// Show the paths for some seconds: in place on a terminal, else a table every two seconds.
fn watch(pair: &Pair<'_>, flow: &Flow, seconds: u64) {
    let terminal = std::io::stdout().is_terminal();
    let start = clock::now();
    let mut pictures = 0;
    let mut drawn = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        clock::pass(PICTURE);
        pictures += 1;
        if !terminal && pictures % 4 != 0 {
            continue;
        }
        let table = table(pair, flow);
        if terminal && drawn > 0 {
            // Back to the first line of the last picture, and clear from there.
            print!("\x1b[{drawn}A\x1b[J");
        }
        drawn = table.lines().count();
        print!("{table}");
        // A closed output is no reason to leave the lab standing.
        let _ = std::io::stdout().flush();
    }
}

fn table(pair: &Pair<'_>, flow: &Flow) -> String {
    let now_ms = flow.age_ms();
    let mbit = flow.mbit_between(now_ms.saturating_sub(1000), now_ms.max(1));
    let mut text =
        "  line       state     rtt ms   now Mbit/s   can Mbit/s   why not\n".to_string();
    for path in pair.router.paths() {
        let reason = if path.state == PathState::Active { "" } else { &path.reason };
        let can = path.capacity_down_kbps.map(|kbps| format!("{:.1}", kbps as f64 / 1000.0));
        let can = can.unwrap_or_else(|| "not measured".to_owned());
        text += &format!(
            "  {:<10} {:<8} {:>7.1} {:>12.1} {can:>12}   {reason}\n",
            path.wan,
            path.state,
            path.rtt_ms,
            path.rate_down_kbps as f64 / 1000.0,
        );
    }
    text + &format!("  download                    {mbit:>12.1}\n")
}
