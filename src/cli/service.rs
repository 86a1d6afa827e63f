//! The service that runs the program on this system: procd's or systemd's.
//!
//! Limits: a service is for the configuration at its usual place. Elsewhere, and where there is
//! neither, the user starts the program.

use crate::config::DEFAULT_PATH;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where packages install units.
const UNITS: [&str; 3] = ["/etc", "/lib", "/usr/lib"];

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// OpenWrt's.
    Procd,
    /// That of most other systems.
    Systemd,
}

impl Service {
    /// The one that runs a program with this configuration, if there is one.
    pub(super) fn of(config: &Path) -> Option<Service> {
        if config != Path::new(DEFAULT_PATH) {
            return None;
        }
        let unit = |root: &str| Path::new(root).join("systemd/system/onebox.service").exists();
        if Path::new("/etc/init.d/onebox").exists() {
            Some(Service::Procd)
        } else if Path::new("/run/systemd/system").exists() && UNITS.iter().any(|root| unit(root)) {
            Some(Service::Systemd)
        } else {
            None
        }
    }

    /// What starts it, now and at each boot.
    fn commands(self) -> &'static [&'static [&'static str]] {
        match self {
            Service::Procd => {
                &[&["/etc/init.d/onebox", "enable"], &["/etc/init.d/onebox", "restart"]]
            }
            Service::Systemd => &[&["systemctl", "enable", "--now", "onebox"]],
        }
    }

    /// Starts it, now and at each boot.
    ///
    /// # Errors
    ///
    /// The command that did not do it, and why, in words.
    pub(super) fn start(self) -> Result<(), String> {
        for words in self.commands() {
            let Some((program, rest)) = words.split_first() else { continue };
            // What it has to say is for the user; of what follows here, nothing is for it.
            let ended = Command::new(program).args(rest).stdin(Stdio::null()).status();
            let shown = words.join(" ");
            match ended {
                Ok(status) if status.success() => {}
                Ok(status) => return Err(format!("'{shown}' failed, {status}")),
                Err(error) => return Err(format!("'{shown}': {error}")),
            }
        }
        Ok(())
    }
}

/// How the program is started here, for people.
pub(super) fn start_command(config: &Path) -> String {
    if let Some(service) = Service::of(config) {
        let commands: Vec<String> =
            service.commands().iter().map(|words| words.join(" ")).collect();
        return commands.join("; ");
    }
    if config == Path::new(DEFAULT_PATH) {
        "onebox start".to_owned()
    } else {
        format!("onebox start -c {}", config.display())
    }
}
