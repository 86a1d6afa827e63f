//! Blobs: attributes with a number and a length, one after the other or inside each other.
//!
//! An attribute is four bytes, `extended << 31 | id << 24 | length` from the highest bit down,
//! and its data. The length counts these four bytes and not the padding to a multiple of four
//! that follows; the length of an attribute around others counts their padding.
//!
//! Limits: a length has 24 bits. What is longer is written with a wrong length; every message is
//! measured before it is sent, and far shorter ([`MESSAGE_MAX`](super::MESSAGE_MAX)).

use super::Malformed;

/// Bytes in front of an attribute's data.
pub const HEADER: usize = 4;
const EXTENDED: u32 = 1 << 31;
const LENGTH: u32 = (1 << 24) - 1;

/// An attribute as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Whether the data begins with a name (see [`blobmsg`](super::blobmsg)).
    pub extended: bool,
    /// What it is; 7 bits.
    pub id: u8,
    /// What it holds.
    pub data: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The data as one number.
    ///
    /// # Errors
    /// It has another length.
    pub fn u32(&self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.data.try_into().map_err(|_| Malformed)?))
    }

    /// The data as a yes or no.
    ///
    /// # Errors
    /// It has another length.
    pub fn flag(&self) -> Result<bool, Malformed> {
        let [byte] = self.data else { return Err(Malformed) };
        Ok(*byte != 0)
    }

    /// The data as text.
    ///
    /// # Errors
    /// It does not end with zero, or is not UTF-8 up to the first one.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        text(self.data)
    }
}

/// Text that ends with its first zero, as C has it.
pub(super) fn text(data: &[u8]) -> Result<&str, Malformed> {
    let end = data.iter().position(|&byte| byte == 0).ok_or(Malformed)?;
    std::str::from_utf8(&data[..end]).map_err(|_| Malformed)
}

/// The attributes that lie one after the other in some bytes. After an error it ends.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

/// The attributes in `bytes`.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let found = split(self.0);
        self.0 = match found {
            Ok((_, rest)) => rest,
            Err(Malformed) => &[],
        };
        Some(found.map(|(attribute, _)| attribute))
    }
}

fn split(bytes: &[u8]) -> Result<(Attribute<'_>, &[u8]), Malformed> {
    let (head, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed)?;
    let word = u32::from_be_bytes(*head);
    let length = (word & LENGTH) as usize;
    let length = length.checked_sub(HEADER).filter(|&n| n <= rest.len()).ok_or(Malformed)?;
    let (data, rest) = rest.split_at(length);
    // Whoever leaves the last padding out means the same.
    let rest = rest.get(padding(length)..).unwrap_or_default();
    let id = (word >> 24) as u8 & 0x7f;
    Ok((Attribute { extended: word & EXTENDED != 0, id, data }, rest))
}

/// How long an outermost attribute is, with its four bytes.
pub fn length(head: [u8; HEADER]) -> usize {
    (u32::from_be_bytes(head) & LENGTH) as usize
}

/// Zeros behind this many bytes.
pub(super) fn padding(length: usize) -> usize {
    length.wrapping_neg() % 4
}

/// Appends an attribute.
pub fn put(out: &mut Vec<u8>, id: u8, data: &[u8]) {
    nest(out, false, id, |out| out.extend_from_slice(data));
}

/// Appends an attribute with what `fill` appends as its data.
pub fn nest(out: &mut Vec<u8>, extended: bool, id: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    fill(out);
    let length = out.len() - start;
    let head = u32::from(extended) << 31 | u32::from(id & 0x7f) << 24 | length as u32 & LENGTH;
    out[start..start + HEADER].copy_from_slice(&head.to_be_bytes());
    out.extend_from_slice(&[0; 3][..padding(length)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<Attribute<'_>>, Malformed> {
        attributes(bytes).collect()
    }

    #[test]
    fn lengths_count_the_head_and_padding_lies_between() {
        let mut out = Vec::new();
        put(&mut out, 2, b"onebox\0");
        put(&mut out, 3, &7u32.to_be_bytes());
        let golden =
            [2, 0, 0, 11, b'o', b'n', b'e', b'b', b'o', b'x', 0, 0, 3, 0, 0, 8, 0, 0, 0, 7];
        assert_eq!(out, golden);
        let found = all(&out).unwrap();
        assert_eq!(found[0].text(), Ok("onebox"));
        assert_eq!(found[1].u32(), Ok(7));
        assert_eq!(found[1].flag(), Err(Malformed));
        assert_eq!(found[1].text(), Ok(""));
    }

    #[test]
    fn every_truncation_is_an_error_or_fewer_attributes() {
        let mut out = Vec::new();
        nest(&mut out, true, 5, |out| put(out, 1, b"abc"));
        put(&mut out, 6, b"");
        for end in 0..out.len() {
            assert!(all(&out[..end]).map_or(true, |found| found.len() < 2), "{end}");
        }
        assert_eq!(all(&[0, 0, 0, 3]), Err(Malformed));
        assert_eq!(all(&[0; 8]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            for attribute in attributes(&bytes).flatten() {
                let _ = (attribute.u32(), attribute.flag(), attribute.text());
            }
        }

        #[test]
        fn what_is_written_is_read(list in prop::collection::vec((0u8..128, any::<Vec<u8>>()), 0..8)) {
            let mut out = Vec::new();
            list.iter().for_each(|(id, data)| put(&mut out, *id, data));
            let found = all(&out).unwrap();
            let found: Vec<_> = found.iter().map(|a| (a.id, a.data.to_vec())).collect();
            prop_assert_eq!(found, list);
        }
    }
}
