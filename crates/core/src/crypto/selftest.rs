//! Whether this build computes what every other one does.
//!
//! Why: a program built for a router's processor runs for the first time on the router. A wrong
//! byte order, a compiler's mistake or a damaged file must show before it answers the network, and
//! not as a tunnel that never comes up.
//!
//! How: [`checks`] computes the known answers of the algorithms, then the vectors of the protocol
//! (`crates/core/vectors/protocol.txt`, compiled in) through the code that packets take. [`Speed`] is
//! for whoever has a clock: how much a core can seal and open.
//!
//! Limits: nothing here is inlined, for the sake of size. It says that something is wrong, and with what; the unit tests say where.

use super::cookie;
use super::handshake::{Established, Hello, Incoming, Initiator};
use super::keys::{PresharedKey, PrivateKey};
use super::packet::{OpenKey, PacketNumber, PacketNumbers, SealKey, TAG_LEN};
use super::rng::SecretRng;
use crate::wire::frame::{Frames, PacketHead};
use crate::wire::header::{self, DataHeader};
use crate::wire::{Frame, PathId, Writer};

pub(super) const FILE: &str = include_str!("../../vectors/protocol.txt");

/// A check: what it is about, and whether the answers are right.
pub type Check = (&'static str, bool);

/// Every check, in the order in which one builds upon another. `seed` is random.
pub fn checks(seed: [u8; 32]) -> Vec<Check> {
    let vectors = Vectors::read(FILE).unwrap_or_default();
    vec![
        ("ChaCha20-Poly1305, RFC 8439", aead().is_some()),
        ("BLAKE3, three chunks", blake3_tree().is_some()),
        ("X25519, RFC 7748", x25519().is_some()),
        ("handshake and data packets, vectors of the protocol", protocol(&vectors).is_some()),
        ("headers and frames, vectors of the protocol", frames(&vectors).is_some()),
        ("two instances agree and refuse what was altered", two_instances(seed).is_some()),
    ]
}

/// Nothing unless it holds.
fn holds(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// Bytes of a text in hexadecimal; white space does not count.
#[inline(never)]
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16)).collect();
    let digits = digits?;
    holds(digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// The vectors of a file, in its order.
#[derive(Default)]
pub(super) struct Vectors(pub(super) Vec<(&'static str, Vec<u8>)>);

impl Vectors {
    /// A vector a line, `name = hex`, with indented lines to go on; `#` begins a comment.
    pub(super) fn read(file: &'static str) -> Option<Vectors> {
        let mut vectors: Vec<(&str, Vec<u8>)> = Vec::new();
        for line in file.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            match line.split_once('=') {
                Some((name, value)) => vectors.push((name.trim(), unhex(value)?)),
                None => vectors.last_mut()?.1.extend(unhex(line)?),
            }
        }
        Some(Vectors(vectors))
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, bytes)| bytes.as_slice())
    }

    fn array<const N: usize>(&self, name: &str) -> Option<[u8; N]> {
        self.get(name)?.try_into().ok()
    }
}

/// RFC 8439 §2.8.2.
fn aead() -> Option<()> {
    let key: [u8; 32] = core::array::from_fn(|i| 0x80 + i as u8);
    let header = unhex("50515253c0c1c2c3c4c5c6c7")?;
    let plaintext: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you \
only one tip for the future, sunscreen would be it.";
    let sealed = unhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
         3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
         92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
         3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
    )?;
    // The nonce of the RFC has the constant 07 00 00 00 where ours has the path id.
    let number = u64::from_le_bytes([0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47]);
    let mut buf = plaintext.to_vec();
    buf.resize(plaintext.len() + TAG_LEN, 0);
    SealKey::new(&key).seal(PacketNumber::known(7, number), &header, &mut buf).ok()?;
    holds(buf == sealed)?;
    let len = OpenKey::new(&key).open(7, number, &header, &mut buf).ok()?;
    holds(&buf[..len] == plaintext)
}

/// The case of 2049 bytes of BLAKE3's published vectors: two whole chunks and a third.
fn blake3_tree() -> Option<()> {
    let input: Vec<u8> = (0..2049u32).map(|i| (i % 251) as u8).collect();
    let hash = unhex("5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030")?;
    holds(blake3::hash(&input).as_bytes().as_slice() == hash)
}

/// RFC 7748 §6.1, the public key of Alice.
fn x25519() -> Option<()> {
    let private = unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")?;
    let public = unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")?;
    let private = PrivateKey::from_bytes(private.try_into().ok()?);
    holds(private.public().as_bytes().as_slice() == public)
}

/// Both ends of the handshake, and packets of both of them.
fn protocol(vectors: &Vectors) -> Option<()> {
    let initiator_private = PrivateKey::from_bytes(vectors.array("initiator_private")?);
    let responder_private = PrivateKey::from_bytes(vectors.array("responder_private")?);
    let psk = PresharedKey::from_bytes(vectors.array("preshared_key")?);
    let initiator_index = u32::from_le_bytes(vectors.array("initiator_index")?);
    let responder_index = u32::from_le_bytes(vectors.array("responder_index")?);
    let (mut initiator, init) = Initiator::new(
        &initiator_private,
        &responder_private.public(),
        &psk,
        Hello {
            index: initiator_index,
            instance: u64::from_le_bytes(vectors.array("initiator_instance")?),
            capabilities: u16::from_le_bytes(vectors.array("initiator_capabilities")?),
        },
        (u64::from_le_bytes(vectors.array("timestamp_us")?), Some(vectors.array("fresh")?)),
        vectors.array("initiator_seed")?,
    )
    .ok()?;
    holds(init[..] == *vectors.get("init")?)?;
    let server_key = responder_private.public();
    let (server, response) = Incoming::read(&responder_private, &init)
        .ok()?
        .respond(
            &psk,
            Hello {
                index: responder_index,
                instance: u64::from_le_bytes(vectors.array("responder_instance")?),
                capabilities: u16::from_le_bytes(vectors.array("responder_capabilities")?),
            },
            vectors.array("responder_seed")?,
        )
        .ok()?;
    holds(response[..] == *vectors.get("response")?)?;
    let retry = initiator.retry(vectors.get("retry")?).ok()?;
    holds(retry == vectors.array::<8>("fresh")?)?;
    let cookie = cookie::open_reply(&server_key, &init, vectors.get("cookie_reply")?).ok()?;
    holds(cookie == vectors.array::<16>("cookie")?)?;
    holds(cookie::with_cookie(&init, &cookie)[..] == *vectors.get("init_with_cookie")?)?;
    let client = initiator.finish(&response).ok()?;
    let plaintext = vectors.get("plaintext")?;
    for (name, from, to, number) in [
        ("to_responder_first", &client, &server, 0),
        ("to_responder_large", &client, &server, 0x1_0000_0007),
        ("to_initiator_first", &server, &client, 0),
        ("to_initiator_large", &server, &client, 0x1_0000_0007),
    ] {
        let datagram = sealed(from, PathId(2), number, plaintext)?;
        holds(datagram == vectors.get(name)?)?;
        holds(opened(to, &datagram, number)? == plaintext)?;
    }
    Some(())
}

/// A datagram, sealed as for the network.
#[inline(never)]
fn sealed(from: &Established, path: PathId, number: u64, plaintext: &[u8]) -> Option<Vec<u8>> {
    let head = DataHeader::bytes(path, from.remote_index, number);
    let mut buf = plaintext.to_vec();
    buf.resize(plaintext.len() + TAG_LEN, 0);
    from.seal.seal(PacketNumber::known(path.0, number), &head, &mut buf).ok()?;
    Some([&head[..], &buf].concat())
}

/// What is in a datagram whose number is near `highest`.
#[inline(never)]
fn opened(at: &Established, datagram: &[u8], highest: u64) -> Option<Vec<u8>> {
    let head = DataHeader::read(datagram).ok()?;
    let (bytes, sealed) = datagram.split_at_checked(header::LEN)?;
    let mut buf = sealed.to_vec();
    let len = at.open.open(head.path.0, head.number(highest), bytes, &mut buf).ok()?;
    buf.truncate(len);
    Some(buf)
}

/// Every frame, read and written.
fn frames(vectors: &Vectors) -> Option<()> {
    let head = DataHeader { path: PathId(2), receiver: 0x1122_3344, number_low: 7 };
    holds(DataHeader::read(vectors.get("data_header")?).ok()? == head)?;
    let from = vectors.0.iter().position(|(name, _)| *name == "data_header")? + 1;
    let rest = &vectors.0[from..];
    holds(!rest.is_empty())?;
    for (name, bytes) in rest {
        let mut out = [0; 128];
        let mut w = Writer::new(&mut out);
        for frame in Frames::new(bytes) {
            let frame = frame.ok()?;
            holds(match frame {
                // Where another frame follows, the packet has a length.
                Frame::Packet { flow, sequence, ordered, packet } if *name == "packet_sized" => {
                    PacketHead { flow, sequence, ordered }.write_sized(&mut w, packet)
                }
                frame => frame.write(&mut w),
            })?;
        }
        let len = w.len();
        // Padding has no frame of its own.
        let unpadded = name.strip_suffix("_padded").map_or(Some(&bytes[..]), |n| vectors.get(n))?;
        holds(out[..len] == *unpadded)?;
    }
    Some(())
}

fn hello(index: u32, instance: u64) -> Hello {
    Hello { index, instance, capabilities: 0 }
}

/// A handshake with fresh keys, and packets both ways.
fn two_instances(seed: [u8; 32]) -> Option<()> {
    let mut rng = SecretRng::new(seed);
    let (ours, theirs) = (PrivateKey::from_bytes(rng.seed()), PrivateKey::from_bytes(rng.seed()));
    let psk = PresharedKey::from_bytes(rng.seed());
    let (client, server) = session(&ours, &theirs, &psk, &psk, &mut rng)?;
    for len in [0, 1, 63, 64, 65, 255, 256, 257, 1500] {
        let mut packet = vec![0; len];
        rng.fill(&mut packet);
        for (from, to) in [(&client, &server), (&server, &client)] {
            let number = u64::from(rng.next_u32());
            let mut datagram = sealed(from, PathId(1), number, &packet)?;
            holds(opened(to, &datagram, number)? == packet)?;
            holds(opened(from, &datagram, number).is_none())?;
            *datagram.last_mut()? ^= 0x80;
            holds(opened(to, &datagram, number).is_none())?;
        }
    }
    let other = PresharedKey::from_bytes(rng.seed());
    holds(session(&ours, &theirs, &psk, &other, &mut rng).is_none())
}

/// Both ends of a session.
#[inline(never)]
fn session(
    ours: &PrivateKey,
    theirs: &PrivateKey,
    psk: &PresharedKey,
    their_psk: &PresharedKey,
    rng: &mut SecretRng,
) -> Option<(Established, Established)> {
    let seed = rng.seed();
    let (mut initiator, init) =
        Initiator::new(ours, &theirs.public(), psk, hello(1, rng.next_u64()), (1, None), seed)
            .ok()?;
    let incoming = Incoming::read(theirs, &init).ok()?;
    let instance = rng.next_u64();
    let (server, response) = incoming.respond(their_psk, hello(2, instance), rng.seed()).ok()?;
    Some((initiator.finish(&response).ok()?, server))
}

/// Seals and opens packets of one size, for whoever has a clock.
pub struct Speed {
    seal: SealKey,
    open: OpenKey,
    numbers: PacketNumbers,
    buf: Vec<u8>,
}

impl Speed {
    /// Packets of `len` bytes.
    pub fn new(len: usize) -> Speed {
        let key = [7; 32];
        Speed {
            seal: SealKey::new(&key),
            open: OpenKey::new(&key),
            numbers: PacketNumbers::new(0),
            buf: vec![0; len + TAG_LEN],
        }
    }

    /// Seals a packet, and opens it too if asked to; none when that fails.
    pub fn packet(&mut self, open: bool) -> Option<()> {
        let number = self.numbers.take()?;
        let value = number.value();
        let header = [0; header::LEN];
        self.seal.seal(number, &header, &mut self.buf).ok()?;
        if open {
            self.open.open(0, value, &header, &mut self.buf).ok()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_computes_what_every_other_does() {
        for (name, passed) in checks([5; 32]) {
            assert!(passed, "{name}");
        }
    }

    #[test]
    fn a_wrong_answer_is_seen() {
        for name in ["init", "response", "to_initiator_large", "key_to_responder", "ping_padded"] {
            let mut vectors = Vectors::read(FILE).unwrap();
            let vector = vectors.0.iter_mut().find(|(n, _)| *n == name).unwrap();
            *vector.1.last_mut().unwrap() ^= 1;
            let seen = protocol(&vectors).is_none() || frames(&vectors).is_none();
            assert_eq!(seen, name != "key_to_responder", "{name}");
        }
        let none = Vectors::default();
        assert!(protocol(&none).is_none() && frames(&none).is_none());
    }

    #[test]
    fn speed_is_measured_on_packets_that_open() {
        let mut speed = Speed::new(100);
        for open in [true, false, true] {
            assert_eq!(speed.packet(open), Some(()));
        }
    }
}
