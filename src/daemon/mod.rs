//! The running program: reads the configuration, keeps the tunnel up, answers the command line.
//!
//! How: one thread runs tokio for everything that may wait (netlink, names, the control socket,
//! ubus, signals), another the [`dataplane`](crate::dataplane). Once a second the state of things goes into the history
//! and the accounts of quotas. A reload that needs no new device changes the running
//! tunnel; one that does stops it and starts a new one. A configuration that does not parse
//! changes nothing.

mod addresses;
mod errors;
mod fallback;
pub mod files;
mod firewall;
pub mod logging;
mod names;
mod past;
mod peers;
mod quota;
mod report;
mod signals;
mod speed;
mod translate;
mod tunnel;
mod wans;

use crate::config::{Config, Diagnostic, Severity, WanLink, diff, has_errors};
use crate::control::server::{BindError, Call, ControlServer};
use crate::control::ubus::Ubus;
use crate::control::{Reloaded, Request, RequestError, Response, SECONDS, STEP, Way};
use crate::endpoint::{PeerError, PeerState};
use crate::engine;
use crate::status::calendar::{CLOCK_SET_S, Date};
use crate::status::events::Journal;
use crate::status::history::{Recorder, Step};
use crate::status::{self, Change, PathState, Problem, Problems, State, Status};
use crate::time::{SEC, Time};
use addresses::Addresses;
use errors::Errors;
use litemap::LiteMap;
use onebox_linux::{clock, system};
use onebox_openwrt::netifd::Interfaces;
use past::Past;
use quota::Quotas;
use signals::{Signal, Signals};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
pub use translate::private_key;
use tunnel::{Input, Tunnel};

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration has errors.
    #[error("{}: the configuration has errors, 'onebox check' shows them", .0.display())]
    Configuration(PathBuf),
    /// Logging could not be set up.
    #[error(transparent)]
    Logging(#[from] logging::LoggingError),
    /// The control socket could not be opened.
    #[error(transparent)]
    Control(#[from] BindError),
    /// Addresses, routes or rules could not be set.
    #[error(transparent)]
    System(#[from] system::Error),
    /// The system refused something else.
    #[error("{what}: {error}")]
    Io {
        /// What it is about.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The private key's file holds no key.
    #[error("{0}: holds no key; 'onebox genkey > {0}' makes one")]
    Key(String),
    /// A peer cannot be served.
    #[error("peer '{name}': {error}")]
    Peer {
        /// Its name.
        name: String,
        /// Why not.
        error: PeerError,
    },
    /// The thread that moves packets has ended.
    #[error("the data plane has ended")]
    DataPlane,
}

impl From<Error> for RequestError {
    fn from(error: Error) -> RequestError {
        match error {
            Error::DataPlane => RequestError::DataPlane,
            error => RequestError::Refused(error.to_string()),
        }
    }
}

impl Error {
    /// What the system said, if it is the one that refuses.
    pub fn system(&self) -> Option<&std::io::Error> {
        match self {
            Error::Unreadable { error, .. }
            | Error::Io { error, .. }
            | Error::Control(BindError::Io { error, .. })
            | Error::System(
                system::Error::Netlink { error, .. } | system::Error::Sysctl { error, .. },
            ) => Some(error),
            _ => None,
        }
    }

    fn io(what: &str, error: std::io::Error) -> Error {
        Error::Io { what: what.to_owned(), error }
    }
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// What prevents the start.
pub fn run(config_path: &Path, target: logging::Target) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("runtime", error))?;
    runtime.block_on(async {
        // Before anything is set: whatever a signal interrupts, all is undone.
        let mut signals = Signals::listen().map_err(|error| Error::io("signals", error))?;
        let config = Arc::new(prepare(config_path, target)?);
        let control = ControlServer::bind(&config.main.control)?;
        let (calls_in, calls) = mpsc::channel(1);
        let problems = Problems::default();
        let (sender, problems_too) = (calls_in.clone(), problems.clone());
        let path = config_path.to_owned();
        // Beside the start as well, and beside the end: who has asked waits for an answer.
        let whole = async move {
            let mut daemon =
                Daemon::start(path, config, sender, calls, problems_too, &mut signals).await?;
            let restart = daemon.serve(&mut signals).await;
            daemon.stop(restart).await;
            Ok(())
        };
        tokio::join!(whole, control.run(calls_in, problems)).0
    })
}

/// Reads the configuration and sets up logging, and tells what is wrong.
fn prepare(config_path: &Path, target: logging::Target) -> Result<Config, Error> {
    let (config, diagnostics) = load(config_path)?;
    let level = config.as_ref().map_or(log::LevelFilter::Info, |config| config.main.log_level);
    logging::init(target, level)?;
    for diagnostic in &diagnostics {
        let line = describe(config_path, diagnostic);
        match diagnostic.severity {
            Severity::Error => log::error!("{line}"),
            Severity::Warning => log::warn!("{line}"),
        }
    }
    config.ok_or_else(|| Error::Configuration(config_path.to_owned()))
}

/// Reads the configuration from its file.
///
/// # Errors
///
/// The file cannot be read.
pub fn load(path: &Path) -> Result<(Option<Config>, Vec<Diagnostic>), Error> {
    let text =
        read_bounded(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
    Ok(Config::parse(&text))
}

/// Reads a configuration's text; of a file that is too long, as much as shows that.
///
/// # Errors
///
/// What the system says.
pub fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    let bound = onebox_openwrt::uci::TEXT_MAX as u64 + 1;
    std::fs::File::open(path)?.take(bound).read_to_end(&mut text)?;
    Ok(text)
}

fn describe(path: &Path, diagnostic: &Diagnostic) -> String {
    format!("{}:{}: {diagnostic}", path.display(), diagnostic.line)
}

/// The program while it runs.
struct Daemon {
    path: PathBuf,
    config: Arc<Config>,
    /// None while the configuration says `enabled 0`.
    tunnel: Option<Tunnel>,
    ubus: Ubus,
    /// What netifd knows, as far as there is one.
    interfaces: Arc<Interfaces>,
    /// For those who call.
    calls_in: mpsc::Sender<Call>,
    calls: mpsc::Receiver<Call>,
    started: Time,
    quotas: Quotas,
    speed: speed::Results,
    past: Past,
    recorder: Recorder,
    journal: Journal,
    addresses: Addresses,
    errors: Errors,
    problems: Problems,
}

impl Daemon {
    async fn start(
        path: PathBuf,
        config: Arc<Config>,
        calls_in: mpsc::Sender<Call>,
        calls: mpsc::Receiver<Call>,
        problems: Problems,
        signals: &mut Signals,
    ) -> Result<Daemon, Error> {
        let mut ubus = Ubus::start(&config.main.ubus_socket, calls_in.clone(), problems.clone());
        // A tunnel that begins with the right devices need not move its paths at once.
        let by_name = |wan: &crate::config::Wan| matches!(wan.link, WanLink::Interface(_));
        let interfaces = match config.wans().iter().any(by_name) {
            true => tokio::select! {
                interfaces = ubus.interfaces() => interfaces,
                () = signals.stop() => Arc::default(),
            },
            false => Arc::default(),
        };
        let started = clock::now();
        let quotas = Quotas::open(state_directory(&config), started, problems.clone());
        let speed = speed::Results::open(translate::speed_file(&config.main.control));
        let unix_s = clock::unix_us() / SEC;
        let (past, recorder) = Past::open(&config, started, unix_s, problems.clone());
        let tunnel = start_tunnel(&config, &interfaces, &problems).await?;
        log::info!("onebox {} is running", env!("CARGO_PKG_VERSION"));
        let journal = Journal::default();
        Ok(Daemon {
            path,
            config,
            tunnel,
            ubus,
            interfaces,
            calls_in,
            calls,
            started,
            quotas,
            speed,
            past,
            recorder,
            journal,
            addresses: Addresses::default(),
            errors: Errors::default(),
            problems,
        })
    }

    /// Serves until it is told to stop; whether it will be started again at once.
    async fn serve(&mut self, signals: &mut Signals) -> bool {
        enum Next {
            Signal(Signal),
            Call(Call),
            Input(Input),
            Interfaces(Arc<Interfaces>),
            Tick,
        }
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.ubus.set_link(self.tunnel.as_ref().and_then(Tunnel::link));
            let next = tokio::select! {
                signal = signals.next() => Next::Signal(signal),
                Some(call) = self.calls.recv() => Next::Call(call),
                input = wait(&mut self.tunnel) => Next::Input(input),
                interfaces = self.ubus.changed() => Next::Interfaces(interfaces),
                _ = seconds.tick() => Next::Tick,
            };
            match next {
                Next::Signal(Signal::Stop) => return false,
                Next::Signal(Signal::Reload) => {
                    if let Err(problems) = self.reload().await {
                        log::error!("the configuration was not taken over:\n{problems}");
                    }
                }
                Next::Call(Call { request: Request::Stop { restart }, reply }) => {
                    let _ = reply.send(Ok(Response::Done));
                    return restart;
                }
                Next::Call(call) => {
                    let answer = self.handle_request(call.request).await;
                    let _ = call.reply.send(answer);
                }
                Next::Input(input) => {
                    if let Some(tunnel) = &mut self.tunnel
                        && let Some(change) = tunnel.handle(input).await
                    {
                        self.tell(change);
                    }
                }
                Next::Tick => self.on_tick().await,
                Next::Interfaces(interfaces) => {
                    self.interfaces = interfaces.clone();
                    if let Some(tunnel) = &mut self.tunnel {
                        tunnel.set_interfaces(interfaces).await;
                    }
                }
            }
        }
    }

    async fn stop(mut self, restart: bool) {
        log::info!("stopping");
        self.on_tick().await;
        self.quotas.save(clock::now());
        self.past.save(clock::now(), &self.recorder, true);
        self.ubus.withdraw().await;
        drop(self.ubus);
        if let Some(tunnel) = self.tunnel {
            tunnel.stop(restart && translate::stays_barred(&self.config, &self.config)).await;
        }
    }

    /// Writes down how things are.
    async fn on_tick(&mut self) {
        let Some(tunnel) = &mut self.tunnel else { return };
        let counted = self.config.wans().iter().any(|wan| wan.quota_mb.is_some());
        let Ok((total, peers)) = tunnel.sample(counted).await else { return };
        let (now, unix_s) = (clock::now(), clock::unix_us() / SEC);
        self.recorder.sample(now, unix_s, total, &peers);
        self.past.save(now, &self.recorder, false);
        self.journal.settle(unix_s);
        self.quotas.update(now, unix_s, self.config.wans(), &peers);
        self.speed.update(unix_s, &peers);
        self.addresses.note(now, &peers).iter().for_each(|line| log::info!("{line}"));
        // Also to a tunnel that has only just begun.
        tunnel.set_limited(self.quotas.full()).await;
        if self.errors.is_due(now)
            && let Ok(peers) = tunnel.of_router().await
        {
            self.errors.note(&peers).iter().for_each(|line| log::warn!("{line}"));
        }
        self.note_clock(now, unix_s);
    }

    /// Tells of a clock that was never set.
    fn note_clock(&self, now: Time, unix_s: u64) {
        if unix_s >= CLOCK_SET_S {
            self.problems.clear(Problem::ClockWrong, "");
            return;
        }
        let Date { year, month, day } = Date::of(unix_s);
        let date = format!("it says {year}-{month:02}-{day:02}");
        if self.problems.raise(now, Problem::ClockWrong, "", &date) {
            log::warn!("the clock is wrong, {date}: {}", Problem::ClockWrong.remedy());
        }
    }

    /// Tells a change of state, and writes it down.
    fn tell(&mut self, mut change: Change) {
        if let Change::Path { peer, wan, device, state: PathState::Backup, .. } = &change
            && let Some(quota) = self.quotas.reason(wan)
        {
            let (peer, wan, device) = (peer.clone(), wan.clone(), device.clone());
            change = Change::path(peer, wan, device, PathState::Backup, Some(quota));
        }
        self.journal.note(clock::unix_us() / SEC, &change);
        self.ubus.tell(change);
    }

    async fn handle_request(&mut self, request: Request) -> Result<Response, RequestError> {
        match request {
            Request::Status => Ok(Response::Status(Box::new(self.status().await?))),
            Request::History { since, step } => {
                let step = Step::of_seconds(step.unwrap_or(1));
                let step = step.ok_or(RequestError::BadArgument(STEP))?;
                Ok(Response::History(self.recorder.history(since.unwrap_or(0), step)))
            }
            Request::Events { since } => {
                Ok(Response::Events(self.journal.since(since.unwrap_or(0))))
            }
            Request::Reload => self.reload().await.map(Response::Reloaded),
            Request::Reconnect { peer } => {
                let tunnel = self.tunnel.as_ref().ok_or(RequestError::Disabled)?;
                if tunnel.reconnect(peer.as_deref()) {
                    Ok(Response::Done)
                } else {
                    Err(RequestError::UnknownPeer(peer.unwrap_or_default()))
                }
            }
            Request::Test { stop: true, .. } => {
                self.tunnel.as_ref().ok_or(RequestError::Disabled)?.stop_test();
                Ok(Response::Done)
            }
            Request::Test { wan, way, seconds, metered, .. } => {
                self.start_test(wan.as_deref(), way, seconds, metered).await
            }
            Request::SetPath { wan, mode } => {
                let tunnel = self.tunnel.as_mut().ok_or(RequestError::Disabled)?;
                if tunnel.set_mode(&wan, mode).await {
                    Ok(Response::Done)
                } else {
                    Err(RequestError::UnknownWan(wan))
                }
            }
            Request::Stop { .. } => Ok(Response::Done),
        }
    }

    /// Begins a speed test of a WAN, or of all that cost nothing.
    async fn start_test(
        &mut self,
        wan: Option<&str>,
        way: Option<Way>,
        seconds: Option<u64>,
        metered: bool,
    ) -> Result<Response, RequestError> {
        let seconds = seconds.unwrap_or(speed::SECONDS);
        if !(speed::SECONDS_MIN..=speed::SECONDS_MAX).contains(&seconds) {
            return Err(RequestError::BadArgument(SECONDS));
        }
        let ways: &[engine::Way] = match way {
            None => &[engine::Way::Down, engine::Way::Up],
            Some(Way::Down) => &[engine::Way::Down],
            Some(Way::Up) => &[engine::Way::Up],
        };
        let tunnel = self.tunnel.as_ref().ok_or(RequestError::Disabled)?;
        let (wans, quotas) = (self.config.wans(), &self.quotas);
        let left = |name: &str| {
            let Some(known) = wans.iter().find(|wan| wan.name == name) else { return Ok(u64::MAX) };
            match quotas.left(known) {
                _ if known.metered && !metered && wan.is_none() => {
                    Err("its bytes cost money; name it, or ask for --metered".to_owned())
                }
                Some(0) => Err("its quota is used up".to_owned()),
                left => Ok(left.unwrap_or(u64::MAX)),
            }
        };
        let id = self.speed.next();
        tunnel.start_test(id, wan, ways, seconds, left).await.map(Response::Testing)
    }

    async fn status(&self) -> Result<Status, Error> {
        let mut status = match &self.tunnel {
            Some(tunnel) => tunnel.status().await?,
            None => Status { state: State::Disabled, ..Status::default() },
        };
        self.quotas.show(self.config.wans(), &mut status);
        self.speed.show(clock::unix_us() / SEC, &mut status);
        let now = clock::now();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: status::Role::from(&self.config.main.role),
            uptime_s: now.since(self.started) / SEC,
            problems: self.problems.shown(now, clock::unix_us() / SEC),
            ..status
        })
    }

    /// Reads the configuration again and applies what has changed. Refused as a whole when it has
    /// errors.
    async fn reload(&mut self) -> Result<Reloaded, RequestError> {
        let (config, diagnostics) = load(&self.path)?;
        let lines = |severity| {
            let chosen = diagnostics.iter().filter(move |d| d.severity == severity);
            chosen.map(|d| describe(&self.path, d)).collect::<Vec<_>>()
        };
        let config = match config {
            Some(config) if !has_errors(&diagnostics) => Arc::new(config),
            _ => return Err(RequestError::Configuration(lines(Severity::Error))),
        };
        let warnings = lines(Severity::Warning);
        let change = diff(&self.config, &config);
        let changes = change.sentences();
        if let Some(level) = change.log_level {
            logging::set_level(level);
        }
        let before = self.peers();
        let outcome = if change.is_empty() {
            Ok(())
        } else if let (Some(tunnel), true) = (&mut self.tunnel, change.restart.is_empty()) {
            tunnel.reconfigure(config.clone(), &change).await
        } else {
            self.replace_tunnel(&config).await
        };
        self.tell_peers(&before);
        outcome?;
        if config.main.ubus_socket != self.config.main.ubus_socket {
            self.ubus =
                Ubus::start(&config.main.ubus_socket, self.calls_in.clone(), self.problems.clone());
        }
        self.past.set_config(&config);
        if config.main.state_dir != self.config.main.state_dir {
            self.quotas.save(clock::now());
            self.quotas =
                Quotas::open(state_directory(&config), clock::now(), self.problems.clone());
        }
        self.config = config;
        for sentence in &changes {
            log::info!("reload: {sentence}");
        }
        Ok(Reloaded { warnings, changes })
    }

    /// The peers and their states.
    fn peers(&self) -> LiteMap<String, PeerState> {
        self.tunnel.as_ref().map(Tunnel::peers).unwrap_or_default()
    }

    /// Tells which of these states are others now; a peer that has gone is down.
    fn tell_peers(&mut self, before: &LiteMap<String, PeerState>) {
        let now = self.peers();
        for (name, state) in before {
            let new = now.get(name).copied().unwrap_or(PeerState::Down);
            if new != *state {
                self.tell(Change::Peer { peer: name.clone(), state: new.into() });
            }
        }
    }

    /// Starts the tunnel anew; when that fails, with the old configuration.
    async fn replace_tunnel(&mut self, config: &Arc<Config>) -> Result<(), Error> {
        if let Some(tunnel) = self.tunnel.take() {
            tunnel.stop(translate::stays_barred(&self.config, config)).await;
        }
        self.problems.clear(Problem::TunnelStopped, "");
        match start_tunnel(config, &self.interfaces, &self.problems).await {
            Ok(tunnel) => {
                self.tunnel = tunnel;
                Ok(())
            }
            Err(error) => {
                let again = start_tunnel(&self.config, &self.interfaces, &self.problems).await;
                self.problems.note(clock::now(), Problem::TunnelStopped, "", &again);
                self.tunnel = again
                    .inspect_err(|again| log::error!("and the old configuration: {again}"))
                    .unwrap_or(None);
                Err(error)
            }
        }
    }
}

fn state_directory(config: &Config) -> PathBuf {
    config.main.state_dir.clone().unwrap_or_else(quota::default_directory)
}

/// Takes back what a program that is not there any more has left behind.
///
/// # Errors
///
/// The system refuses something.
pub fn clean(config_path: &Path) -> Result<(), Error> {
    let config = load(config_path).ok().and_then(|(config, _)| config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("runtime", error))?;
    runtime.block_on(tunnel::clean(config.as_ref()))
}

async fn start_tunnel(
    config: &Arc<Config>,
    interfaces: &Arc<Interfaces>,
    problems: &Problems,
) -> Result<Option<Tunnel>, Error> {
    if !config.main.enabled {
        return Ok(None);
    }
    Tunnel::start(config.clone(), interfaces.clone(), problems.clone()).await.map(Some)
}

/// Waits for the tunnel, for ever when there is none.
async fn wait(tunnel: &mut Option<Tunnel>) -> Input {
    match tunnel {
        Some(tunnel) => tunnel.wait().await,
        None => std::future::pending().await,
    }
}
