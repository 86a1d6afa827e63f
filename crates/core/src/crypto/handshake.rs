//! One round trip from two known public keys to a session: INIT and RESPONSE.
//!
//! Why: both sides must be sure of each other before either keeps state or sends data; a stranger
//! must get no answer at all; and recorded traffic must stay closed when a device is lost later.
//!
//! How: Noise `IKpsk2` (see `noise`) in datagrams of fixed length, which PROTOCOL.md gives byte by
//! byte. A receiver refuses in the order of cost: length and type, then `mac1` (one hash: does the
//! sender know our public key?), then two Diffie-Hellman operations (who is it?), then the
//! preshared key, which `IKpsk2` itself would only mix into the answer and which the INIT
//! therefore proves in its payload: a peer with a wrong one is not answered.
//!
//! ```text
//! Initiator::new ──INIT──▶ Incoming::read, look up the peer, InitGuard::judge, respond
//! Initiator::finish ◀──RESPONSE── InitGuard::answered
//! ```
//!
//! The session indices stand in the clear, where Noise does not protect them. Each payload repeats
//! its sender's index, and that one counts: nobody on the way can point a session elsewhere.
//!
//! Limits: the responder must not send data before it has opened a packet of the session, because
//! only that shows that the INIT was not a recording. There is one version; a responder that reads
//! another one says its own, so that both sides can tell their people.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::Error;
use super::guard::Stamp;
use super::keys::{PresharedKey, PrivateKey, PublicKey};
use super::noise::{Noise, Split};
use super::packet::{OpenKey, SealKey};
use super::retry::{self, Fresh, RETRY_LEN};
use super::rng::SecretRng;

/// The version of the protocol, in both payloads.
pub const VERSION: u8 = 2;

/// What this program can do beyond that, as bits that both sides say; PROTOCOL.md has the list.
pub const CAPABILITIES: u16 = 0;

/// First byte of an INIT.
pub const TYPE_INIT: u8 = 1;
/// First byte of a RESPONSE.
pub const TYPE_RESPONSE: u8 = 2;
/// First byte of a cookie reply, see [`cookie`](super::cookie).
pub const TYPE_COOKIE: u8 = 3;
/// First byte of a RETRY, see [`retry`].
pub const TYPE_RETRY: u8 = 5;
/// First byte of a data packet, whose header belongs to `wire`.
pub const TYPE_DATA: u8 = 4;

/// Bytes of an INIT datagram.
pub const INIT_LEN: usize = 184;
/// Bytes of a RESPONSE datagram; less than an INIT, so that answers never amplify.
pub const RESPONSE_LEN: usize = 108;

const INIT_HEADER_LEN: usize = 8;
const INIT_MAC1: usize = INIT_LEN - 2 * MAC_LEN;
const INIT_PAYLOAD_LEN: usize = 48;
const INIT_PROOF: usize = INIT_PAYLOAD_LEN - MAC_LEN;
const RESPONSE_HEADER_LEN: usize = 12;
const RESPONSE_MAC1: usize = RESPONSE_LEN - 2 * MAC_LEN;
const RESPONSE_PAYLOAD_LEN: usize = 16;

/// Bytes of `mac1`, `mac2` and the proof of the preshared key: 128 bits, as the tags have.
pub(super) const MAC_LEN: usize = 16;

const MAC1_CONTEXT: &str = "onebox v2 mac1";
const PSK_PROOF_CONTEXT: &str = "onebox v2 psk proof";
const TO_RESPONDER_CONTEXT: &str = "onebox v2 initiator to responder";
const TO_INITIATOR_CONTEXT: &str = "onebox v2 responder to initiator";

/// A handshake that has ended in a session.
#[derive(Debug)]
pub struct Established {
    /// Seals what this side sends.
    pub seal: SealKey,
    /// Opens what the other side sends.
    pub open: OpenKey,
    /// The other side's index: the receiver index of what this side sends.
    pub remote_index: u32,
    /// The number of the other side's program run: another one than before means that it has
    /// restarted, and that its packet numbers begin again.
    pub remote_instance: u64,
    /// What both sides can do, as bits; PROTOCOL.md has the list.
    pub capabilities: u16,
}

/// What one side says of itself in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Where this side wants what belongs to the session addressed.
    pub index: u32,
    /// The random number of this run of the program.
    pub instance: u64,
    /// What this side can do, as bits; PROTOCOL.md has the list.
    pub capabilities: u16,
}

/// The receiver index of a RESPONSE, to find its [`Initiator`]; nothing for other datagrams.
pub fn response_receiver(datagram: &[u8]) -> Option<u32> {
    let datagram: &[u8; RESPONSE_LEN] = datagram.try_into().ok()?;
    (datagram[0] == TYPE_RESPONSE).then(|| u32_at(datagram, 8))
}

/// The side that has sent an INIT and waits for the RESPONSE.
///
/// There is one INIT in it. It may be sent any number of times and over any number of paths; a
/// retry that should count as new (a later timestamp) is a new initiator.
pub struct Initiator {
    /// Gone once a session has come of it.
    noise: Option<Noise>,
    local: PublicKey,
    retry_key: Zeroizing<[u8; 32]>,
    sender_index: u32,
    capabilities: u16,
}

impl Initiator {
    /// Begins a handshake and writes its INIT.
    ///
    /// `psk` is [`PresharedKey::none`] when none is configured; `timestamp_us` counts from the Unix
    /// epoch and must be greater than in every earlier INIT of this run of the program; `fresh` is
    /// what a RETRY to an earlier one said; `seed` is random and used only here.
    ///
    /// # Errors
    /// [`Error::WeakKey`] when nothing can be agreed on with `remote`.
    pub fn new(
        local: &PrivateKey,
        remote: &PublicKey,
        psk: &PresharedKey,
        hello: Hello,
        (timestamp_us, fresh): (u64, Option<Fresh>),
        seed: [u8; 32],
    ) -> Result<(Initiator, [u8; INIT_LEN]), Error> {
        let Hello { index: sender_index, instance, capabilities } = hello;
        let (mut noise, ephemeral) = Noise::initiator(local, remote, psk, seed)?;
        let stamp = Stamp { ephemeral, timestamp_us, instance };

        let mut payload = [0; INIT_PAYLOAD_LEN];
        payload[0] = VERSION;
        payload[2..10].copy_from_slice(&timestamp_us.to_le_bytes());
        payload[10..18].copy_from_slice(&instance.to_le_bytes());
        payload[18..22].copy_from_slice(&sender_index.to_le_bytes());
        payload[22..30].copy_from_slice(&fresh.unwrap_or_default());
        payload[30..32].copy_from_slice(&capabilities.to_le_bytes());
        payload[INIT_PROOF..].copy_from_slice(&psk_proof(psk, &stamp));

        let mut datagram = [0; INIT_LEN];
        datagram[0] = TYPE_INIT;
        datagram[4..8].copy_from_slice(&sender_index.to_le_bytes());
        noise.write(&payload, &mut datagram[INIT_HEADER_LEN..INIT_MAC1])?;
        put_mac1(remote, &mut datagram, INIT_MAC1);
        let local = local.public();
        let retry_key = noise.interim();
        let noise = Some(noise);
        Ok((Initiator { noise, local, retry_key, sender_index, capabilities }, datagram))
    }

    /// Reads a RESPONSE. Junk, also junk that was made to look like an answer, does not cost the
    /// handshake: the right answer is still taken after it.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::WrongMac`], [`Error::WrongIndex`], [`Error::Decrypt`] and
    /// [`Error::WeakKey`] leave the initiator as it was. [`Error::WrongVersion`] comes from the
    /// peer itself and ends the handshake; after that, and after success, [`Error::Spent`].
    pub fn finish(&mut self, datagram: &[u8]) -> Result<Established, Error> {
        let datagram: &[u8; RESPONSE_LEN] = datagram.try_into().map_err(|_| Error::Malformed)?;
        if datagram[0] != TYPE_RESPONSE {
            return Err(Error::Malformed);
        }
        check_mac1(&self.local, datagram, RESPONSE_MAC1)?;
        if u32_at(datagram, 8) != self.sender_index {
            return Err(Error::WrongIndex);
        }
        let noise = self.noise.as_mut().ok_or(Error::Spent)?;
        let mut payload = [0; RESPONSE_PAYLOAD_LEN];
        noise.read(&datagram[RESPONSE_HEADER_LEN..RESPONSE_MAC1], &mut payload)?;

        // Authentic from here on.
        let split = self.noise.take().and_then(|mut noise| noise.split()).ok_or(Error::Spent)?;
        if payload[0] != VERSION {
            return Err(Error::WrongVersion(payload[0]));
        }
        let (to_responder, to_initiator) = session_keys(&split);
        Ok(Established {
            seal: SealKey::new(&to_responder),
            open: OpenKey::new(&to_initiator),
            remote_index: u32_at(&payload, 10),
            remote_instance: u64_at(&payload, 2),
            capabilities: self.capabilities & u16_at(&payload, 14),
        })
    }

    /// Reads a RETRY: the INIT was too old, the next one is to say this.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Decrypt`]; they leave the initiator as it was.
    pub fn retry(&self, datagram: &[u8]) -> Result<Fresh, Error> {
        retry::open(&self.retry_key, datagram)
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator")
            .field("sender_index", &self.sender_index)
            .finish_non_exhaustive()
    }
}

/// An INIT that was read, and whose sender is known, but not answered yet.
pub struct Incoming {
    /// The initiator's public key. Whether it is a known peer is for the caller to say.
    pub remote: PublicKey,
    /// The initiator's index.
    pub remote_index: u32,
    /// What tells this INIT from others, for [`InitGuard`](super::guard::InitGuard).
    pub stamp: Stamp,
    /// What the initiator can do, as bits.
    pub capabilities: u16,
    /// What shows that the INIT is no recording, if it says so.
    pub fresh: Option<Fresh>,
    /// The version that the initiator speaks.
    version: u8,
    proof: [u8; MAC_LEN],
    noise: Noise,
}

impl Incoming {
    /// Reads an INIT that was sent to `local`.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::WrongMac`] (both cheap to find), [`Error::Decrypt`],
    /// [`Error::WeakKey`]. None is answered.
    pub fn read(local: &PrivateKey, datagram: &[u8]) -> Result<Incoming, Error> {
        let datagram: &[u8; INIT_LEN] = datagram.try_into().map_err(|_| Error::Malformed)?;
        if datagram[0] != TYPE_INIT {
            return Err(Error::Malformed);
        }
        check_mac1(&local.public(), datagram, INIT_MAC1)?;

        let mut noise = Noise::responder(local)?;
        let mut payload = [0; INIT_PAYLOAD_LEN];
        noise.read(&datagram[INIT_HEADER_LEN..INIT_MAC1], &mut payload)?;
        let stamp = Stamp {
            ephemeral: array_at(datagram, INIT_HEADER_LEN),
            timestamp_us: u64_at(&payload, 2),
            instance: u64_at(&payload, 10),
        };
        let proof = array_at(&payload, INIT_PROOF);
        let remote = noise.remote().ok_or(Error::Malformed)?;
        let remote_index = u32_at(&payload, 18);
        let fresh = Some(array_at(&payload, 22)).filter(|fresh| *fresh != Fresh::default());
        let (capabilities, version) = (u16_at(&payload, 30), payload[0]);
        Ok(Incoming { remote, remote_index, stamp, capabilities, fresh, version, proof, noise })
    }

    /// The version that the initiator speaks, if it is another one than ours. It is to be answered all
    /// the same: the RESPONSE tells it.
    pub fn other_version(&self) -> Option<u8> {
        (self.version != VERSION).then_some(self.version)
    }

    /// Checks that the initiator has `psk`; without it there is no answer.
    ///
    /// # Errors
    /// [`Error::WrongPsk`].
    pub fn check_psk(&self, psk: &PresharedKey) -> Result<(), Error> {
        let same = self.proof.ct_eq(&psk_proof(psk, &self.stamp));
        if same.into() { Ok(()) } else { Err(Error::WrongPsk) }
    }

    /// Writes a RETRY: the INIT is too old, the next one has to say `fresh`.
    pub fn retry(&mut self, fresh: Fresh, rng: &mut SecretRng) -> [u8; RETRY_LEN] {
        retry::write(&self.noise.interim(), self.remote_index, fresh, rng)
    }

    /// Checks the preshared key and writes the RESPONSE; `seed` is random and used only here.
    ///
    /// # Errors
    /// [`Error::WrongPsk`]: the initiator does not have `psk`, and gets no answer.
    pub fn respond(
        mut self,
        psk: &PresharedKey,
        hello: Hello,
        seed: [u8; 32],
    ) -> Result<(Established, [u8; RESPONSE_LEN]), Error> {
        self.check_psk(psk)?;
        let Hello { index: sender_index, instance, capabilities } = hello;
        let mut payload = [0; RESPONSE_PAYLOAD_LEN];
        payload[0] = VERSION;
        payload[2..10].copy_from_slice(&instance.to_le_bytes());
        payload[10..14].copy_from_slice(&sender_index.to_le_bytes());
        payload[14..].copy_from_slice(&capabilities.to_le_bytes());

        let mut datagram = [0; RESPONSE_LEN];
        datagram[0] = TYPE_RESPONSE;
        datagram[4..8].copy_from_slice(&sender_index.to_le_bytes());
        datagram[8..12].copy_from_slice(&self.remote_index.to_le_bytes());
        self.noise.prepare_answer(psk, seed)?;
        self.noise.write(&payload, &mut datagram[RESPONSE_HEADER_LEN..RESPONSE_MAC1])?;
        put_mac1(&self.remote, &mut datagram, RESPONSE_MAC1);

        let split = self.noise.split().ok_or(Error::Spent)?;
        let (to_responder, to_initiator) = session_keys(&split);
        let established = Established {
            seal: SealKey::new(&to_initiator),
            open: OpenKey::new(&to_responder),
            remote_index: self.remote_index,
            remote_instance: self.stamp.instance,
            capabilities: capabilities & self.capabilities,
        };
        Ok((established, datagram))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("remote", &self.remote)
            .field("remote_index", &self.remote_index)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

/// The keys of the two directions, initiator to responder first.
///
/// Not the Noise keys themselves, so that the secret of a post-quantum exchange can be appended
/// to what they are derived from.
fn session_keys(split: &Split) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let derive = |context| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&split[0]);
        hasher.update(&split[1]);
        let mut hash = hasher.finalize();
        let key = Zeroizing::new(*hash.as_bytes());
        hash.zeroize();
        hasher.zeroize();
        key
    };
    (derive(TO_RESPONDER_CONTEXT), derive(TO_INITIATOR_CONTEXT))
}

/// What shows in an INIT that its sender has the preshared key. The rest of the payload and the
/// two static keys need not be in it: the Noise message is bound to this ephemeral key already.
fn psk_proof(psk: &PresharedKey, stamp: &Stamp) -> [u8; MAC_LEN] {
    let key = Zeroizing::new(blake3::derive_key(PSK_PROOF_CONTEXT, psk.bytes()));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&stamp.ephemeral);
    hasher.update(&stamp.timestamp_us.to_le_bytes());
    hasher.update(&stamp.instance.to_le_bytes());
    let proof = array_at(hasher.finalize().as_bytes(), 0);
    hasher.zeroize();
    proof
}

/// Whether an INIT was made for this public key: one hash, before anything is computed for it.
///
/// # Errors
/// [`Error::Malformed`], [`Error::WrongMac`].
pub fn check_init<'a>(local: &PublicKey, datagram: &'a [u8]) -> Result<&'a [u8; INIT_LEN], Error> {
    let init: &[u8; INIT_LEN] = datagram.try_into().map_err(|_| Error::Malformed)?;
    check_mac1(local, init, INIT_MAC1)?;
    Ok(init)
}

/// The `mac1` of an INIT: no two INITs have the same.
pub fn init_mac1(init: &[u8; INIT_LEN]) -> [u8; MAC_LEN] {
    array_at(init, INIT_MAC1)
}

/// Shows that the sender knows the receiver's public key. No secret: it keeps out scanners and
/// reflected junk, before anything is computed for them.
fn mac1(receiver: &PublicKey, bytes: &[u8]) -> [u8; MAC_LEN] {
    let key = blake3::derive_key(MAC1_CONTEXT, receiver.as_bytes());
    array_at(blake3::keyed_hash(&key, bytes).as_bytes(), 0)
}

fn put_mac1(receiver: &PublicKey, datagram: &mut [u8], at: usize) {
    let mac = mac1(receiver, &datagram[..at]);
    datagram[at..at + MAC_LEN].copy_from_slice(&mac);
}

fn check_mac1(receiver: &PublicKey, datagram: &[u8], at: usize) -> Result<(), Error> {
    let mac = mac1(receiver, &datagram[..at]);
    let same = mac.ct_eq(&datagram[at..at + MAC_LEN]);
    if same.into() { Ok(()) } else { Err(Error::WrongMac) }
}

/// `N` bytes of a buffer of fixed length; every offset in this file is within its buffer.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
pub(crate) mod tests;
