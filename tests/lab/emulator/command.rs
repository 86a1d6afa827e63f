//! The words by which a running link is changed.
//!
//! ```text
//! set [up|down] rate=50mbit delay=20ms jitter=5ms loss=1% queue=150ms|64kb
//!               burst=ENTER,LEAVE,LOSS policer=10mbit,32kb|off
//!               reorder=1% hold=5ms duplicate=1% corrupt=1%
//! blackhole on|off [up|down]
//! carrier on|off
//! rebind
//! stats
//! ```
//! Without a direction both are meant. Shares are `1%` or `10000ppm`. Each command is answered by
//! one line of JSON: `{"ok":true}`, the statistics, or `{"error":"…"}`.

use super::model::{Burst, Policer, Profile};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Router to provider.
    Up,
    /// Provider to router.
    Down,
    /// Both.
    Both,
}

impl Way {
    /// Whether router to provider is meant.
    pub fn up(self) -> bool {
        self != Way::Down
    }

    /// Whether provider to router is meant.
    pub fn down(self) -> bool {
        self != Way::Up
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Change the properties of one or both directions.
    Set(Way, Vec<(String, String)>),
    /// Swallow everything, or stop doing so.
    Blackhole(bool, Way),
    /// Plug the cable in or out.
    Carrier(bool),
    /// Give every UDP flow another source port.
    Rebind,
    /// Counters.
    Stats,
}

impl Command {
    /// Read one line.
    pub fn parse(line: &str) -> Result<Command, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["set", rest @ ..] => parse_set(rest),
            ["blackhole", switch] => Ok(Command::Blackhole(parse_switch(switch)?, Way::Both)),
            ["blackhole", switch, way] => {
                let way = parse_way(way).ok_or_else(|| format!("no direction: {way}"))?;
                Ok(Command::Blackhole(parse_switch(switch)?, way))
            }
            ["carrier", switch] => Ok(Command::Carrier(parse_switch(switch)?)),
            ["rebind"] => Ok(Command::Rebind),
            ["stats"] => Ok(Command::Stats),
            _ => Err(format!("unknown command: {line}")),
        }
    }
}

fn parse_set(words: &[&str]) -> Result<Command, String> {
    let (way, pairs) = match words.first().and_then(|w| parse_way(w)) {
        Some(way) => (way, &words[1..]),
        None => (Way::Both, words),
    };
    let mut settings = Vec::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("not key=value: {pair}"))?;
        settings.push((key.to_string(), value.to_string()));
    }
    // Reading them once here means that a bad command changes nothing.
    apply(&mut Profile::new(1, 0), &settings)?;
    Ok(Command::Set(way, settings))
}

/// Change a profile as the command `set` says.
pub fn apply(profile: &mut Profile, settings: &[(String, String)]) -> Result<(), String> {
    for (key, value) in settings {
        match key.as_str() {
            "rate" => profile.rate_bps = parse_rate(value)?,
            "delay" => profile.delay_us = parse_time_us(value)?,
            "jitter" => profile.jitter_us = parse_time_us(value)?,
            "loss" => profile.loss_ppm = parse_share_ppm(value)?,
            "burst" => profile.burst = parse_burst(value)?,
            "reorder" => profile.reorder_ppm = parse_share_ppm(value)?,
            "hold" => profile.reorder_us = parse_time_us(value)?,
            "duplicate" => profile.duplicate_ppm = parse_share_ppm(value)?,
            "corrupt" => profile.corrupt_ppm = parse_share_ppm(value)?,
            "queue" => profile.queue_bytes = Some(parse_queue(value, profile.rate_bps)?),
            "policer" => profile.policer = parse_policer(value)?,
            _ => return Err(format!("unknown property: {key}")),
        }
    }
    Ok(())
}

fn parse_way(word: &str) -> Option<Way> {
    match word {
        "up" => Some(Way::Up),
        "down" => Some(Way::Down),
        _ => None,
    }
}

fn parse_switch(word: &str) -> Result<bool, String> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("neither on nor off: {word}")),
    }
}

fn scaled(text: &str, units: &[(&str, f64)], what: &str) -> Result<f64, String> {
    for (unit, factor) in units {
        if let Some(number) = text.strip_suffix(unit)
            && let Ok(number) = number.parse::<f64>()
            && number >= 0.0
        {
            return Ok(number * factor);
        }
    }
    Err(format!("not {what}: {text}"))
}

/// `50mbit`, `800kbit`, `9600bit`.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let units = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];
    match scaled(text, &units, "a rate")? as u64 {
        0 => Err(format!("a link needs a rate: {text}")),
        rate => Ok(rate),
    }
}

/// `20ms`, `150us`, `1s`, in microseconds.
pub fn parse_time_us(text: &str) -> Result<u64, String> {
    Ok(scaled(text, &[("us", 1.0), ("ms", 1e3), ("s", 1e6)], "a time")? as u64)
}

/// `1%`, `500ppm`, in millionths.
pub fn parse_share_ppm(text: &str) -> Result<u32, String> {
    let ppm = scaled(text, &[("%", 1e4), ("ppm", 1.0)], "a share")?.round();
    if ppm > 1e6 { Err(format!("more than everything: {text}")) } else { Ok(ppm as u32) }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    Ok(scaled(text, &[("kb", 1024.0), ("mb", 1_048_576.0), ("b", 1.0)], "a size")? as u64)
}

fn parse_queue(text: &str, rate_bps: u64) -> Result<u64, String> {
    match parse_time_us(text) {
        Ok(us) => Ok(rate_bps / 8 * us / 1_000_000),
        Err(_) => parse_bytes(text),
    }
}

fn parse_burst(text: &str) -> Result<Option<Burst>, String> {
    match text.split(',').collect::<Vec<_>>().as_slice() {
        ["off"] => Ok(None),
        [enter, leave, loss] => Ok(Some(Burst {
            enter_ppm: parse_share_ppm(enter)?,
            leave_ppm: parse_share_ppm(leave)?,
            loss_ppm: parse_share_ppm(loss)?,
        })),
        _ => Err(format!("not ENTER,LEAVE,LOSS: {text}")),
    }
}

fn parse_policer(text: &str) -> Result<Option<Policer>, String> {
    match text.split_once(',') {
        None if text == "off" => Ok(None),
        Some((rate, burst)) => {
            Ok(Some(Policer { rate_bps: parse_rate(rate)?, burst_bytes: parse_bytes(burst)? }))
        }
        None => Err(format!("not RATE,BURST: {text}")),
    }
}
