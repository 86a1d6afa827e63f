//! A host behind an end of the tunnel: applications, found by the port of their flow.

use crate::packet::{Side, flow_port};
use crate::report::Record;
use onebox::time::Time;
use std::collections::BTreeMap;

/// One end of a flow.
pub trait App {
    /// The flow begins; packets may be up to `mtu` bytes long.
    fn start(&mut self, now: Time, mtu: u16);
    /// A packet of the flow has arrived.
    fn receive(&mut self, now: Time, packet: &[u8]);
    /// Packets may be up to so many bytes long from here on.
    fn set_mtu(&mut self, _mtu: u16) {}
    /// A packet to send now; asked until there is none.
    fn poll(&mut self, now: Time) -> Option<Vec<u8>>;
    /// When it wants to be asked if nothing arrives before.
    fn poll_timeout(&self) -> Time;
    /// What it has measured.
    fn record(&self) -> &Record;
}

struct Slot {
    port: u16,
    starts: Time,
    started: bool,
    wakes: Time,
    app: Box<dyn App>,
}

/// A host.
pub struct Host {
    side: Side,
    slots: Vec<Slot>,
    by_port: BTreeMap<u16, usize>,
    /// Slots to ask for packets before any timer.
    touched: Vec<usize>,
    wakes: Time,
}

impl Host {
    /// A host on this side.
    pub fn new(side: Side) -> Host {
        let wakes = Time::FAR;
        Host { side, slots: Vec::new(), by_port: BTreeMap::new(), touched: Vec::new(), wakes }
    }

    /// Adds one end of a flow, which begins at `starts`.
    pub fn add(&mut self, port: u16, starts: Time, app: Box<dyn App>) {
        self.by_port.insert(port, self.slots.len());
        self.slots.push(Slot { port, starts, started: false, wakes: starts, app });
        self.wakes = self.wakes.min(starts);
    }

    /// A packet from the tunnel.
    pub fn receive(&mut self, now: Time, packet: &[u8]) {
        let slot = flow_port(packet, self.side).and_then(|port| self.by_port.get(&port));
        let Some(&i) = slot else { return };
        if self.slots[i].started {
            self.slots[i].app.receive(now, packet);
            self.touched.push(i);
        }
    }

    /// A packet for the tunnel; asked until there is none.
    pub fn poll(&mut self, now: Time, mtu: u16) -> Option<Vec<u8>> {
        while self.wakes <= now {
            for (i, slot) in self.slots.iter_mut().enumerate().filter(|(_, s)| s.wakes <= now) {
                if !slot.started {
                    slot.started = true;
                    slot.app.start(now, mtu);
                }
                slot.wakes = Time::FAR;
                self.touched.push(i);
            }
            self.wakes = self.slots.iter().map(|s| s.wakes).min().unwrap_or(Time::FAR);
        }
        while let Some(&i) = self.touched.last() {
            let slot = &mut self.slots[i];
            slot.app.set_mtu(mtu);
            if let Some(packet) = slot.app.poll(now) {
                return Some(packet);
            }
            self.touched.pop();
            slot.wakes = slot.app.poll_timeout();
            assert!(slot.wakes > now, "flow {} spins at {now:?}", slot.port);
            self.wakes = self.wakes.min(slot.wakes);
        }
        None
    }

    /// When an application wants to be asked.
    pub fn poll_timeout(&self) -> Time {
        self.wakes
    }

    /// What the flow's end on this host has measured.
    pub fn record(&self, port: u16) -> Record {
        self.by_port.get(&port).map(|&i| self.slots[i].app.record().clone()).unwrap_or_default()
    }
}
