//! The router's WANs: from what netlink shows to what the data plane should use.
//!
//! A WAN of the configuration keeps its path number, so that a link that comes back continues where
//! it was. So does a discovered one while its device is there, and for [`SHOWN_US`] after: a modem
//! that is reset comes back within that time, or under another name for ever. When all numbers are
//! in use, a newcomer gets that of a WAN that is lost at once. A WAN that is given by an interface of netifd's is the device that is
//! behind it now; where netifd is not there or does not know it, the name is the device's. Pure:
//! networks in, commands out.

use super::translate;
use crate::config::{self, WanLink};
use crate::dataplane::{Command, WanPlan};
use crate::engine::{Mode, PathSettings, Reason};
use crate::time::{SEC, Time};
use crate::wire::{PATHS_MAX, PathId};
use litemap::LiteMap;
use onebox_linux::netlink::{Network, Route, Selection, Wan, WanFault, wan_on, wans};
use onebox_openwrt::netifd::Interfaces;

/// How long a discovered WAN whose device is gone is still shown, and keeps its number:
/// microseconds.
const SHOWN_US: u64 = 60 * SEC;

/// What is known of a WAN.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name: of the section in the configuration, else of the device.
    pub name: String,
    /// Its path's number.
    pub path: PathId,
    /// As netlink shows it; `None` when it is not to be seen any more.
    pub wan: Option<Wan>,
    /// As the data plane was told last.
    plan: Option<WanPlan>,
    /// Why it cannot be used, as the data plane was told last.
    lost: Option<Reason>,
    /// Discovery had found it, and does not any more.
    missing: bool,
    /// Since when its device is not there.
    gone: Option<Time>,
}

/// All WANs of a router.
#[derive(Debug, Default)]
pub struct Wans {
    entries: Vec<Entry>,
    /// Modes set by command, until the next start.
    modes: LiteMap<String, Mode>,
    /// Those that have used up their quota.
    limited: Vec<String>,
    /// Those for which there is no number left.
    refused: Vec<String>,
}

impl Wans {
    /// The WAN of a path.
    pub fn of(&self, path: PathId) -> Option<&Entry> {
        self.entries.iter().find(|e| e.path == path)
    }

    /// The path of the WAN with this name.
    pub fn path(&self, name: &str) -> Option<PathId> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.path)
    }

    /// The name of a path's WAN and its device. A path without one, as a server has them, is named
    /// by its number.
    pub fn names(&self, path: PathId) -> (String, String) {
        let entry = self.of(path);
        let device = entry.and_then(|e| e.wan.as_ref()).map(|w| w.device.clone());
        let name = entry.map_or_else(|| format!("path{}", path.0), |e| e.name.clone());
        (name, device.unwrap_or_default())
    }

    /// Sets a mode by command; whether there is such a WAN.
    pub fn set_mode(&mut self, name: &str, mode: Mode) -> bool {
        let known = self.entries.iter().any(|e| e.name == name);
        if known {
            self.modes.insert(name.to_owned(), mode);
        }
        known
    }

    /// Says which WANs have used up their quota; whether those are others than before.
    pub fn set_limited(&mut self, names: Vec<String>) -> bool {
        let changed = self.limited != names;
        self.limited = names;
        changed
    }

    /// Those that are not used because there are too many.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// All that have a number.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// When [`update`](Wans::update) has something to do even if nothing changes.
    pub fn due(&self) -> Option<Time> {
        self.entries.iter().filter_map(|entry| entry.gone).min().map(|gone| gone + SHOWN_US)
    }

    /// The WANs of `network` under `client`'s configuration, and what the data plane has to be
    /// told so that it uses them.
    pub fn update(
        &mut self,
        now: Time,
        network: &Network,
        client: &config::Client,
        interfaces: &Interfaces,
    ) -> (Vec<Wan>, Vec<Command>) {
        let network = completed(network, client, interfaces);
        let selection = self.selection(client, interfaces);
        let found = wans(&network, &selection);
        let mut commands = Vec::new();
        self.entries.retain_mut(|entry| {
            entry.missing = !found.iter().any(|wan| wan.name == entry.name);
            let keep =
                !entry.missing || entry.miss(now, &network, client, &selection, &mut commands);
            if !keep {
                commands.push(Command::CloseWan(entry.path));
            }
            keep
        });
        let mut refused = Vec::new();
        for wan in &found {
            match self.entry(&wan.name, &mut commands) {
                Some(index) => self.follow(index, wan, client, &mut commands),
                None => refused.push(wan.name.clone()),
            }
        }
        if refused != self.refused && !refused.is_empty() {
            log::warn!("at most {PATHS_MAX} WANs are used, not {}", refused.join(", "));
        }
        self.refused = refused;
        (found, commands)
    }

    /// Forgets WANs that a new configuration does not have any more.
    pub fn forget(&mut self, names: &[String]) -> Vec<Command> {
        let gone: Vec<Entry> =
            self.entries.extract_if(.., |entry| names.contains(&entry.name)).collect();
        gone.into_iter().map(|entry| Command::CloseWan(entry.path)).collect()
    }

    /// Two WANs that are on one device now are one: the first.
    fn selection(&self, client: &config::Client, interfaces: &Interfaces) -> Selection {
        let (off, used): (Vec<_>, Vec<_>) =
            client.wans.iter().partition(|w| w.mode == config::Mode::Off);
        let on = |w: &config::Wan| device(&w.link, interfaces).to_owned();
        let mut configured: Vec<(String, String)> = Vec::new();
        for wan in used {
            let device = on(wan);
            if configured.iter().all(|(_, taken)| *taken != device) {
                configured.push((wan.name.clone(), device));
            }
        }
        let plans = self.entries.iter().filter_map(|entry| entry.plan.as_ref());
        Selection {
            discover: client.discover,
            configured,
            excluded: off.into_iter().map(on).collect(),
            in_use: plans.flat_map(|plan| &plan.sources).copied().collect(),
        }
    }

    /// The place of the WAN with this name, made if there is a number left for it: a free one,
    /// else that of a discovered WAN that is lost, the longest gone first.
    fn entry(&mut self, name: &str, commands: &mut Vec<Command>) -> Option<usize> {
        if let Some(index) = self.entries.iter().position(|e| e.name == name) {
            return Some(index);
        }
        let free = (0..PATHS_MAX as u8).map(PathId);
        let mut free = free.filter(|&id| self.entries.iter().all(|e| e.path != id));
        let path = match free.next() {
            Some(path) => path,
            None => {
                let missing = self.entries.iter().enumerate().filter(|(_, e)| e.missing);
                let (gone, _) = missing.min_by_key(|(_, e)| e.gone.unwrap_or(Time::FAR))?;
                let path = self.entries.remove(gone).path;
                commands.push(Command::CloseWan(path));
                path
            }
        };
        self.entries.push(Entry {
            name: name.to_owned(),
            path,
            wan: None,
            plan: None,
            lost: None,
            missing: false,
            gone: None,
        });
        Some(self.entries.len() - 1)
    }

    fn follow(
        &mut self,
        index: usize,
        wan: &Wan,
        client: &config::Client,
        commands: &mut Vec<Command>,
    ) {
        let entry = &mut self.entries[index];
        let before = entry.wan.replace(wan.clone());
        entry.gone = None;
        if let Some(fault) = wan.fault {
            entry.lose(fault.reason(), reason(fault), commands);
            return;
        }
        let section = client.wans.iter().find(|w| w.name == entry.name);
        let mode = self.modes.get(&entry.name).copied().unwrap_or(match section.map(|s| s.mode) {
            None | Some(config::Mode::Active) if self.limited.contains(&entry.name) => Mode::Backup,
            None => Mode::Active,
            Some(other) => translate::mode(other),
        });
        let plan = plan(entry.path, wan, mode, section);
        let way =
            |w: &Wan| (w.v4.map(|s| (s.address, s.gateway)), w.v6.map(|s| (s.address, s.gateway)));
        let moved = entry.lost.is_some()
            || before.is_some_and(|b| way(&b) != way(wan) || b.ifindex != wan.ifindex);
        if moved || entry.plan.as_ref() != Some(&plan) {
            commands.push(Command::SetWan { plan: Box::new(plan.clone()), moved });
        }
        entry.lost = None;
        entry.plan = Some(plan);
    }
}

impl Entry {
    /// It is not among the WANs any more; whether it keeps its number.
    fn miss(
        &mut self,
        now: Time,
        network: &Network,
        client: &config::Client,
        selection: &Selection,
        commands: &mut Vec<Command>,
    ) -> bool {
        if client.wans.iter().any(|wan| wan.name == self.name) {
            self.missing = false;
            self.wan = None;
            self.lose("switched off", Reason::SwitchedOff, commands);
            return true;
        }
        // A discovered one has the name of its device.
        if !client.discover || selection.decides(&self.name) {
            return false;
        }
        let wan = wan_on(network, &self.name, &self.name, &selection.in_use);
        let fault = wan.fault.unwrap_or(WanFault::NoRoute);
        self.gone = (fault == WanFault::Absent).then(|| self.gone.unwrap_or(now));
        self.wan = Some(wan);
        self.lose(fault.reason(), reason(fault), commands);
        self.gone.is_none_or(|gone| now < gone + SHOWN_US)
    }

    /// It cannot be used, because of what is said in `words`.
    fn lose(&mut self, words: &str, reason: Reason, commands: &mut Vec<Command>) {
        if self.lost.replace(reason) != Some(reason) {
            log::info!("{}: {words}", self.name);
            commands.push(Command::LoseWan(self.path, reason));
        }
    }
}

/// The device that a WAN uses now.
fn device<'a>(link: &'a WanLink, interfaces: &'a Interfaces) -> &'a str {
    match link {
        WanLink::Interface(name) => {
            interfaces.get(name).and_then(|i| i.device.as_deref()).unwrap_or(name)
        }
        WanLink::Device(name) => name,
    }
}

/// The network with the default routes that only netifd knows, for those WANs that are given by an
/// interface: such a route is in another table, or not set at all, so that other programs decide.
fn completed(network: &Network, client: &config::Client, interfaces: &Interfaces) -> Network {
    let mut network = network.clone();
    let links = client.wans.iter().filter_map(|w| match &w.link {
        WanLink::Interface(name) => interfaces.get(name),
        WanLink::Device(_) => None,
    });
    for known in links {
        let mut all = network.interfaces.iter_mut().map(|(_, interface)| interface);
        let Some(seen) = all.find(|i| Some(&i.name) == known.device.as_ref()) else { continue };
        for (v4, routes) in [(true, &mut seen.routes_v4), (false, &mut seen.routes_v6)] {
            if routes.is_empty() {
                let missing = known.routes.iter().filter(|r| r.v4 == v4);
                routes.extend(missing.map(|route| Route {
                    metric: known.metric,
                    gateway: route.gateway,
                    source: None,
                    from: route.from,
                }));
            }
        }
    }
    network
}

fn plan(path: PathId, wan: &Wan, mode: Mode, section: Option<&config::Wan>) -> WanPlan {
    let bytes = |kbps: Option<u32>| kbps.map(|k| u64::from(k) * 125);
    WanPlan {
        path,
        device: wan.device.clone(),
        ifindex: wan.ifindex,
        sources: wan.v4.iter().chain(&wan.v6).map(|source| source.address).collect(),
        settings: PathSettings {
            mode,
            metered: section.is_some_and(|s| s.metered),
            send_rate_max: bytes(section.and_then(|s| s.max_upload_kbps)),
            receive_rate_max: bytes(section.and_then(|s| s.max_download_kbps)),
            link_mtu: wan.mtu.clamp(1280, 9000) as u16,
            ip_overhead: 28,
        },
    }
}

fn reason(fault: WanFault) -> Reason {
    match fault {
        WanFault::Absent | WanFault::Down | WanFault::NoCarrier => Reason::LinkDown,
        WanFault::NoRoute => Reason::NoDefaultRoute,
        WanFault::NoAddress => Reason::NoAddress,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebox_linux::netlink::{Address, Interface, Route};

    fn client(discover: bool, wans: Vec<config::Wan>) -> config::Client {
        let outage = config::Outage::Direct { after_s: 10 };
        config::Client { discover, outage, wans }
    }

    fn names(commands: &[Command]) -> Vec<String> {
        commands
            .iter()
            .map(|c| match c {
                Command::SetWan { plan, moved } => format!("set {} moved {moved}", plan.device),
                Command::LoseWan(path, reason) => format!("lose {} {reason}", path.0),
                Command::CloseWan(path) => format!("close {}", path.0),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn network(devices: &[(&str, &str, bool)]) -> Network {
        let mut network = Network::default();
        for (i, &(name, address, carrier)) in devices.iter().enumerate() {
            let interface = Interface {
                name: name.into(),
                up: true,
                carrier,
                mtu: 1500,
                addresses: vec![Address {
                    ip: address.parse().unwrap(),
                    length: 24,
                    unusable: false,
                    deprecated: false,
                    temporary: false,
                    preferred_s: u32::MAX,
                }],
                routes_v4: vec![Route {
                    metric: 10,
                    gateway: Some("10.0.0.1".parse().unwrap()),
                    source: None,
                    from: None,
                }],
                ..Interface::default()
            };
            network.interfaces.insert(i as u32 + 2, interface);
        }
        network
    }

    #[test]
    fn a_wan_comes_moves_goes_and_returns_under_one_number() {
        let mut wans = Wans::default();
        let c = client(true, vec![]);
        let steps = [
            (network(&[("wan0", "10.0.0.2", true)]), vec!["set wan0 moved false"]),
            (network(&[("wan0", "10.0.0.2", true)]), vec![]),
            (network(&[("wan0", "10.0.0.3", true)]), vec!["set wan0 moved true"]),
            (network(&[]), vec!["lose 0 link is down"]),
            (network(&[("wan0", "10.0.0.3", true)]), vec!["set wan0 moved true"]),
        ];
        for (network, expected) in steps {
            let (_, commands) = wans.update(Time::ZERO, &network, &c, &Interfaces::default());
            assert_eq!(names(&commands), expected);
        }
        assert_eq!(wans.entries.len(), 1);
    }

    #[test]
    fn a_wan_without_quota_left_is_a_backup_unless_somebody_says_otherwise() {
        let mut wans = Wans::default();
        let c = client(true, vec![]);
        let network = network(&[("wan0", "10.0.0.2", true)]);
        let mode = |wans: &mut Wans| {
            let (_, commands) = wans.update(Time::ZERO, &network, &c, &Interfaces::default());
            commands.into_iter().find_map(|command| match command {
                Command::SetWan { plan, .. } => Some(plan.settings.mode),
                _ => None,
            })
        };
        assert_eq!(mode(&mut wans), Some(Mode::Active));
        let full = vec!["wan0".to_owned()];
        assert!(wans.set_limited(full.clone()) && !wans.set_limited(full));
        assert_eq!(mode(&mut wans), Some(Mode::Backup));
        wans.set_mode("wan0", Mode::Active);
        assert_eq!(mode(&mut wans), Some(Mode::Active));
        wans.set_mode("wan0", Mode::Off);
        wans.set_limited(Vec::new());
        assert_eq!(mode(&mut wans), Some(Mode::Off));
    }

    #[test]
    fn a_seventeenth_wan_is_refused_and_takes_the_place_of_one_that_has_gone_at_once() {
        let all: Vec<String> = (0..17).map(|i| format!("wan{i}")).collect();
        let list: Vec<_> = all.iter().map(|n| (n.as_str(), "10.0.0.2", true)).collect();
        let mut wans = Wans::default();
        let c = client(true, vec![]);
        let mut update = |list: &[_]| {
            let (_, commands) = wans.update(Time::ZERO, &network(list), &c, &Interfaces::default());
            (names(&commands), wans.refused().to_vec())
        };
        let (commands, refused) = update(&list);
        assert_eq!((commands.len(), refused), (16, vec!["wan16".to_owned()]));
        let (commands, refused) = update(&list[1..]);
        assert_eq!(commands[0], "lose 0 link is down");
        assert_eq!(commands[commands.len() - 2..], ["close 0", "set wan16 moved false"]);
        assert!(refused.is_empty());
        // The one whose number was taken has to wait in its turn.
        let (_, refused) = update(&list);
        assert_eq!(refused, ["wan0"]);
    }

    #[test]
    fn a_configured_wan_keeps_its_number_whoever_comes() {
        let all: Vec<String> = (0..17).map(|i| format!("wan{i}")).collect();
        let list: Vec<_> = all.iter().map(|n| (n.as_str(), "10.0.0.2", true)).collect();
        let mut wans = Wans::default();
        let c = client(true, vec![section("dsl", WanLink::Device("wan0".into()))]);
        for list in [&list[..16], &list[1..]] {
            wans.update(Time::ZERO, &network(list), &c, &Interfaces::default());
        }
        assert_eq!(
            (wans.names(PathId(0)).0.as_str(), wans.refused()),
            ("dsl", &["wan16".into()][..])
        );
    }

    #[test]
    fn a_dead_name_is_shown_for_a_minute() {
        let mut wans = Wans::default();
        let c = client(true, vec![]);
        let mut at = |second: u64, devices: &[_]| {
            let now = Time(second * SEC);
            let (_, commands) = wans.update(now, &network(devices), &c, &Interfaces::default());
            (names(&commands), wans.due().map(|due| due.0 / SEC))
        };
        at(0, &[("wwan0", "10.0.0.2", true)]);
        assert_eq!(at(5, &[]), (vec!["lose 0 link is down".to_owned()], Some(65)));
        assert_eq!(at(64, &[]), (vec![], Some(65)));
        assert_eq!(at(65, &[]), (vec!["close 0".to_owned()], None));
        let (commands, _) = at(66, &[("wwan1", "10.0.0.2", true)]);
        assert_eq!(commands, ["set wwan1 moved false"]);
    }

    #[test]
    fn many_names_in_a_row_all_find_a_number() {
        let mut wans = Wans::default();
        let c = client(true, vec![]);
        for number in 0..200 {
            let name = format!("wwan{number}");
            let devices = network(&[("dsl", "10.1.0.2", true), (&name, "10.0.0.2", true)]);
            let (_, commands) =
                wans.update(Time(number * SEC), &devices, &c, &Interfaces::default());
            assert!(names(&commands).contains(&format!("set {name} moved false")));
            assert!(wans.refused().is_empty() && wans.entries.len() <= PATHS_MAX);
        }
        assert_eq!(wans.names(PathId(0)).0, "dsl");
    }

    #[test]
    fn what_a_wan_lacks_is_said() {
        let mut wans = Wans::default();
        let c = client(true, vec![]);
        let mut devices = network(&[("wan0", "10.0.0.2", true)]);
        let whole = devices.interfaces[&2].clone();
        wans.update(Time::ZERO, &devices, &c, &Interfaces::default());
        let mut lost = |change: fn(&mut Interface)| {
            let interface = devices.interfaces.entry(2).or_default();
            interface.clone_from(&whole);
            interface.routes_v4.clear();
            change(interface);
            let (_, commands) = wans.update(Time::ZERO, &devices, &c, &Interfaces::default());
            names(&commands).concat()
        };
        assert_eq!(lost(|_| ()), "lose 0 no default route");
        assert_eq!(lost(|i| i.addresses.clear()), "lose 0 link has no address");
        assert_eq!(lost(|i| i.carrier = false), "lose 0 link is down");
        assert_eq!(lost(|i| i.up = false), "");
    }

    #[test]
    fn an_interface_is_the_device_behind_it() {
        let link = WanLink::Interface("wan".into());
        let c = client(true, vec![section("dsl", link)]);
        let dump = |device: &str, gateway: &str| {
            let route = serde_json::json!({"target": "0.0.0.0", "mask": 0, "nexthop": gateway});
            let entry = serde_json::json!({"interface": "wan", "metric": 7, "l3_device": device,
                "inactive": {"route": [route]}});
            let table = serde_json::json!({ "interface": [entry] });
            Interfaces::from_dump(table.as_object().unwrap())
        };
        let mut wans = Wans::default();
        let mut devices = network(&[("eth0", "10.0.0.2", true), ("eth1", "10.1.0.2", true)]);
        devices.interfaces.get_mut(&3).unwrap().routes_v4.clear();
        // Without netifd the name is a device, which is not there; eth0 is discovered.
        let (found, _) = wans.update(Time::ZERO, &devices, &c, &Interfaces::default());
        assert_eq!((found[0].device.as_str(), found[0].fault), ("wan", Some(WanFault::Absent)));
        assert_eq!((found.len(), found[1].device.as_str()), (2, "eth0"));
        // With it, it is eth1, by a route that only netifd knows.
        let (found, commands) = wans.update(Time::ZERO, &devices, &c, &dump("eth1", "10.1.0.1"));
        assert_eq!(found[0].v4.and_then(|v4| v4.gateway), "10.1.0.1".parse().ok());
        assert_eq!(names(&commands), ["set eth1 moved true"]);
        // It moves to a device that was used as another WAN, which it then is no more.
        let (found, commands) = wans.update(Time::ZERO, &devices, &c, &dump("eth0", "10.0.0.1"));
        assert_eq!((found.len(), found[0].name.as_str()), (1, "dsl"));
        assert_eq!(names(&commands), ["close 1", "set eth0 moved true"]);
    }

    fn section(name: &str, link: WanLink) -> config::Wan {
        config::Wan {
            name: name.into(),
            link,
            mode: config::Mode::Active,
            metered: false,
            max_upload_kbps: None,
            max_download_kbps: None,
            quota_mb: None,
            quota_day: 1,
        }
    }
}
