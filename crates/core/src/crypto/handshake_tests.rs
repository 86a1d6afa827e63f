//! What a handshake must do, and what nobody may make it do.

use super::super::packet::{PacketNumbers, TAG_LEN};
use super::*;
use crate::crypto::guard::{InitGuard, Verdict};

const SENDER: u32 = 0x0102_0304;
const ANSWERER: u32 = 0x0506_0708;
const TIMESTAMP_US: u64 = 1_800_000_000_000_000;
const CLIENT_RUN: u64 = 77;
const SERVER_RUN: u64 = 88;
const HELLO: Hello = Hello { index: SENDER, instance: CLIENT_RUN, capabilities: 0b110 };
const ANSWER: Hello = Hello { index: ANSWERER, instance: SERVER_RUN, capabilities: 0b011 };

/// The devices of a test: both sides, and what they share.
struct Devices {
    client: PrivateKey,
    server: PrivateKey,
    psk: PresharedKey,
}

fn devices() -> Devices {
    Devices {
        client: PrivateKey::from_bytes([1; 32]),
        server: PrivateKey::from_bytes([2; 32]),
        psk: PresharedKey::from_bytes([3; 32]),
    }
}

impl Devices {
    fn init(&self, seed: u8) -> (Initiator, [u8; INIT_LEN]) {
        self.init_to(&self.server.public(), &self.psk, seed)
    }

    fn init_to(&self, to: &PublicKey, psk: &PresharedKey, seed: u8) -> (Initiator, [u8; INIT_LEN]) {
        Initiator::new(&self.client, to, psk, HELLO, (TIMESTAMP_US, None), [seed; 32]).unwrap()
    }

    fn read(&self, init: &[u8]) -> Result<Incoming, Error> {
        Incoming::read(&self.server, init)
    }

    fn respond(&self, init: &[u8], seed: u8) -> (Established, [u8; RESPONSE_LEN]) {
        let incoming = self.read(init).unwrap();
        incoming.respond(&self.psk, ANSWER, [seed; 32]).unwrap()
    }

    /// Both ends of a session.
    fn session(&self) -> (Established, Established) {
        let (mut initiator, init) = self.init(10);
        let (server, response) = self.respond(&init, 11);
        (initiator.finish(&response).unwrap(), server)
    }
}

/// What `seal` seals as the first packet of path 2.
fn sealed(seal: &SealKey, plaintext: &[u8]) -> Vec<u8> {
    let mut buf = plaintext.to_vec();
    buf.resize(plaintext.len() + TAG_LEN, 0);
    let number = PacketNumbers::new(2).take().unwrap();
    seal.seal(number, b"header", &mut buf).unwrap();
    buf
}

fn opens(open: &OpenKey, mut buf: Vec<u8>) -> Result<Vec<u8>, Error> {
    let len = open.open(2, 0, b"header", &mut buf)?;
    buf.truncate(len);
    Ok(buf)
}

/// An INIT whose payload says what `change` makes of it; everything else is in order.
fn init_with_payload(d: &Devices, change: impl Fn(&mut [u8])) -> [u8; INIT_LEN] {
    let server = d.server.public();
    let (mut noise, ephemeral) = Noise::initiator(&d.client, &server, &d.psk, [9; 32]).unwrap();
    let stamp = Stamp { ephemeral, timestamp_us: TIMESTAMP_US, instance: CLIENT_RUN };
    let mut payload = [0; INIT_PAYLOAD_LEN];
    payload[0] = VERSION;
    payload[2..10].copy_from_slice(&TIMESTAMP_US.to_le_bytes());
    payload[10..18].copy_from_slice(&CLIENT_RUN.to_le_bytes());
    payload[18..22].copy_from_slice(&SENDER.to_le_bytes());
    payload[INIT_PROOF..].copy_from_slice(&psk_proof(&d.psk, &stamp));
    change(&mut payload);
    let mut init = [0; INIT_LEN];
    init[0] = TYPE_INIT;
    init[4..8].copy_from_slice(&SENDER.to_le_bytes());
    noise.write(&payload, &mut init[INIT_HEADER_LEN..INIT_MAC1]).unwrap();
    put_mac1(&server, &mut init, INIT_MAC1);
    init
}

/// A RESPONSE of the right peer whose payload says another version.
fn response_of_version(d: &Devices, init: &[u8], version: u8) -> [u8; RESPONSE_LEN] {
    let mut incoming = d.read(init).unwrap();
    let mut payload = [0; RESPONSE_PAYLOAD_LEN];
    payload[0] = version;
    let mut response = [0; RESPONSE_LEN];
    response[0] = TYPE_RESPONSE;
    response[8..12].copy_from_slice(&init[4..8]);
    incoming.noise.prepare_answer(&d.psk, [8; 32]).unwrap();
    let message = &mut response[RESPONSE_HEADER_LEN..RESPONSE_MAC1];
    incoming.noise.write(&payload, message).unwrap();
    put_mac1(&d.client.public(), &mut response, RESPONSE_MAC1);
    response
}

/// An INIT of a client that speaks another version.
pub(crate) fn init_of_version(keys: [&PrivateKey; 2], psk: u8, version: u8) -> [u8; INIT_LEN] {
    let [client, server] = keys.map(PrivateKey::clone);
    let d = Devices { client, server, psk: PresharedKey::from_bytes([psk; 32]) };
    init_with_payload(&d, |payload| payload[0] = version)
}

/// What a server of another version answers to an INIT.
pub(crate) fn answer_of_version(
    keys: [&PrivateKey; 2],
    psk: u8,
    version: u8,
    init: &[u8],
) -> [u8; RESPONSE_LEN] {
    let [client, server] = keys.map(PrivateKey::clone);
    let d = Devices { client, server, psk: PresharedKey::from_bytes([psk; 32]) };
    response_of_version(&d, init, version)
}

#[test]
fn keys_open_each_others_packets_in_both_directions() {
    let d = devices();
    let (client, server) = d.session();
    let up = sealed(&client.seal, b"to the server");
    let down = sealed(&server.seal, b"to the client");
    assert_eq!(opens(&server.open, up.clone()).unwrap(), b"to the server");
    assert_eq!(opens(&client.open, down.clone()).unwrap(), b"to the client");
    // A packet that is thrown back at its sender opens nothing: each direction has its own key.
    assert_eq!(opens(&client.open, up), Err(Error::Decrypt));
    assert_eq!(opens(&server.open, down), Err(Error::Decrypt));

    assert_eq!((client.remote_index, client.remote_instance), (ANSWERER, SERVER_RUN));
    assert_eq!((server.remote_index, server.remote_instance), (SENDER, CLIENT_RUN));
}

#[test]
fn the_responder_learns_whose_init_it_is() {
    let d = devices();
    let (initiator, init) = d.init(10);
    let incoming = d.read(&init).unwrap();
    assert_eq!(incoming.remote, d.client.public());
    assert_eq!(incoming.remote_index, SENDER);
    assert_eq!(incoming.stamp.ephemeral, init[8..40]);
    assert_eq!(incoming.stamp.timestamp_us, TIMESTAMP_US);
    assert_eq!(incoming.stamp.instance, CLIENT_RUN);
    // A stranger is found out by its key alone; whether it is a peer, the caller says.
    let stranger = Devices { client: PrivateKey::from_bytes([6; 32]), ..devices() };
    let incoming = d.read(&stranger.init(10).1).unwrap();
    assert_eq!(incoming.remote, stranger.client.public());
    assert_ne!(incoming.remote, d.client.public());
    assert_eq!(format!("{initiator:?}"), "Initiator { sender_index: 16909060, .. }");
}

#[test]
fn a_wrong_preshared_key_is_not_answered() {
    let d = devices();
    for psk in [PresharedKey::none(), PresharedKey::from_bytes([4; 32])] {
        let (_, init) = d.init_to(&d.server.public(), &psk, 10);
        let incoming = d.read(&init).unwrap();
        let answer = incoming.respond(&d.psk, ANSWER, [11; 32]);
        assert_eq!(answer.err(), Some(Error::WrongPsk));
        let incoming = d.read(&d.init(10).1).unwrap();
        let answer = incoming.respond(&psk, ANSWER, [11; 32]);
        assert_eq!(answer.err(), Some(Error::WrongPsk));
    }
    // Without a preshared key on both sides there is one all the same, and it is known.
    let open = Devices { psk: PresharedKey::none(), ..devices() };
    open.session();
}

#[test]
fn the_proof_of_the_preshared_key_belongs_to_one_init() {
    let d = devices();
    let other = d.read(&d.init(12).1).unwrap().proof;
    let init = init_with_payload(&d, |payload| payload[INIT_PROOF..].copy_from_slice(&other));
    let answer = d.read(&init).unwrap().respond(&d.psk, ANSWER, [11; 32]);
    assert_eq!(answer.err(), Some(Error::WrongPsk));
    for at in [2, 9, 10, 17] {
        let init = init_with_payload(&d, |payload| payload[at] ^= 1);
        let answer = d.read(&init).unwrap().respond(&d.psk, ANSWER, [11; 32]);
        assert_eq!(answer.err(), Some(Error::WrongPsk), "payload byte {at}");
    }
}

#[test]
fn an_init_for_another_key_is_refused_before_anything_is_computed() {
    let d = devices();
    let other = PrivateKey::from_bytes([5; 32]).public();
    let (_, mut init) = d.init_to(&other, &d.psk, 10);
    assert_eq!(d.read(&init).err(), Some(Error::WrongMac));
    // Who knows the public key can make the mac, but not the message.
    put_mac1(&d.server.public(), &mut init, INIT_MAC1);
    assert_eq!(d.read(&init).err(), Some(Error::Decrypt));
}

#[test]
fn a_response_that_another_device_has_made_is_refused() {
    let d = devices();
    let (mut initiator, init) = d.init(10);
    let impostor = Devices { server: PrivateKey::from_bytes([5; 32]), ..devices() };
    let (_, theirs) = impostor.init(10);
    let (_, mut response) = impostor.respond(&theirs, 11);
    assert_eq!(initiator.finish(&response).err(), Some(Error::Decrypt));
    put_mac1(&impostor.server.public(), &mut response, RESPONSE_MAC1);
    assert_eq!(initiator.finish(&response).err(), Some(Error::WrongMac));
    let (_, response) = d.respond(&init, 11);
    initiator.finish(&response).unwrap();
}

#[test]
fn keys_with_which_nothing_can_be_agreed_on_are_refused() {
    let d = devices();
    let weak = PublicKey::from_bytes([0; 32]);
    let initiator = Initiator::new(&d.client, &weak, &d.psk, HELLO, (TIMESTAMP_US, None), [1; 32]);
    assert_eq!(initiator.err(), Some(Error::WeakKey));

    let (mut initiator, mut init) = d.init(10);
    let (_, right) = d.respond(&init, 11);
    init[8..40].fill(0);
    put_mac1(&d.server.public(), &mut init, INIT_MAC1);
    assert_eq!(d.read(&init).err(), Some(Error::WeakKey));
    let mut response = right;
    response[12..44].fill(0);
    put_mac1(&d.client.public(), &mut response, RESPONSE_MAC1);
    assert_eq!(initiator.finish(&response).err(), Some(Error::WeakKey));
    initiator.finish(&right).unwrap();
}

#[test]
fn another_version_is_refused_on_both_sides() {
    let d = devices();
    assert_eq!(d.read(&init_with_payload(&d, |_| ())).unwrap().other_version(), None);
    for version in [0, 1, 255] {
        // The server finds out, and answers with its own: so the client finds out as well.
        let init = init_with_payload(&d, |payload| payload[0] = version);
        let incoming = d.read(&init).unwrap();
        assert_eq!(incoming.other_version(), Some(version));
        incoming.respond(&d.psk, ANSWER, [11; 32]).unwrap();

        let (mut initiator, init) = d.init(10);
        let response = response_of_version(&d, &init, version);
        assert_eq!(initiator.finish(&response).err(), Some(Error::WrongVersion(version)));
        // The peer itself has said so: another answer to this INIT is of no use.
        let (_, right) = d.respond(&init, 11);
        assert_eq!(initiator.finish(&right).err(), Some(Error::Spent));
    }
}

#[test]
fn what_both_can_do_is_known_to_both() {
    let (client, server) = devices().session();
    assert_eq!((client.capabilities, server.capabilities), (0b010, 0b010));
}

#[test]
fn only_the_sender_of_an_init_can_open_the_retry() {
    let d = devices();
    let fresh = [1, 2, 3, 4, 5, 6, 7, 8];
    let (mut initiator, init) = d.init(10);
    let mut rng = SecretRng::new([4; 32]);
    let retry = d.read(&init).unwrap().retry(fresh, &mut rng);
    assert_ne!(retry, d.read(&init).unwrap().retry(fresh, &mut rng), "another nonce each time");
    assert_eq!(retry::receiver(&retry), Some(SENDER));
    assert_eq!(initiator.retry(&retry), Ok(fresh));
    assert_eq!(d.init(11).0.retry(&retry), Err(Error::Decrypt));
    for place in 1..RETRY_LEN {
        let mut damaged = retry;
        damaged[place] ^= 1;
        assert_eq!(initiator.retry(&damaged), Err(Error::Decrypt), "{place}");
    }
    assert_eq!(initiator.retry(&retry[1..]), Err(Error::Malformed));
    // What it says is in the next INIT, and the handshake goes on as ever.
    let server = d.server.public();
    let when = (TIMESTAMP_US + 1, Some(fresh));
    let (_, init) = Initiator::new(&d.client, &server, &d.psk, HELLO, when, [12; 32]).unwrap();
    assert_eq!(d.read(&init).unwrap().fresh, Some(fresh));
    let (_, response) = d.respond(&d.init(10).1, 11);
    initiator.finish(&response).unwrap();
}

#[test]
fn reserved_bytes_of_the_payload_are_not_read() {
    let d = devices();
    let init = init_with_payload(&d, |payload| {
        payload[1] = 0xff;
        payload[30..INIT_PROOF].fill(0xff);
    });
    let incoming = d.read(&init).unwrap();
    assert_eq!((incoming.fresh, incoming.capabilities), (None, 0xffff));
    incoming.respond(&d.psk, ANSWER, [11; 32]).unwrap();
}

#[test]
fn other_lengths_and_types_are_refused() {
    let d = devices();
    let (mut initiator, init) = d.init(10);
    let (_, response) = d.respond(&init, 11);
    for len in 0..INIT_LEN {
        assert_eq!(d.read(&init[..len]).err(), Some(Error::Malformed), "{len} bytes");
    }
    assert_eq!(d.read(&[&init[..], &[0]].concat()).err(), Some(Error::Malformed));
    for len in 0..RESPONSE_LEN {
        let cut = &response[..len];
        assert_eq!(initiator.finish(cut).err(), Some(Error::Malformed), "{len} bytes");
        assert_eq!(response_receiver(cut), None);
    }
    let long = [&response[..], &[0]].concat();
    assert_eq!(initiator.finish(&long).err(), Some(Error::Malformed));
    assert_eq!(response_receiver(&long), None);
    for kind in [0, 2, 3, 4, 255] {
        let mut other = init;
        other[0] = kind;
        assert_eq!(d.read(&other).err(), Some(Error::Malformed), "type {kind}");
    }
    for kind in [0, 1, 3, 4, 255] {
        let mut other = response;
        other[0] = kind;
        assert_eq!(initiator.finish(&other).err(), Some(Error::Malformed), "type {kind}");
        assert_eq!(response_receiver(&other), None);
    }
    assert_eq!(response_receiver(&response), Some(SENDER));
    initiator.finish(&response).unwrap();
}

#[test]
fn one_bit_of_an_init_is_enough() {
    let d = devices();
    let (_, init) = d.init(10);
    for at in 0..INIT_LEN {
        let mut bad = init;
        bad[at] ^= 1 << (at % 8);
        let expected = match at {
            0 => Some(Error::Malformed),
            _ if at < INIT_MAC1 + MAC_LEN => Some(Error::WrongMac),
            // mac2 is not read while there are no cookies.
            _ => None,
        };
        assert_eq!(d.read(&bad).err(), expected, "byte {at}");

        // The same by somebody who knows the public key, and thus can make a fitting mac.
        if (1..INIT_MAC1).contains(&at) {
            put_mac1(&d.server.public(), &mut bad, INIT_MAC1);
            let read = d.read(&bad);
            if at < INIT_HEADER_LEN {
                assert_eq!(read.unwrap().remote_index, SENDER, "byte {at}: the payload counts");
            } else {
                assert_eq!(read.err(), Some(Error::Decrypt), "byte {at}");
            }
        }
    }
}

#[test]
fn one_bit_of_a_response_is_enough_and_the_right_one_is_still_taken() {
    let d = devices();
    let (mut initiator, init) = d.init(10);
    let (server, response) = d.respond(&init, 11);
    for at in 0..RESPONSE_MAC1 + MAC_LEN {
        let mut bad = response;
        bad[at] ^= 1 << (at % 8);
        let expected = if at == 0 { Error::Malformed } else { Error::WrongMac };
        assert_eq!(initiator.finish(&bad).err(), Some(expected), "byte {at}");

        // The same by somebody who knows the client's public key.
        if (8..RESPONSE_MAC1).contains(&at) {
            put_mac1(&d.client.public(), &mut bad, RESPONSE_MAC1);
            let expected =
                if at < RESPONSE_HEADER_LEN { Error::WrongIndex } else { Error::Decrypt };
            assert_eq!(initiator.finish(&bad).err(), Some(expected), "byte {at}");
        }
    }
    let client = initiator.finish(&response).unwrap();
    assert_eq!(opens(&server.open, sealed(&client.seal, b"still")).unwrap(), b"still");
    assert_eq!(opens(&client.open, sealed(&server.seal, b"well")).unwrap(), b"well");
    assert_eq!(initiator.finish(&response).err(), Some(Error::Spent));
}

#[test]
fn bytes_of_a_response_that_are_not_bound_change_nothing() {
    let d = devices();
    let places = (1..8).chain(RESPONSE_MAC1 + MAC_LEN..RESPONSE_LEN);
    for at in places {
        let (mut initiator, init) = d.init(10);
        let (_, mut response) = d.respond(&init, 11);
        response[at] ^= 1;
        if at < 8 {
            put_mac1(&d.client.public(), &mut response, RESPONSE_MAC1);
        }
        let client = initiator.finish(&response).unwrap();
        assert_eq!(client.remote_index, ANSWERER, "byte {at}: the payload counts");
    }
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    let d = devices();
    let (_, init) = d.init(10);
    assert_eq!(init, d.init(10).1);
    let (_, response) = d.respond(&init, 11);
    assert_eq!(response, d.respond(&init, 11).1);

    let (_, other) = d.init(12);
    assert_ne!(init[8..40], other[8..40], "the ephemeral key");
    assert_ne!(init[40..88], other[40..88], "the static key, sealed");
    assert_ne!(init[88..152], other[88..152], "the payload, sealed");
    let (_, other) = d.respond(&init, 12);
    assert_ne!(response[12..44], other[12..44]);
    assert_ne!(response[44..76], other[44..76]);
}

#[test]
fn every_handshake_has_keys_of_its_own() {
    let d = devices();
    let (first, _) = d.session();
    let (mut initiator, init) = d.init(10);
    let (_, response) = d.respond(&init, 12);
    let second = initiator.finish(&response).unwrap();
    assert_ne!(sealed(&first.seal, b"packet"), sealed(&second.seal, b"packet"));
    assert_eq!(opens(&second.open, sealed(&first.seal, b"packet")), Err(Error::Decrypt));
}

#[test]
fn a_recorded_init_is_seen_as_the_same() {
    let d = devices();
    let mut guard = InitGuard::new();
    let (_, mut init) = d.init(10);
    let incoming = d.read(&init).unwrap();
    assert_eq!(guard.judge(&incoming.stamp, false), Verdict::Accept);
    guard.answered(&incoming.stamp);
    // What is not authenticated can be changed and does not make it a new one.
    init[2] ^= 1;
    init[5] ^= 1;
    init[INIT_LEN - 1] ^= 1;
    put_mac1(&d.server.public(), &mut init, INIT_MAC1);
    assert_eq!(guard.judge(&d.read(&init).unwrap().stamp, true), Verdict::Duplicate);
    assert_eq!(guard.judge(&d.read(&d.init(12).1).unwrap().stamp, false), Verdict::Old);
}
