//! Messages of the bus: eight bytes of header, and one blob around all attributes.
//!
//! The header is `u8 version` (0), `u8 kind`, `u16 seq`, `u32 peer`, highest byte first. `seq` and
//! `peer` together tell which request an answer belongs to.
//!
//! Limits: [`MESSAGE_MAX`], which is ubusd's own: it hangs up on whoever sends more.

use super::{Malformed, blob};
use std::fmt;

/// Longest blob of a message in bytes, with its four bytes of length.
pub const MESSAGE_MAX: usize = 1 << 20;
/// Bytes in front of the blob.
pub const HEADER: usize = 8;

/// What kind of message it is; the numbers of the protocol.
pub mod kind {
    /// ubusd greets; `peer` is our number.
    pub const HELLO: u8 = 0;
    /// The end of an answer.
    pub const STATUS: u8 = 1;
    /// A part of an answer.
    pub const DATA: u8 = 2;
    /// Is ubusd there; it answers with the same as DATA.
    pub const PING: u8 = 3;
    /// Which objects have this path.
    pub const LOOKUP: u8 = 4;
    /// Call a method, or be called.
    pub const INVOKE: u8 = 5;
    /// Offer an object.
    pub const ADD_OBJECT: u8 = 6;
    /// Take it back.
    pub const REMOVE_OBJECT: u8 = 7;
    /// Let an object of ours hear the notifications of another.
    pub const SUBSCRIBE: u8 = 8;
    /// No more; or the other object has gone.
    pub const UNSUBSCRIBE: u8 = 9;
    /// Notify the subscribers; or ubusd tells that there are some, or none any more.
    pub const NOTIFY: u8 = 10;
}

/// What an attribute of a message is; the numbers of the protocol.
pub mod attribute {
    /// How a request ended.
    pub const STATUS: u8 = 1;
    /// Path of an object.
    pub const OBJECT_PATH: u8 = 2;
    /// Number of an object.
    pub const OBJECT_ID: u8 = 3;
    /// Name of a method, an event or a notification.
    pub const METHOD: u8 = 4;
    /// Number of an object's type.
    pub const OBJECT_TYPE: u8 = 5;
    /// Methods of an object.
    pub const SIGNATURE: u8 = 6;
    /// Arguments or results.
    pub const DATA: u8 = 7;
    /// Number of the object to be heard.
    pub const TARGET: u8 = 8;
    /// Whether there are subscribers.
    pub const ACTIVE: u8 = 9;
    /// Whether no answer is wanted.
    pub const NO_REPLY: u8 = 10;
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Well.
    pub const OK: Status = Status(0);
    /// An argument is missing, wrong or refused.
    pub const INVALID_ARGUMENT: Status = Status(2);
    /// The object has no such method.
    pub const METHOD_NOT_FOUND: Status = Status(3);
    /// There is no such object.
    pub const NOT_FOUND: Status = Status(4);
    /// The access list forbids it.
    pub const PERMISSION_DENIED: Status = Status(6);
    /// It took too long.
    pub const TIMEOUT: Status = Status(7);
    /// Something else.
    pub const UNKNOWN_ERROR: Status = Status(9);
    /// Too many requests, or too long an answer.
    pub const NO_MEMORY: Status = Status(11);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            0 => "done",
            1 => "invalid command",
            2 => "invalid argument",
            3 => "no such method",
            4 => "not found",
            5 => "no data",
            6 => "permission denied",
            7 => "timeout",
            8 => "not supported",
            10 => "connection failed",
            11 => "out of memory",
            12 => "not understood",
            13 => "system error",
            other => return write!(f, "error {other}"),
        };
        f.write_str(words)
    }
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// One of [`kind`], or one that is not known.
    pub kind: u8,
    /// Number of the request.
    pub seq: u16,
    /// Whom it concerns: a client or an object.
    pub peer: u32,
    /// The attributes.
    pub body: Vec<u8>,
}

impl Message {
    /// A message without attributes.
    pub fn new(kind: u8, seq: u16, peer: u32) -> Message {
        Message { kind, seq, peer, body: Vec::new() }
    }

    /// With an attribute of any bytes.
    #[must_use]
    pub fn bytes(mut self, id: u8, data: &[u8]) -> Message {
        blob::put(&mut self.body, id, data);
        self
    }

    /// With a number.
    #[must_use]
    pub fn number(self, id: u8, value: u32) -> Message {
        self.bytes(id, &value.to_be_bytes())
    }

    /// With text.
    #[must_use]
    pub fn text(mut self, id: u8, value: &str) -> Message {
        blob::nest(&mut self.body, false, id, |out| {
            out.extend_from_slice(value.as_bytes());
            out.push(0);
        });
        self
    }

    /// Appends it as it is sent; whether it is short enough, else nothing is appended.
    #[must_use]
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        if blob::HEADER + self.body.len() > MESSAGE_MAX {
            return false;
        }
        out.extend_from_slice(&[0, self.kind]);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.peer.to_be_bytes());
        blob::put(out, 0, &self.body);
        true
    }

    /// Takes the first message off `input`; `None` when it is not all there yet.
    ///
    /// # Errors
    /// It is none of this protocol, and nothing behind it can be understood.
    pub fn read(input: &mut Vec<u8>) -> Result<Option<Message>, Malformed> {
        let Some((head, rest)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
        let &[version, kind, s0, s1, p0, p1, p2, p3] = head;
        if version != 0 {
            return Err(Malformed);
        }
        let Some((blob, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let length = blob::length(*blob);
        if !(blob::HEADER..=MESSAGE_MAX).contains(&length) {
            return Err(Malformed);
        }
        // The outermost blob is not padded: what is in it is.
        let Some(body) = rest.get(..length - blob::HEADER) else { return Ok(None) };
        let seq = u16::from_be_bytes([s0, s1]);
        let peer = u32::from_be_bytes([p0, p1, p2, p3]);
        let message = Message { kind, seq, peer, body: body.to_vec() };
        input.drain(..HEADER + length);
        Ok(Some(message))
    }

    /// Its attributes.
    ///
    /// # Errors
    /// They are not well formed.
    pub fn fields(&self) -> Result<Fields<'_>, Malformed> {
        let mut fields = Fields::default();
        for found in blob::attributes(&self.body) {
            let found = found?;
            match found.id {
                attribute::STATUS => fields.status = Some(Status(found.u32()?)),
                attribute::OBJECT_PATH => fields.path = Some(found.text()?),
                attribute::OBJECT_ID => fields.object = Some(found.u32()?),
                attribute::METHOD => fields.method = Some(found.text()?),
                attribute::SIGNATURE => fields.signature = Some(found.data),
                attribute::DATA => fields.data = Some(found.data),
                attribute::TARGET => fields.target = Some(found.u32()?),
                attribute::ACTIVE => fields.active = Some(found.flag()?),
                attribute::NO_REPLY => fields.no_reply = found.flag()?,
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// The attributes of a message, those that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// How a request ended.
    pub status: Option<Status>,
    /// Path of an object.
    pub path: Option<&'a str>,
    /// Number of an object.
    pub object: Option<u32>,
    /// Name of a method, an event or a notification.
    pub method: Option<&'a str>,
    /// Methods of an object.
    pub signature: Option<&'a [u8]>,
    /// Arguments or results.
    pub data: Option<&'a [u8]>,
    /// Number of the object to be heard.
    pub target: Option<u32>,
    /// Whether there are subscribers.
    pub active: Option<bool>,
    /// Whether no answer is wanted.
    pub no_reply: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(message.write(&mut out));
        out
    }

    #[test]
    fn the_greeting_and_an_end_are_as_ubusd_sends_and_takes_them() {
        let mut hello = vec![0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 4];
        let message = Message::read(&mut hello).unwrap().unwrap();
        assert_eq!(message, Message::new(kind::HELLO, 0, 0x1234_5678));
        assert!(hello.is_empty());

        let end = Message::new(kind::STATUS, 0x1234, 0x89ab_cdef)
            .number(attribute::STATUS, 0)
            .number(attribute::OBJECT_ID, 0x0102_0304);
        let golden = b"\0\x01\x12\x34\x89\xab\xcd\xef\0\0\0\x14\
                       \x01\0\0\x08\0\0\0\0\x03\0\0\x08\x01\x02\x03\x04";
        assert_eq!(bytes(&end), golden);
        let fields = end.fields().unwrap();
        assert_eq!((fields.status, fields.object), (Some(Status::OK), Some(0x0102_0304)));
    }

    #[test]
    fn messages_come_in_pieces_and_several_at_once() {
        let message = Message::new(kind::DATA, 1, 2).text(attribute::METHOD, "go");
        let whole = [bytes(&message), bytes(&message)].concat();
        let mut input = Vec::new();
        let mut found = 0;
        for byte in whole {
            input.push(byte);
            if let Some(read) = Message::read(&mut input).unwrap() {
                assert_eq!(read, message);
                found += 1;
            }
        }
        assert_eq!((found, input.len()), (2, 0));
    }

    #[test]
    fn what_is_too_long_is_neither_sent_nor_read() {
        let room = MESSAGE_MAX - 2 * blob::HEADER;
        let long = Message::new(kind::DATA, 0, 0).bytes(attribute::DATA, &vec![0; room]);
        assert_eq!(Message::read(&mut bytes(&long)), Ok(Some(long)));
        let longer = Message::new(kind::DATA, 0, 0).bytes(attribute::DATA, &vec![0; room + 1]);
        assert!(!longer.write(&mut Vec::new()));
        for head in [[0, 0x10, 0, 1], [0, 0, 0, 3], [0xff; 4]] {
            let mut input = [&[0; HEADER][..], &head].concat();
            assert_eq!(Message::read(&mut input), Err(Malformed));
        }
        assert_eq!(Message::read(&mut vec![1; 12]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = 0;
            }
            while let Ok(Some(message)) = Message::read(&mut bytes) {
                let _ = message.fields();
            }
        }

        #[test]
        fn any_body_is_read_without_panic(kind: u8, seq: u16, peer: u32, body: Vec<u8>) {
            let message = Message { kind, seq, peer, body };
            let _ = message.fields();
        }
    }
}
