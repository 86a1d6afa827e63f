//! What kind of connection a device is, for people.
//!
//! How: what sysfs says of it (Documentation/ABI/testing/sysfs-class-net): its hardware type, the
//! kind of device in `uevent`, and the driver behind it. Modems on USB look like Ethernet but for
//! their driver.
//!
//! Limits: a modem behind a router of its own is Ethernet.

use std::fs;
use std::path::Path;

/// Hardware type of PPP (`ARPHRD_PPP`, linux/if_arp.h).
const PPP: &str = "512";
/// Drivers of mobile modems on USB and PCIe.
const MODEMS: [&str; 10] = [
    "cdc_ether",
    "cdc_mbim",
    "cdc_ncm",
    "huawei_cdc_ncm",
    "ipheth",
    "mhi_net",
    "mtk_t7xx",
    "option",
    "qmi_wwan",
    "rndis_host",
];

/// A kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A cable, or what looks like one.
    Ethernet,
    /// Wi-Fi.
    Wifi,
    /// A mobile network.
    Mobile,
    /// PPP: DSL with a login, mostly.
    Ppp,
}

impl LinkKind {
    /// Its stable name.
    pub fn code(self) -> &'static str {
        match self {
            LinkKind::Ethernet => "ethernet",
            LinkKind::Wifi => "wifi",
            LinkKind::Mobile => "mobile",
            LinkKind::Ppp => "ppp",
        }
    }

    /// That of a device; None if there is no such device.
    pub fn of(device: &str) -> Option<LinkKind> {
        LinkKind::read(&Path::new("/sys/class/net").join(device))
    }

    fn read(folder: &Path) -> Option<LinkKind> {
        let hardware = fs::read_to_string(folder.join("type")).ok()?;
        let uevent = fs::read_to_string(folder.join("uevent")).unwrap_or_default();
        let devtype = uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE="));
        let driver = fs::read_link(folder.join("device/driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        Some(match (devtype, driver) {
            (Some("wlan"), _) => LinkKind::Wifi,
            (Some("wwan"), _) => LinkKind::Mobile,
            (_, Some(driver)) if MODEMS.contains(&driver) => LinkKind::Mobile,
            _ if hardware.trim() == PPP => LinkKind::Ppp,
            _ => LinkKind::Ethernet,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_what_sysfs_says() {
        let root = std::env::temp_dir().join(format!("onebox-kinds-{}", std::process::id()));
        let kind = |name: &str, hardware: &str, uevent: &str, driver: Option<&str>| {
            let folder = root.join(name);
            fs::create_dir_all(folder.join("device")).unwrap();
            fs::write(folder.join("type"), hardware).unwrap();
            fs::write(folder.join("uevent"), uevent).unwrap();
            if let Some(driver) = driver {
                let link = format!("../../../bus/usb/drivers/{driver}");
                std::os::unix::fs::symlink(link, folder.join("device/driver")).unwrap();
            }
            LinkKind::read(&folder).unwrap()
        };
        assert_eq!(kind("eth0", "1\n", "INTERFACE=eth0\n", Some("mt7530")), LinkKind::Ethernet);
        assert_eq!(kind("br-wan", "1\n", "DEVTYPE=bridge\n", None), LinkKind::Ethernet);
        assert_eq!(kind("phy0-sta0", "1\n", "DEVTYPE=wlan\n", None), LinkKind::Wifi);
        assert_eq!(kind("wwan0", "65534\n", "DEVTYPE=wwan\n", Some("qmi_wwan")), LinkKind::Mobile);
        assert_eq!(kind("eth2", "1\n", "INTERFACE=eth2\n", Some("rndis_host")), LinkKind::Mobile);
        assert_eq!(kind("pppoe-wan", "512\n", "INTERFACE=pppoe-wan\n", None), LinkKind::Ppp);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(LinkKind::of("no such device"), None);
        assert!(LinkKind::of("lo").is_some());
    }
}
