//! The messages of the kernel's routing socket that we send and read.
//!
//! Why: the message type of `rtnetlink` knows every kind of link, queue, filter and tunnel that
//! Linux has. Parsers, writers and texts for all of them are a quarter of the program, on routers
//! with 16 MB of flash; and an attribute of a link that they do not understand loses the link.
//!
//! How: [`Message`] is one of four verbs and one of four objects. Addresses, routes and rules are
//! those of `netlink-packet-route`; a [`Link`] is its header and the four attributes that matter.
//! `netlink-proto`, which `rtnetlink` brings, carries any type that can be written and read.
//!
//! Limits: objects of other kinds read as [`Object::Other`], whatever they hold.

use std::fmt;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkHeader, State};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use rtnetlink::packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkPayload,
    NetlinkSerializable, NlasIterator, Parseable, parse_string, parse_u8, parse_u32,
};

/// Number of the first message about links (`RTM_NEWLINK`, linux/rtnetlink.h); each kind of
/// object has four numbers, one for each verb.
const FIRST: u16 = 16;
/// `RTM_NEWADDR - RTM_NEWLINK`, and so on, in fours.
const LINKS: u16 = 0;
const ADDRESSES: u16 = 1;
const ROUTES: u16 = 2;
const RULES: u16 = 4;

/// Bytes of the header of a message about a link (`struct ifinfomsg`).
const LINK_HEADER: usize = 16;
/// Attributes of a link (linux/if_link.h).
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
/// The attribute in [`IFLA_LINKINFO`] that names the driver of a virtual device.
const IFLA_INFO_KIND: u16 = 1;
/// Bytes of an attribute that holds a number of 32 bits.
const NUMBER: usize = 8;

/// What a message does with its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// The kernel: it is there. We: make it.
    New,
    /// The kernel: it is gone. We: remove it.
    Del,
    /// Show it.
    Get,
    /// Change it.
    Set,
}

/// What a message is about.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Object {
    /// A network device.
    Link(Link),
    /// An address of a device.
    Address(AddressMessage),
    /// A route.
    Route(RouteMessage),
    /// A rule that leads to a table of routes.
    Rule(RuleMessage),
    /// Anything else.
    Other,
}

/// A network device as far as we look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Index, flags, and the flags to be changed.
    pub(crate) header: LinkHeader,
    /// Its name.
    pub(crate) name: Option<String>,
    /// Its maximum transmission unit in bytes.
    pub(crate) mtu: Option<u32>,
    /// Whether it can pass packets (RFC 2863).
    pub(crate) state: Option<State>,
    /// What kind of virtual device it is, such as `vlan`; hardware has none.
    pub(crate) kind: Option<String>,
}

/// A message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// What it does.
    pub(crate) verb: Verb,
    /// With what.
    pub(crate) object: Object,
}

impl fmt::Debug for Message {
    /// Only the kind: who writes out whole messages keeps the texts of all attributes in the
    /// program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = match &self.object {
            Object::Link(_) => "Link",
            Object::Address(_) => "Address",
            Object::Route(_) => "Route",
            Object::Rule(_) => "Rule",
            Object::Other => "Other",
        };
        write!(f, "{:?}{object}", self.verb)
    }
}

impl Link {
    /// The request that sets a device's MTU, if there is one.
    pub(crate) fn with_mtu(index: u32, mtu: Option<u32>) -> Link {
        let mut link = Link { mtu, ..Link::default() };
        link.header.index = index;
        link
    }

    /// The request that switches a device on, too.
    pub(crate) fn up(index: u32, mtu: Option<u32>) -> Link {
        let mut link = Link::with_mtu(index, mtu);
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link
    }

    fn parse(payload: &[u8]) -> Result<Link, DecodeError> {
        let mut link = Link { header: LinkHeader::parse(payload)?, ..Link::default() };
        for attribute in NlasIterator::new(payload.get(LINK_HEADER..).unwrap_or_default()) {
            let attribute = attribute?;
            match attribute.kind() {
                IFLA_IFNAME => link.name = Some(parse_string(attribute.value())?),
                IFLA_MTU => link.mtu = Some(parse_u32(attribute.value())?),
                IFLA_OPERSTATE => link.state = Some(State::from(parse_u8(attribute.value())?)),
                IFLA_LINKINFO => link.kind = info_kind(attribute.value()),
                _ => {}
            }
        }
        Ok(link)
    }

    fn len(&self) -> usize {
        LINK_HEADER + if self.mtu.is_some() { NUMBER } else { 0 }
    }

    /// Writes the header and the MTU; name and state are the kernel's to tell.
    fn emit(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(LINK_HEADER);
        self.header.emit(header);
        if let Some(mtu) = self.mtu {
            attributes[..2].copy_from_slice(&(NUMBER as u16).to_ne_bytes());
            attributes[2..4].copy_from_slice(&IFLA_MTU.to_ne_bytes());
            attributes[4..NUMBER].copy_from_slice(&mtu.to_ne_bytes());
        }
    }
}

/// The kind in the information about a virtual device. What makes no sense has none: a device is
/// never lost for it.
fn info_kind(info: &[u8]) -> Option<String> {
    let mut attributes = NlasIterator::new(info).map_while(Result::ok);
    let kind = attributes.find(|attribute| attribute.kind() == IFLA_INFO_KIND)?;
    parse_string(kind.value()).ok()
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        let kind = match &self.object {
            Object::Link(_) => LINKS,
            Object::Address(_) => ADDRESSES,
            Object::Route(_) => ROUTES,
            Object::Rule(_) => RULES,
            // Never sent: the kernel answers it with an error.
            Object::Other => u16::MAX / 4 - FIRST / 4,
        };
        FIRST + 4 * kind + self.verb as u16
    }

    fn buffer_len(&self) -> usize {
        match &self.object {
            Object::Link(link) => link.len(),
            Object::Address(message) => message.buffer_len(),
            Object::Route(message) => message.buffer_len(),
            Object::Rule(message) => message.buffer_len(),
            Object::Other => 0,
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match &self.object {
            Object::Link(link) => link.emit(buffer),
            Object::Address(message) => message.emit(buffer),
            Object::Route(message) => message.emit(buffer),
            Object::Rule(message) => message.emit(buffer),
            Object::Other => {}
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Message, DecodeError> {
        let number = header.message_type.wrapping_sub(FIRST);
        let verb = [Verb::New, Verb::Del, Verb::Get, Verb::Set][usize::from(number % 4)];
        let object = match number / 4 {
            LINKS => Object::Link(Link::parse(payload)?),
            ADDRESSES => Object::Address(AddressMessage::parse(payload)?),
            ROUTES => Object::Route(RouteMessage::parse(payload)?),
            RULES => Object::Rule(RuleMessage::parse(payload)?),
            _ => Object::Other,
        };
        Ok(Message { verb, object })
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> NetlinkPayload<Message> {
        NetlinkPayload::InnerMessage(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(message: &Message) -> Message {
        let mut bytes = vec![0xff; message.buffer_len()];
        message.serialize(&mut bytes);
        let mut header = NetlinkHeader::default();
        header.message_type = message.message_type();
        Message::deserialize(&header, &bytes).unwrap()
    }

    #[test]
    fn messages_are_numbered_as_the_kernel_does() {
        let number = |verb, object| Message { verb, object }.message_type();
        assert_eq!(number(Verb::New, Object::Link(Link::default())), libc_of("RTM_NEWLINK"));
        assert_eq!(number(Verb::Set, Object::Link(Link::default())), libc_of("RTM_SETLINK"));
        let address = || Object::Address(AddressMessage::default());
        assert_eq!(number(Verb::Get, address()), libc_of("RTM_GETADDR"));
        let route = || Object::Route(RouteMessage::default());
        assert_eq!(number(Verb::Del, route()), libc_of("RTM_DELROUTE"));
        let rule = || Object::Rule(RuleMessage::default());
        assert_eq!(number(Verb::New, rule()), libc_of("RTM_NEWRULE"));
    }

    fn libc_of(name: &str) -> u16 {
        use nix::libc;
        match name {
            "RTM_NEWLINK" => libc::RTM_NEWLINK,
            "RTM_SETLINK" => libc::RTM_SETLINK,
            "RTM_GETADDR" => libc::RTM_GETADDR,
            "RTM_DELROUTE" => libc::RTM_DELROUTE,
            _ => libc::RTM_NEWRULE,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for object in [
            Object::Link(Link::up(7, Some(1420))),
            Object::Link(Link::up(7, None)),
            Object::Address(AddressMessage::default()),
            Object::Route(RouteMessage::default()),
            Object::Rule(RuleMessage::default()),
        ] {
            for verb in [Verb::New, Verb::Del, Verb::Get, Verb::Set] {
                let message = Message { verb, object: object.clone() };
                assert_eq!(reread(&message), message);
            }
        }
    }

    #[test]
    fn a_link_is_read_whatever_else_it_has() {
        let mut bytes = vec![0; LINK_HEADER];
        bytes[4..8].copy_from_slice(&9u32.to_ne_bytes());
        for (kind, value) in [
            (IFLA_IFNAME, &b"wan\0"[..]),
            (IFLA_OPERSTATE, &[6, 0, 0, 0][..1]),
            // Linkinfo that makes no sense, and an attribute of a kernel to come.
            (18, &[1, 2, 3, 4]),
            (4000, &[]),
        ] {
            bytes.extend((4 + value.len() as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let link = Link::parse(&bytes).unwrap();
        assert_eq!((link.header.index, link.mtu), (9, None));
        assert_eq!((link.name.as_deref(), link.state), (Some("wan"), Some(State::Up)));
        // Truncated anywhere it is refused or read in part, never more.
        for len in 0..bytes.len() {
            let _ = Link::parse(&bytes[..len]);
        }
    }

    #[test]
    fn the_kind_of_a_virtual_device_is_read() {
        // An attribute of five bytes, padded, in front of the kind.
        let info = [5, 0, 9, 0, 1, 0, 0, 0, 8, 0, 1, 0, b't', b'u', b'n', 0];
        assert_eq!(info_kind(&info).as_deref(), Some("tun"));
        for len in 0..info.len() - 1 {
            assert_eq!(info_kind(&info[..len]), None);
        }
    }

    #[test]
    fn other_kinds_are_passed_over() {
        let mut header = NetlinkHeader::default();
        for number in [0, 15, 28, 36, 88, u16::MAX] {
            header.message_type = number;
            assert!(Message::deserialize(&header, &[1, 2]).unwrap().object == Object::Other);
        }
    }

    #[test]
    fn the_text_of_a_message_is_its_kind() {
        let message = Message { verb: Verb::Del, object: Object::Link(Link::default()) };
        assert_eq!(format!("{message:?}"), "DelLink");
    }
}
