//! The buses that the tests run on, and a client to look at them.

use crate::lab::programs::{Program, TempDir, poll_until};
use crate::stand_in::StandIn;
use onebox_openwrt::ubus::message::{Message, attribute, kind};
use onebox_openwrt::ubus::{Client, Error, Incoming, Object, Status, Ticket};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long anything on the bus may take.
pub const SOON: Duration = Duration::from_secs(10);

/// Which program is the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    StandIn,
    /// OpenWrt's.
    Real,
}

/// A program on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Those that are to be had here: the stand-in, and the real one if it is on PATH.
pub fn kinds() -> Vec<Kind> {
    match on_path("ubusd") {
        Some(program) => {
            println!("with the stand-in and with {}", program.display());
            vec![Kind::StandIn, Kind::Real]
        }
        None => {
            println!("with the stand-in alone: ubusd is not on PATH");
            vec![Kind::StandIn]
        }
    }
}

enum Running {
    StandIn { _bus: StandIn },
    Real { _program: Program },
}

/// A bus, running or not.
pub struct Bus {
    kind: Kind,
    running: Option<Running>,
    /// For what belongs to the test.
    pub files: TempDir,
}

impl Bus {
    /// One that does not run yet.
    pub fn new(kind: Kind) -> Bus {
        Bus { kind, running: None, files: TempDir::new() }
    }

    /// One that runs.
    pub fn started(kind: Kind) -> Bus {
        let mut bus = Bus::new(kind);
        bus.start();
        bus
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.files.file("ubus.sock")
    }

    /// Start it.
    pub fn start(&mut self) {
        let socket = self.socket();
        self.running = Some(match self.kind {
            Kind::StandIn => Running::StandIn { _bus: StandIn::start(&socket, false) },
            Kind::Real => {
                // It replaces the socket of one that was killed.
                let mut command = Command::new("ubusd");
                command.arg("-s").arg(&socket);
                let program = Program::start(command, &self.files.file("ubusd.log"));
                poll_until(SOON, "ubusd listens", || {
                    std::os::unix::net::UnixStream::connect(&socket).ok()
                });
                Running::Real { _program: program }
            }
        });
    }

    /// End it, with all its connections.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// A client of it.
    pub fn client(&self) -> Caller {
        Caller::connect(&self.socket())
    }

    /// What OpenWrt's own command line prints about it, if there is one on PATH.
    pub fn ubus(&self, words: &[&str]) -> Option<String> {
        on_path("ubus")?;
        let output = Command::new("ubus").arg("-s").arg(self.socket()).args(words).output();
        let output = output.expect("ubus runs");
        Some(String::from_utf8(output.stdout).expect("text"))
    }
}

/// A client that waits for its answers.
pub struct Caller {
    client: Client,
    runtime: Runtime,
    /// What was heard while waiting for something else.
    heard: Vec<(String, Value)>,
}

impl Caller {
    /// A client of the bus at this path.
    pub fn connect(path: &Path) -> Caller {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("runtime");
        let client = runtime.block_on(Client::connect(path)).expect("a bus");
        Caller { client, runtime, heard: Vec::new() }
    }

    /// The number of an object.
    pub fn lookup(&mut self, path: &str) -> Option<u32> {
        self.runtime.block_on(self.client.lookup(path)).expect("an answer")
    }

    /// Wait until there is such an object.
    pub fn wait_for(&mut self, path: &str) -> u32 {
        poll_until(SOON, &format!("{path} is on the bus"), || self.lookup(path))
    }

    /// The signature of an object.
    pub fn signature(&mut self, path: &str) -> Vec<u8> {
        let message = Message::new(kind::LOOKUP, 0, 0).text(attribute::OBJECT_PATH, path);
        let reply = self.runtime.block_on(self.client.request(message)).expect("an answer");
        let fields = reply.parts[0].fields().expect("well formed");
        fields.signature.expect("a signature").to_vec()
    }

    /// Offer an object.
    pub fn add(&mut self, object: &Object) -> Result<u32, Error> {
        self.runtime.block_on(self.client.add(object))
    }

    /// Call a method.
    pub fn call(&mut self, object: u32, method: &str, arguments: Value) -> (Status, Value) {
        let Value::Object(arguments) = arguments else { panic!("{arguments} is no table") };
        let ticket = self.client.call(object, method, &arguments).expect("sent");
        let reply = self.reply(ticket);
        (reply.0, Value::Object(reply.1))
    }

    fn reply(&mut self, ticket: Ticket) -> (Status, Map<String, Value>) {
        loop {
            match self.next(SOON).expect("an answer in time") {
                Incoming::Reply(of, reply) if of == ticket => {
                    return (reply.status, reply.table().expect("well formed"));
                }
                other => self.keep(other),
            }
        }
    }

    /// Hear these events, and the notifications of this object.
    pub fn listen(&mut self, pattern: &str, object: u32) {
        let listen = async {
            let listener = self.client.add_listener().await?;
            self.client.listen(listener, pattern).await?;
            self.client.subscribe(listener, object).await
        };
        self.runtime.block_on(listen).expect("allowed");
    }

    /// Everything heard until `enough` says so.
    pub fn hear(&mut self, what: &str, enough: impl Fn(&[(String, Value)]) -> bool) {
        while !enough(&self.heard) {
            let incoming = self.next(SOON);
            let incoming =
                incoming.unwrap_or_else(|| panic!("not heard: {what}: {:?}", self.heard));
            self.keep(incoming);
        }
    }

    fn keep(&mut self, incoming: Incoming) {
        if let Incoming::Call(call) = incoming {
            let table = call.table().expect("well formed");
            self.heard.push((call.method, Value::Object(table)));
        }
    }

    fn next(&mut self, limit: Duration) -> Option<Incoming> {
        let found = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, self.client.next()).await.ok() });
        found.map(|found| found.expect("connected"))
    }
}
