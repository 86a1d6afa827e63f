//! Which devices discovery takes for WANs, by what drives them (`IFLA_INFO_KIND`).
//!
//! Why: a VPN, or a tunnel for one family, has a default route like a WAN. Whatever it carries
//! leaves by a WAN that is used already; a tunnel inside it adds its headers and its failures and
//! no bandwidth.
//!
//! | with a default route | kind | a WAN? |
//! |---|---|---|
//! | Ethernet, switch port (DSA), USB modem, Wi-Fi | none | yes |
//! | modem without Ethernet header (`qmi_wwan` with raw IP; its hardware type is `ARPHRD_NONE`, as that of a TUN device) | none | yes |
//! | modem of the WWAN subsystem or Qualcomm's | `wwan`, `rmnet` | yes |
//! | PPPoE, PPPoA, serial modem | `ppp` | yes; so is a VPN over PPTP or L2TP, which nothing tells apart |
//! | VLAN, bridge, bond | `vlan`, `bridge`, `bond`, `team` | yes: a WAN port is often one |
//! | second address or container on a port | `macvlan`, `macvtap`, `ipvlan`, `veth` | yes |
//! | TAP device | `tun`, with Ethernet headers | yes: the port of a virtual machine or an emulator; so is a VPN over TAP, which nothing tells apart |
//! | VPN | `wireguard`, `amneziawg`, `tun` without such headers, `ovpn`, `ovpn-dco`, `xfrm`, `vti`, `vti6` | no |
//! | tunnel for IPv6 over IPv4: 6in4, 6rd, 6to4 | `sit` | no: its IPv4 is a WAN |
//! | tunnel for IPv4 over IPv6: DS-Lite, MAP-E, lw4o6 | `ip6tnl` | no: its IPv6 is a WAN, by which a server with an IPv6 address is reached without the provider's translation |
//! | other tunnels | `ipip`, `gre`, `gretap`, `ip6gre`, `ip6gretap`, `erspan`, `ip6erspan`, `vxlan`, `geneve`, `gtp`, `bareudp` | no |
//!
//! Limits: only discovery asks. A WAN that the configuration names is used whatever it is, and with
//! the mode `off` it is not used, whatever it is: so a server with IPv4 only is reached through
//! DS-Lite with a `wan` section for its device.

use netlink_packet_route::link::LinkLayerType;

/// What drives TUN and TAP devices.
const TUN: &str = "tun";
/// Other tunnels over other interfaces.
const TUNNELS: [&str; 20] = [
    "wireguard",
    "amneziawg",
    "ovpn",
    "ovpn-dco",
    "xfrm",
    "vti",
    "vti6",
    "sit",
    "ip6tnl",
    "ipip",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "erspan",
    "ip6erspan",
    "vxlan",
    "geneve",
    "gtp",
    "bareudp",
];

/// Whether a device of this kind and hardware type is a tunnel over other interfaces.
pub(super) fn is_tunnel(kind: &str, hardware: LinkLayerType) -> bool {
    TUNNELS.contains(&kind) || (kind == TUN && hardware != LinkLayerType::Ether)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_table_is_decided() {
        let text = include_str!("kind.rs");
        let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
        let mut decided = 0;
        for row in rows {
            let mut cells = row.split(" | ").skip(1);
            let (Some(kinds), Some(verdict)) = (cells.next(), cells.next()) else { continue };
            let named = kinds.split('`').skip(1).step_by(2);
            let hardware = match kinds.contains("with Ethernet headers") {
                true => LinkLayerType::Ether,
                false => LinkLayerType::None,
            };
            for kind in named {
                assert_eq!(is_tunnel(kind, hardware), verdict.starts_with("no"), "{kind}");
                decided += 1;
            }
        }
        assert_eq!(decided, TUNNELS.len() + 13, "TUN, TAP and 11 kinds that are WANs");
    }
}
