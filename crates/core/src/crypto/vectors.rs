//! The protocol's known answers: `crates/core/vectors/protocol.txt`, which PROTOCOL.md repeats.
//!
//! Why: a change that both ends make at once is seen by no other test, and yet keeps every device
//! in the field from talking to a new one. And who writes another implementation wants bytes.
//!
//! How: [`computed`] makes every vector anew; where the code has a short cut (the context strings,
//! the split of the keys) it goes the long way of PROTOCOL.md instead. The file has a vector a
//! line, `name = hex`, with indented lines to go on; `#` begins a comment. After a change that is
//! wanted, `cargo test --lib vectors::print -- --ignored --nocapture` prints the file anew; its
//! text goes into PROTOCOL.md as well.

use super::cookie::{self, Secrets};
use super::handshake::{Hello, INIT_LEN, Incoming, Initiator, RESPONSE_LEN};
use super::keys::{PresharedKey, PrivateKey};
use super::noise::Noise;
use super::packet::{OpenKey, PacketNumber, SealKey, TAG_LEN};
use super::retry::Fresh;
use super::rng::SecretRng;
use super::selftest::{FILE, Vectors};
use crate::time::Time;
use crate::wire::frame::{self, Ack, Frame, PacketHead, Repair};
use crate::wire::header::{self, DataHeader};
use crate::wire::{AckRanges, PathId, Writer};

const PROTOCOL: &str = include_str!("../../../../PROTOCOL.md");

const INITIATOR_INDEX: u32 = 0x1122_3344;
const RESPONDER_INDEX: u32 = 0x5566_7788;
const INITIATOR_INSTANCE: u64 = 0x0102_0304_0506_0708;
const RESPONDER_INSTANCE: u64 = 0x1112_1314_1516_1718;
/// 15 January 2027, 08:00 UTC.
const TIMESTAMP_US: u64 = 1_800_000_000_000_000;
const FRESH: Fresh = [0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8];
const PATH: PathId = PathId(2);
/// Beyond the 32 bits that the header carries.
const LARGE: u64 = 0x1_0000_0007;

/// Bytes of a text in hexadecimal; white space does not count.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    super::selftest::unhex(text).expect("hexadecimal digits")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The vectors of the file, in its order.
fn stored() -> Vec<(&'static str, Vec<u8>)> {
    Vectors::read(FILE).expect("a file of vectors").0
}

/// Vectors under a heading.
type Section = (&'static str, Vec<(&'static str, Vec<u8>)>);

fn numbered(first: u8) -> [u8; 32] {
    core::array::from_fn(|i| first + i as u8)
}

/// The first 32 bytes that the generator of a handshake gives: its ephemeral private key.
fn ephemeral(seed: [u8; 32]) -> [u8; 32] {
    SecretRng::new(seed).seed()
}

/// A keyed BLAKE3 hash, cut to 16 bytes, under a key derived as PROTOCOL.md says.
fn short_mac(context: &str, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let key = blake3::derive_key(context, key);
    blake3::keyed_hash(&key, &parts.concat()).as_bytes()[..16].to_vec()
}

fn datagram(seal: &SealKey, receiver: u32, number: u64, plaintext: &[u8]) -> Vec<u8> {
    let head = DataHeader::bytes(PATH, receiver, number);
    let mut buf = plaintext.to_vec();
    buf.resize(plaintext.len() + TAG_LEN, 0);
    let number = PacketNumber::known(PATH.0, number);
    seal.seal(number, &head, &mut buf).unwrap();
    [&head[..], &buf].concat()
}

fn opened(open: &OpenKey, datagram: &[u8], number: u64) -> Vec<u8> {
    let (head, sealed) = datagram.split_at(header::LEN);
    let mut buf = sealed.to_vec();
    let len = open.open(PATH.0, number, head, &mut buf).unwrap();
    buf.truncate(len);
    buf
}

fn written(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = [0; 128];
    let mut w = Writer::new(&mut out);
    assert!(frames.iter().all(|frame| frame.write(&mut w)));
    let len = w.len();
    out[..len].to_vec()
}

/// Every vector, made anew.
fn computed() -> Vec<Section> {
    let initiator_private = PrivateKey::from_bytes(numbered(0x00));
    let responder_private = PrivateKey::from_bytes(numbered(0x20));
    let psk = PresharedKey::from_bytes(numbered(0x40));
    let (initiator_seed, responder_seed) = (numbered(0x60), numbered(0x80));
    let (remote, local) = (responder_private.public(), initiator_private.public());
    let (mut initiator, init) = Initiator::new(
        &initiator_private,
        &remote,
        &psk,
        Hello { index: INITIATOR_INDEX, instance: INITIATOR_INSTANCE, capabilities: 0x0102 },
        (TIMESTAMP_US, Some(FRESH)),
        initiator_seed,
    )
    .unwrap();
    let answer =
        Hello { index: RESPONDER_INDEX, instance: RESPONDER_INSTANCE, capabilities: 0x0302 };
    let (server, response) = Incoming::read(&responder_private, &init)
        .unwrap()
        .respond(&psk, answer, responder_seed)
        .unwrap();
    let mut rng = SecretRng::new(numbered(0xa0));
    let secrets = Secrets::new(Time(0), &mut rng);
    let source = "192.0.2.1:51830".parse().unwrap();
    let cookie_key = cookie::cookie_key(&remote);
    let cookie_reply = cookie::reply(&cookie_key, &secrets, &init, &source, &mut rng);
    let cookie = cookie::open_reply(&remote, &init, &cookie_reply).unwrap();
    let with_cookie = cookie::with_cookie(&init, &cookie);
    let retry = Incoming::read(&responder_private, &init).unwrap().retry(FRESH, &mut rng);
    assert_eq!(initiator.retry(&retry), Ok(FRESH));
    let client = initiator.finish(&response).unwrap();
    assert_eq!((client.capabilities, server.capabilities), (0x0102, 0x0102));

    // Once more without `handshake`: what is inside, and what comes out.
    let mut noise = Noise::responder(&responder_private).unwrap();
    let mut init_payload = [0; 48];
    noise.read(&init[8..152], &mut init_payload).unwrap();
    let retry_key = noise.interim();
    let timestamp = TIMESTAMP_US.to_le_bytes();
    let instance = INITIATOR_INSTANCE.to_le_bytes();
    let proof =
        short_mac("onebox v2 psk proof", &numbered(0x40), &[&init[8..40], &timestamp, &instance]);
    let response_payload =
        [&[2, 0][..], &RESPONDER_INSTANCE.to_le_bytes(), &RESPONDER_INDEX.to_le_bytes(), &[2, 3]]
            .concat();
    noise.prepare_answer(&psk, responder_seed).unwrap();
    let mut message = [0; 64];
    noise.write(&response_payload, &mut message).unwrap();
    assert_eq!(message[..], response[12..76]);
    let split = noise.split().unwrap().concat();
    let to_responder = blake3::derive_key("onebox v2 initiator to responder", &split);
    let to_initiator = blake3::derive_key("onebox v2 responder to initiator", &split);

    let plaintext = written(&[
        Frame::Ping { sent: 0x0a0b_0c0d },
        Frame::Packet { flow: 7, sequence: 1, ordered: true, packet: b"inner packet" },
    ]);
    let up = |number| datagram(&client.seal, RESPONDER_INDEX, number, &plaintext);
    let down = |number| datagram(&server.seal, INITIATOR_INDEX, number, &plaintext);
    for number in [0, LARGE] {
        assert_eq!(opened(&OpenKey::new(&to_responder), &up(number), number), plaintext);
        assert_eq!(opened(&OpenKey::new(&to_initiator), &down(number), number), plaintext);
    }

    vec![
        (
            "Given",
            vec![
                ("initiator_private", numbered(0x00).to_vec()),
                ("responder_private", numbered(0x20).to_vec()),
                ("preshared_key", numbered(0x40).to_vec()),
                ("initiator_seed", initiator_seed.to_vec()),
                ("responder_seed", responder_seed.to_vec()),
                ("timestamp_us", timestamp.to_vec()),
                ("initiator_instance", instance.to_vec()),
                ("responder_instance", RESPONDER_INSTANCE.to_le_bytes().to_vec()),
                ("initiator_index", INITIATOR_INDEX.to_le_bytes().to_vec()),
                ("responder_index", RESPONDER_INDEX.to_le_bytes().to_vec()),
                ("initiator_capabilities", 0x0102u16.to_le_bytes().to_vec()),
                ("responder_capabilities", 0x0302u16.to_le_bytes().to_vec()),
                ("fresh", FRESH.to_vec()),
                ("plaintext", plaintext.clone()),
            ],
        ),
        (
            "Keys that follow",
            vec![
                ("initiator_public", local.as_bytes().to_vec()),
                ("responder_public", remote.as_bytes().to_vec()),
                ("initiator_ephemeral_private", ephemeral(initiator_seed).to_vec()),
                ("initiator_ephemeral_public", init[8..40].to_vec()),
                ("responder_ephemeral_private", ephemeral(responder_seed).to_vec()),
                ("responder_ephemeral_public", response[12..44].to_vec()),
            ],
        ),
        (
            "Handshake",
            vec![
                ("psk_proof", proof),
                ("init_payload", init_payload.to_vec()),
                ("init_mac1", short_mac("onebox v2 mac1", remote.as_bytes(), &[&init[..152]])),
                ("init", init.to_vec()),
                ("response_payload", response_payload),
                (
                    "response_mac1",
                    short_mac("onebox v2 mac1", local.as_bytes(), &[&response[..76]]),
                ),
                ("response", response.to_vec()),
                ("noise_split", split),
                ("key_to_responder", to_responder.to_vec()),
                ("key_to_initiator", to_initiator.to_vec()),
            ],
        ),
        (
            "What a busy server answers, and one that has seen a later INIT",
            vec![
                ("cookie_key", cookie_key.to_vec()),
                ("cookie", cookie.to_vec()),
                ("cookie_reply", cookie_reply.to_vec()),
                ("init_with_cookie", with_cookie.to_vec()),
                ("retry_key", retry_key.to_vec()),
                ("retry", retry.to_vec()),
            ],
        ),
        (
            "Data datagrams on path 2: packet numbers 0 and 0x100000007",
            vec![
                ("to_responder_first", up(0)),
                ("to_responder_large", up(LARGE)),
                ("to_initiator_first", down(0)),
                ("to_initiator_large", down(LARGE)),
            ],
        ),
        ("Wire", wire()),
    ]
}

/// A header and every frame, unencrypted.
fn wire() -> Vec<(&'static str, Vec<u8>)> {
    let ranges = AckRanges::from_descending([(6, 9), (1, 2)].into_iter()).unwrap();
    let path = PathId(1);
    let ack = Ack { path, largest_low: 9, arrived: 0x0102, delay_us: 70, ranges };
    let mut sized = [0; 10];
    let head = PacketHead { flow: 0x0201, sequence: 5, ordered: true };
    assert!(head.write_sized(&mut Writer::new(&mut sized), b"ab"));
    let one = |frame: Frame<'_>| written(&[frame]);
    let mut padded = [0xff; 9];
    let mut w = Writer::new(&mut padded);
    assert!(Frame::Ping { sent: 0x0403_0201 }.write(&mut w) && frame::pad(&mut w, 3));
    vec![
        ("data_header", DataHeader::bytes(PATH, 0x1122_3344, 0x5_0000_0007).to_vec()),
        ("ping", one(Frame::Ping { sent: 0x0403_0201 })),
        ("ping_padded", padded.to_vec()),
        ("pong", one(Frame::Pong { echo: 0x0403_0201 })),
        ("ack", one(Frame::Ack(ack))),
        ("challenge", one(Frame::Challenge { data: 0x0807_0605_0403_0201 })),
        ("challenge_response", one(Frame::Response { data: 0x0807_0605_0403_0201 })),
        (
            "path_status",
            one(Frame::PathStatus { path, mode: 1, metered: true, rate_max_kbps: 8000 }),
        ),
        (
            "path_report",
            one(Frame::PathReport {
                path,
                loss_ppm: 1200,
                rate_kbps: 40_000,
                capacity_kbps: 50_000,
            }),
        ),
        ("hold", one(Frame::Hold { us: 90_000 })),
        ("skip", one(Frame::Skip { flow: 513, first: 0xff_fffe, count: 2 })),
        ("close", one(Frame::Close { reason: 1 })),
        (
            "repair",
            one(Frame::Repair(Repair {
                first: 0x0403_0201,
                members: 0x8000_0000_0000_0005,
                lengths: 0x0605,
                parity: b"parity",
            })),
        ),
        ("load", one(Frame::Load { id: 0x0403_0201, paths: 3, ms: 5000, kbytes: 256_000 })),
        ("load_state", one(Frame::LoadState { id: 0x0403_0201, state: 3, wait_s: 600 })),
        (
            "observed_address_v4",
            one(Frame::ObservedAddress { address: ([203, 0, 113, 7], 40_001).into() }),
        ),
        (
            "observed_address_v6",
            one(Frame::ObservedAddress {
                address: ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 40_001).into(),
            }),
        ),
        ("packet_sized", sized.to_vec()),
        (
            "packet_to_the_end",
            one(Frame::Packet { flow: 1, sequence: 6, ordered: false, packet: b"cd" }),
        ),
    ]
}

#[test]
fn every_vector_is_recomputed() {
    let stored = stored();
    let computed: Vec<_> = computed().into_iter().flat_map(|(_, vectors)| vectors).collect();
    for ((name, bytes), (stored_name, stored_bytes)) in computed.iter().zip(&stored) {
        assert_eq!(name, stored_name, "order of the vectors");
        assert_eq!(hex(bytes), hex(stored_bytes), "{name}");
    }
    assert_eq!(computed.len(), stored.len());
}

#[test]
fn the_vectors_fit_together() {
    let stored = stored();
    let get = |name: &str| &stored.iter().find(|(n, _)| *n == name).unwrap().1;
    let (init, response) = (get("init"), get("response"));
    assert_eq!((init.len(), response.len()), (INIT_LEN, RESPONSE_LEN));
    assert_eq!(init[8..40], get("initiator_ephemeral_public")[..]);
    assert_eq!(init[152..168], get("init_mac1")[..]);
    assert_eq!(init[168..], [0; 16]);
    assert_eq!(response[76..92], get("response_mac1")[..]);
    assert_eq!(response[92..], [0; 16]);
    assert_eq!(get("init_payload")[32..], get("psk_proof")[..]);
    for side in ["initiator", "responder"] {
        for (private, public) in [("private", "public"), ("ephemeral_private", "ephemeral_public")]
        {
            let private = get(&format!("{side}_{private}")).as_slice().try_into().unwrap();
            let public = get(&format!("{side}_{public}"));
            assert_eq!(PrivateKey::from_bytes(private).public().as_bytes(), public.as_slice());
        }
    }
    // The header carries the low half, the receiver restores the rest.
    let large = DataHeader::read(get("to_responder_large")).unwrap();
    assert_eq!((large.path, large.receiver, large.number_low), (PATH, RESPONDER_INDEX, 7));
    assert_eq!(large.number(0x1_0000_0000), LARGE);
}

#[test]
fn every_vector_stands_in_the_protocol() {
    for line in FILE.lines() {
        assert!(PROTOCOL.lines().any(|l| l == line), "not in PROTOCOL.md: {line}");
    }
    assert!(PROTOCOL.contains(FILE), "PROTOCOL.md has the vectors in another order");
}

#[test]
#[ignore = "prints the file anew, after a change of the protocol that is wanted"]
fn print() {
    println!("# Test vectors of the onebox protocol, version 2; see PROTOCOL.md.");
    println!(
        "# A vector a line, in hexadecimal, indented lines go on. Integers are little-endian."
    );
    for (heading, vectors) in computed() {
        println!("\n# {heading}");
        for (name, bytes) in vectors {
            let lines: Vec<String> = bytes.chunks(32).map(hex).collect();
            match &lines[..] {
                [line] => println!("{name} = {line}"),
                lines => println!("{name} =\n  {}", lines.join("\n  ")),
            }
        }
    }
}
