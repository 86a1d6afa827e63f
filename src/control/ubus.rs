//! The program on the bus of OpenWrt: its object, its events, and what netifd says.
//!
//! Why: LuCI and scripts reach the program by `ubus call onebox …`, and netifd knows which device
//! is behind an interface of the user's.
//!
//! How: one task owns the connection. Methods become the same requests as on the control socket,
//! answered by the same code; each waits in a task of its own, so that a slow answer holds up
//! nothing. Changes of state go out twice, as event for whoever listens and as notification of the
//! object for its subscribers. netifd is asked once, and again when it says that something has
//! changed or comes anew. Where an interface of netifd's is ours, netifd is told when traffic
//! belongs into the tunnel, with addresses and routes, and when not any more; and again whenever
//! that is not what it has; why it does not, as an error of the interface; and at the end, that nobody
//! is there, with the interface down until the program is back. When the connection ends, another is opened and everything registered
//! again.
//!
//! Limits: no bus, and a bus that forbids something, are normal and told once. `CALLS_MAX`
//! calls wait at once, `CHANGES_MAX` changes for a bus that is busy; further ones are refused or
//! lost. Rights are the bus's: root may all, others what its access list allows.

use super::server::{Call, ask};
use super::{Mode, Request, RequestError, SECONDS, STEP};
use crate::config::DEFAULT_UBUS_SOCKET;
use crate::status::{Change, Problem, Problems};
use onebox_linux::clock;
use onebox_openwrt::netifd::{self, Interfaces, Link, State};
use onebox_openwrt::ubus::blobmsg::Type;
use onebox_openwrt::ubus::{Client, Error, Incoming, Invocation, Method, Object, Status, Ticket};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Calls that wait for their answer at once.
const CALLS_MAX: usize = 32;
/// Changes of state that wait to be told.
const CHANGES_MAX: usize = 256;
/// Time to the first new attempt after the connection has ended; it doubles with each.
const RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted this long was a good one: the next attempt comes soon.
const LASTED: Duration = Duration::from_secs(10);
/// How long changes that netifd tells may gather: one interface makes several.
const SETTLE: Duration = Duration::from_millis(50);
/// How long the start may wait for netifd's interfaces.
const FIRST: Duration = Duration::from_secs(1);
/// How long the end may wait for netifd.
const WITHDRAW: Duration = Duration::from_secs(1);
/// Where the bus is on some systems, instead of [`DEFAULT_UBUS_SOCKET`].
const OTHER_SOCKET: &str = "/run/ubus/ubus.sock";
/// The event by which ubusd tells of a new object.
const OBJECT_ADDED: &str = "ubus.object.add";

/// What is on the bus.
const OBJECT: Object = Object {
    path: "onebox",
    methods: &[
        Method { name: "status", arguments: &[] },
        Method { name: "paths", arguments: &[] },
        Method { name: "reconnect", arguments: &[("peer", Type::String)] },
        Method { name: "set_path", arguments: &[("wan", Type::String), ("mode", Type::String)] },
        Method {
            name: "test",
            arguments: &[
                ("wan", Type::String),
                ("way", Type::String),
                ("seconds", Type::Int32),
                ("metered", Type::Int8),
                ("stop", Type::Int8),
            ],
        },
        Method { name: "reload", arguments: &[] },
        Method { name: "history", arguments: &[("since", Type::Int32), ("step", Type::Int32)] },
        Method { name: "events", arguments: &[("since", Type::Int32)] },
    ],
};

/// The task's handle; dropped, it ends and the object leaves the bus.
#[derive(Debug)]
pub struct Ubus {
    interfaces: watch::Receiver<Option<Arc<Interfaces>>>,
    changes: mpsc::Sender<Change>,
    link: watch::Sender<Option<Link>>,
    told: watch::Receiver<Option<Link>>,
    task: JoinHandle<()>,
}

impl Ubus {
    /// Starts the task. `calls` takes what is asked of the program. That there is no bus is a problem
    /// on OpenWrt, and where the configuration names one.
    pub fn start(socket: &Path, calls: mpsc::Sender<Call>, problems: Problems) -> Ubus {
        problems.clear_all(Problem::UbusMissing);
        problems.clear_all(Problem::UbusDenied);
        let (interfaces_in, interfaces) = watch::channel(None);
        let (changes, changes_out) = mpsc::channel(CHANGES_MAX);
        let mut sockets = vec![socket.to_owned()];
        if socket == Path::new(DEFAULT_UBUS_SOCKET) {
            sockets.push(PathBuf::from(OTHER_SOCKET));
        }
        let expected = sockets.len() == 1 || Path::new("/etc/openwrt_release").exists();
        let (link, link_out) = watch::channel(None);
        let (told_in, told) = watch::channel(None);
        let bus = Bus {
            sockets,
            calls,
            changes: changes_out,
            interfaces: interfaces_in,
            link: link_out,
            told: told_in,
            expected,
            problems,
        };
        Ubus { interfaces, changes, link, told, task: tokio::spawn(bus.run()) }
    }

    /// This is so of the interface that is ours; none is any more, if nothing is given.
    pub fn set_link(&self, link: Option<Link>) {
        self.link.send_if_modified(|known| {
            let other = *known != link;
            *known = link;
            other
        });
    }

    /// Has netifd take the interface down that is ours, if it is wanted, and waits a moment for that.
    pub async fn withdraw(&mut self) {
        self.set_link(None);
        let _ = timeout(WITHDRAW, self.told.wait_for(Option::is_none)).await;
    }

    /// netifd's interfaces; waits a moment for the first answer, or that there will be none.
    pub async fn interfaces(&mut self) -> Arc<Interfaces> {
        let first = self.interfaces.wait_for(Option::is_some);
        let known = timeout(FIRST, first).await.ok().and_then(Result::ok);
        known.and_then(|known| known.clone()).unwrap_or_default()
    }

    /// Waits until netifd's interfaces are others. May be cancelled.
    pub async fn changed(&mut self) -> Arc<Interfaces> {
        match self.interfaces.changed().await {
            Ok(()) => self.interfaces.borrow_and_update().clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Tells a change of state.
    pub fn tell(&self, change: Change) {
        if let Err(error) = self.changes.try_send(change) {
            log::debug!("a change is not told on ubus: {error}");
        }
    }
}

impl Drop for Ubus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Bus {
    sockets: Vec<PathBuf>,
    calls: mpsc::Sender<Call>,
    changes: mpsc::Receiver<Change>,
    interfaces: watch::Sender<Option<Arc<Interfaces>>>,
    /// The interface that is ours.
    link: watch::Receiver<Option<Link>>,
    /// What netifd knows of it. None: nothing, or it is not wanted.
    told: watch::Sender<Option<Link>>,
    /// Whether there should be a bus.
    expected: bool,
    problems: Problems,
}

impl Bus {
    async fn run(mut self) {
        let mut wait = RETRY_MIN;
        let mut said = String::new();
        loop {
            let begun = clock::timer_now();
            let Err(error) = self.session().await;
            self.told.send_replace(None);
            if begun.elapsed() >= LASTED {
                wait = RETRY_MIN;
                said.clear();
            }
            let socket = self.sockets[0].display().to_string();
            if self.expected {
                self.problems.raise(clock::now(), Problem::UbusMissing, &socket, &error);
            }
            let why = format!("no ubus at {socket}: {error}");
            if why != said {
                log::info!("{why}");
                said = why;
            }
            self.interfaces.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert_default();
                first
            });
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
            // What happened without a bus is nobody's news any more.
            while self.changes.try_recv().is_ok() {}
        }
    }

    /// One connection, from its beginning to its end.
    async fn session(&mut self) -> Result<std::convert::Infallible, Error> {
        let (mut client, socket) = self.connect().await?;
        let mut denied = Vec::new();
        let object = allowed(client.add(&OBJECT).await, "the object 'onebox'", &mut denied)?;
        let listener = client.add_listener().await?;
        for event in [OBJECT_ADDED, netifd::OBJECT, netifd::SETUP] {
            allowed(
                client.listen(listener, event).await,
                &format!("the event {event}"),
                &mut denied,
            )?;
        }
        let mut session = Session {
            client,
            object,
            listener,
            netifd: None,
            due: None,
            dump: None,
            heard: false,
            telling: None,
            errors: Vec::new(),
            lifted: false,
            denied,
            jobs: JoinSet::new(),
        };
        session.find_netifd().await?;
        log::info!("on ubus at {}", socket.display());
        self.problems.clear_all(Problem::UbusMissing);
        self.problems.clear_all(Problem::UbusDenied);
        if !session.denied.is_empty() {
            let list = session.denied.join(", ");
            self.problems.raise(clock::now(), Problem::UbusDenied, "", &list);
            log::warn!("ubus refuses {list}: is the name taken, or the access list missing?");
        }
        session.serve(self).await
    }

    /// A connection to the first bus that there is, and where that is.
    async fn connect(&self) -> Result<(Client, PathBuf), Error> {
        let mut failed = None;
        for socket in &self.sockets {
            match Client::connect(socket).await {
                Ok(client) => return Ok((client, socket.clone())),
                // Of the others it is not worth telling that they are not there either.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or(Error::Late))
    }

    fn learn(&self, found: Interfaces) {
        self.interfaces.send_if_modified(|known| {
            let other = known.as_deref() != Some(&found);
            *known = Some(Arc::new(found));
            other
        });
    }
}

/// What ubusd gave, or nothing if it refused, which is noted.
fn allowed<T>(
    outcome: Result<T, Error>,
    what: &str,
    denied: &mut Vec<String>,
) -> Result<Option<T>, Error> {
    match outcome {
        Ok(given) => Ok(Some(given)),
        Err(Error::Refused(status)) => {
            let what = format!("{what} ({status})");
            if !denied.contains(&what) {
                denied.push(what);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A call and its outcome.
type Done = (Invocation, Result<Value, RequestError>);

struct Session {
    client: Client,
    /// Number of our object, if it was accepted.
    object: Option<u32>,
    /// Number of the object that hears events and netifd.
    listener: u32,
    /// Number of netifd's object, if it is there.
    netifd: Option<u32>,
    /// When to ask netifd.
    due: Option<Instant>,
    /// The question that was asked last.
    dump: Option<Ticket>,
    /// It has answered.
    heard: bool,
    /// What netifd is being told. None: that nobody serves the interface any more.
    telling: Option<(Ticket, Option<Link>)>,
    /// The errors that netifd was told since the interface was down or up.
    errors: Vec<&'static str>,
    /// netifd was asked to take the interface up. Once: should the script go on to leave it down, for
    /// a reason that is not known here, the two would ask each other for ever.
    lifted: bool,
    /// What was refused.
    denied: Vec<String>,
    jobs: JoinSet<Done>,
}

impl Session {
    async fn serve(&mut self, bus: &mut Bus) -> Result<std::convert::Infallible, Error> {
        loop {
            let due = self.due;
            tokio::select! {
                incoming = self.client.next() => self.hear(incoming?, bus).await?,
                Some(change) = bus.changes.recv() => self.tell(&change)?,
                Ok(()) = bus.link.changed() => self.tell_netifd(bus)?,
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.answer(done)?,
                    Err(error) => log::error!("answering a call on ubus: {error}"),
                },
                () = async { sleep_until(due.unwrap_or_else(clock::timer_now)).await },
                    if due.is_some() => self.ask_netifd()?,
            }
        }
    }

    async fn hear(&mut self, incoming: Incoming, bus: &mut Bus) -> Result<(), Error> {
        match incoming {
            Incoming::Call(call) if Some(call.object) == self.object => self.called(call, bus),
            Incoming::Call(call) => {
                self.client.answer(&call, None, Status::OK)?;
                if call.method != OBJECT_ADDED {
                    self.refresh();
                    Ok(())
                } else if call.table().is_ok_and(|table| {
                    table.get("path").and_then(Value::as_str) == Some(netifd::OBJECT)
                }) {
                    self.find_netifd().await
                } else {
                    Ok(())
                }
            }
            Incoming::Reply(ticket, reply) if self.dump == Some(ticket) => {
                self.dump = None;
                match reply.table() {
                    Ok(table) if reply.status == Status::OK => {
                        self.heard = true;
                        bus.learn(Interfaces::from_dump(&table));
                        self.tell_netifd(bus)?;
                    }
                    Ok(_) => log::warn!("netifd does not tell its interfaces: {}", reply.status),
                    Err(error) => log::warn!("netifd's interfaces: {error}"),
                }
                Ok(())
            }
            Incoming::Reply(ticket, reply)
                if self.telling.as_ref().is_some_and(|(telling, _)| *telling == ticket) =>
            {
                if reply.status == Status::OK {
                    bus.told.send_replace(self.telling.take().and_then(|(_, link)| link));
                } else {
                    log::warn!("netifd does not take the state of the tunnel: {}", reply.status);
                    self.telling = None;
                }
                // Something else may be true by now. If not, netifd's next news decides.
                let same = *bus.link.borrow() == *bus.told.borrow();
                if same { Ok(()) } else { self.tell_netifd(bus) }
            }
            Incoming::Reply(_, reply) => {
                self.refused(reply.status);
                Ok(())
            }
            Incoming::Gone { target } => {
                // Until it comes again, what it said last is the best there is.
                self.netifd.take_if(|number| *number == target);
                Ok(())
            }
            Incoming::Subscribers { .. } => Ok(()),
        }
    }

    /// An event was not taken: told once.
    fn refused(&mut self, status: Status) {
        let what = format!("an event, or to tell netifd something ({status})");
        if status != Status::OK && !self.denied.contains(&what) {
            log::warn!("ubus refuses {what}");
            self.denied.push(what);
        }
    }

    /// Looks for netifd, and subscribes to it.
    async fn find_netifd(&mut self) -> Result<(), Error> {
        let found = self.client.lookup(netifd::OBJECT).await;
        self.netifd = allowed(found, "a look at netifd", &mut self.denied)?.flatten();
        if let Some(number) = self.netifd {
            let subscribed = self.client.subscribe(self.listener, number).await;
            allowed(subscribed, "a subscription of netifd", &mut self.denied)?;
            self.ask_netifd()?;
        }
        Ok(())
    }

    fn refresh(&mut self) {
        self.due.get_or_insert_with(|| clock::timer_now() + SETTLE);
    }

    fn ask_netifd(&mut self) -> Result<(), Error> {
        self.due = None;
        if let Some(number) = self.netifd {
            self.dump = Some(self.client.call(number, netifd::DUMP, &Map::new())?);
        }
        Ok(())
    }

    /// Tells netifd how the interface that is ours is, unless it has that already.
    fn tell_netifd(&mut self, bus: &mut Bus) -> Result<(), Error> {
        let told = bus.told.borrow().clone();
        let wanted = bus.link.borrow_and_update().clone();
        if wanted.is_none() {
            bus.problems.clear_all(Problem::InterfaceMissing);
        }
        let Some(number) = self.netifd else {
            bus.told.send_replace(None);
            return Ok(());
        };
        if !self.heard {
            return Ok(());
        }
        let known = bus.interfaces.borrow().clone().unwrap_or_default();
        let (Some(link), None) = (wanted.clone().or(told.clone()), &self.telling) else {
            return Ok(());
        };
        let name = &link.interface;
        let interface = known.get(name).filter(|one| one.protocol == netifd::PROTOCOL);
        let Some(interface) = interface else {
            bus.told.send_replace(None);
            if wanted.is_some()
                && bus.problems.raise(clock::now(), Problem::InterfaceMissing, name, "")
            {
                log::warn!("netifd has no interface '{name}' with the protocol onebox");
            }
            return Ok(());
        };
        bus.problems.clear_all(Problem::InterfaceMissing);
        if interface.state != State::Pending {
            self.errors.clear();
        }
        self.lifted &= interface.state != State::Up;
        match (interface.state, link.up.is_some()) {
            (State::Down, _) => {
                // It has to be told again when it is wanted.
                bus.told.send_replace(None);
                if interface.unserved && wanted.is_some() && !self.lifted {
                    self.lifted = true;
                    self.client.call(number, netifd::UP, &link.named())?;
                }
            }
            _ if wanted.is_none() => self.leave(number, &link)?,
            (State::Pending, false) => {
                bus.told.send_replace(Some(link.clone()));
                if !self.errors.contains(&link.error) {
                    self.errors.push(link.error);
                    let arguments = link.error_arguments(link.error);
                    self.client.call_encoded(number, netifd::NOTIFY, &arguments)?;
                }
            }
            (State::Up, _) if told.as_ref() == Some(&link) => {}
            _ => {
                let arguments = link.arguments();
                let ticket = self.client.call_encoded(number, netifd::NOTIFY, &arguments)?;
                self.telling = Some((ticket, Some(link)));
            }
        }
        Ok(())
    }

    /// Has netifd take an interface down that nobody serves any more; its error tells that it is not
    /// its user who wants that.
    fn leave(&mut self, number: u32, link: &Link) -> Result<(), Error> {
        let error = link.error_arguments(netifd::NOT_RUNNING);
        self.client.call_encoded(number, netifd::NOTIFY, &error)?;
        let ticket = self.client.call(number, netifd::DOWN, &link.named())?;
        self.telling = Some((ticket, None));
        self.lifted = false;
        Ok(())
    }

    fn tell(&mut self, change: &Change) -> Result<(), Error> {
        let Ok(Value::Object(table)) = serde_json::to_value(change) else { return Ok(()) };
        self.client.send_event(change.name(), &table)?;
        match self.object {
            Some(object) => self.client.notify(object, change.name(), &table),
            None => Ok(()),
        }
    }

    fn called(&mut self, call: Invocation, bus: &Bus) -> Result<(), Error> {
        let request = match request(&call) {
            Ok(Some(request)) if self.jobs.len() < CALLS_MAX => request,
            Ok(Some(_)) => return self.client.answer(&call, None, Status::NO_MEMORY),
            Ok(None) => return self.client.answer(&call, None, Status::METHOD_NOT_FOUND),
            Err(error) => return self.answer((call, Err(error))),
        };
        let calls = bus.calls.clone();
        self.jobs.spawn(async move {
            let response = ask(request, &calls).await;
            let json = |response| serde_json::to_value(response).map_err(RequestError::Answer);
            let outcome = response.and_then(json);
            (call, outcome)
        });
        Ok(())
    }

    fn answer(&mut self, (call, outcome): Done) -> Result<(), Error> {
        let (result, status) = match outcome {
            Ok(status) if call.method == "paths" => (Some(paths(&status)), Status::OK),
            Ok(Value::Object(table)) => (Some(table), Status::OK),
            Ok(_) => (None, Status::OK),
            Err(error) => {
                let words = [("error", error.to_string()), ("code", error.code().to_owned())];
                let table = words.map(|(key, value)| (key.to_owned(), Value::from(value)));
                (Some(Map::from_iter(table)), error.status())
            }
        };
        self.client.answer(&call, result.as_ref(), status)
    }
}

/// What a call asks for; none if there is no such method. Arguments that no method has are left
/// alone: rpcd adds one of its own.
fn request(call: &Invocation) -> Result<Option<Request>, RequestError> {
    const SINCE: &str = "since is seconds since 1970";
    const MODE: &str = "mode is active, backup or off";
    const WAN: &str = "wan is the name of a WAN";
    const WAY: &str = "way is up or down";
    let wrong = RequestError::BadArgument;
    let arguments = call.table().map_err(|_| wrong("the arguments are malformed"))?;
    let text = |name: &str, accepted| match arguments.get(name) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(accepted)),
        None => Ok(None),
    };
    let number = |name: &str, accepted| match arguments.get(name) {
        Some(number) => number.as_u64().map(Some).ok_or(wrong(accepted)),
        None => Ok(None),
    };
    let flag = |name: &str, accepted| match arguments.get(name) {
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(number) => number.as_u64().map(|n| n != 0).ok_or(wrong(accepted)),
        None => Ok(false),
    };
    Ok(Some(match call.method.as_str() {
        "history" => match number("step", STEP)? {
            step @ (None | Some(1 | 60 | 3600)) => {
                Request::History { since: number("since", SINCE)?, step }
            }
            Some(_) => return Err(wrong(STEP)),
        },
        "events" => Request::Events { since: number("since", SINCE)? },
        "status" | "paths" => Request::Status,
        "reload" => Request::Reload,
        "reconnect" => Request::Reconnect { peer: text("peer", "peer is the name of a peer")? },
        "test" => {
            let way = text("way", WAY)?.map(|way| serde_json::from_value(Value::String(way)));
            Request::Test {
                wan: text("wan", WAN)?,
                way: way.transpose().map_err(|_| wrong(WAY))?,
                seconds: number("seconds", SECONDS)?,
                metered: flag("metered", "metered is true or false")?,
                stop: flag("stop", "stop is true or false")?,
            }
        }
        "set_path" => {
            let wan = text("wan", WAN)?.ok_or(wrong(WAN))?;
            let mode = text("mode", MODE)?.ok_or(wrong(MODE))?;
            let mode: Result<Mode, _> = serde_json::from_value(Value::String(mode));
            Request::SetPath { wan, mode: mode.map_err(|_| wrong(MODE))? }
        }
        _ => return Ok(None),
    }))
}

/// All paths of a status in one list, each with the name of its peer.
fn paths(status: &Value) -> Map<String, Value> {
    let list = |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned();
    let mut all = Vec::new();
    for peer in list(status, "peers").unwrap_or_default() {
        for mut path in list(&peer, "paths").unwrap_or_default() {
            if let Value::Object(path) = &mut path {
                path.insert("peer".to_owned(), peer.get("name").cloned().unwrap_or_default());
            }
            all.push(path);
        }
    }
    Map::from_iter([("paths".to_owned(), json!(all))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_all_peers() {
        let status = json!({"state": "up", "peers": [
            {"name": "a", "paths": [{"wan": "x"}, {"wan": "y"}]},
            {"name": "b", "paths": [{"wan": "x"}]},
        ]});
        let expected = json!({"paths": [
            {"wan": "x", "peer": "a"}, {"wan": "y", "peer": "a"}, {"wan": "x", "peer": "b"},
        ]});
        assert_eq!(Value::Object(paths(&status)), expected);
        assert_eq!(Value::Object(paths(&Value::Null)), json!({"paths": []}));
    }
}
