//! Blobmsg: typed and named attributes, the bus's counterpart of JSON.
//!
//! Data of an attribute begins with its name: `u16` length, the name, a zero, padding. The
//! attribute's number is the type of the value behind it. Elements of an array have an empty name.
//!
//! JSON is how the program has its data, so that is what is written and read here:
//!
//! * Whole numbers are written as 64 bits, always: a field whose type followed its value would
//!   break readers that ask for one type. Above `i64::MAX` that is what they become.
//! * Other numbers are doubles, yes and no is the 8-bit type, null the type without value.
//! * Read are all types, numbers as signed, the 8-bit type as yes and no, as `ubus` shows them.
//!
//! Limits: [`DEPTH_MAX`] levels and [`ITEMS_MAX`] values in what is read.

use super::{Malformed, blob};
use serde_json::{Map, Number, Value};

/// Tables and arrays inside each other in what is read.
pub const DEPTH_MAX: usize = 32;
/// Values in what is read.
pub const ITEMS_MAX: usize = 32_768;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Type {
    /// No value; null.
    Unspecified = 0,
    /// Values in order.
    Array = 1,
    /// Values with names.
    Table = 2,
    /// Text.
    String = 3,
    /// A whole number of 64 bits.
    Int64 = 4,
    /// A whole number of 32 bits.
    Int32 = 5,
    /// A whole number of 16 bits.
    Int16 = 6,
    /// A whole number of 8 bits: yes or no.
    Int8 = 7,
    /// A floating-point number.
    Double = 8,
}

/// Appends a value of this type, whose bytes `fill` appends.
pub fn put(out: &mut Vec<u8>, name: &str, of: Type, fill: impl FnOnce(&mut Vec<u8>)) {
    blob::nest(out, true, of as u8, |out| {
        let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&(name.len() as u16).to_be_bytes());
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(&[0; 3][..blob::padding(2 + name.len() + 1)]);
        fill(out);
    });
}

/// Appends a whole number of 32 bits, which ubusd's own methods ask for.
pub fn put_u32(out: &mut Vec<u8>, name: &str, value: u32) {
    put(out, name, Type::Int32, |out| out.extend_from_slice(&value.to_be_bytes()));
}

/// Appends text.
pub fn put_text(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, name, Type::String, |out| {
        out.extend_from_slice(value.as_bytes());
        out.push(0);
    });
}

/// Appends any value.
pub fn put_value(out: &mut Vec<u8>, name: &str, value: &Value) {
    match value {
        Value::Null => put(out, name, Type::Unspecified, |_| {}),
        Value::Bool(yes) => put(out, name, Type::Int8, |out| out.push(u8::from(*yes))),
        Value::String(text) => put_text(out, name, text),
        Value::Number(number) => {
            let whole = number.as_i64().or(number.is_u64().then_some(i64::MAX));
            let (of, bytes) = match whole {
                Some(whole) => (Type::Int64, whole.to_be_bytes()),
                None => (Type::Double, number.as_f64().unwrap_or_default().to_be_bytes()),
            };
            put(out, name, of, |out| out.extend_from_slice(&bytes));
        }
        Value::Array(items) => put(out, name, Type::Array, |out| {
            items.iter().for_each(|item| put_value(out, "", item));
        }),
        Value::Object(table) => put(out, name, Type::Table, |out| put_table(out, table)),
    }
}

/// Appends the values of a table, without anything around them.
pub fn put_table(out: &mut Vec<u8>, table: &Map<String, Value>) {
    table.iter().for_each(|(name, value)| put_value(out, name, value));
}

/// Reads the values of a table, as [`put_table`] writes them. Of equal names the last counts.
///
/// # Errors
/// They are not well formed, or too deep or too many.
pub fn table(bytes: &[u8]) -> Result<Map<String, Value>, Malformed> {
    Reader { left: ITEMS_MAX }.table(bytes, 0)
}

struct Reader {
    left: usize,
}

impl Reader {
    fn table(&mut self, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Malformed> {
        let mut table = Map::new();
        for attribute in blob::attributes(bytes) {
            let (name, value) = self.value(attribute?, depth)?;
            table.insert(name.ok_or(Malformed)?.to_owned(), value);
        }
        Ok(table)
    }

    fn value<'a>(
        &mut self,
        attribute: blob::Attribute<'a>,
        depth: usize,
    ) -> Result<(Option<&'a str>, Value), Malformed> {
        self.left = self.left.checked_sub(1).ok_or(Malformed)?;
        if depth >= DEPTH_MAX {
            return Err(Malformed);
        }
        let (name, data) = if attribute.extended {
            let (name, data) = named(attribute.data)?;
            (Some(name), data)
        } else {
            (None, attribute.data)
        };
        let value = match attribute.id {
            0 => Value::Null,
            1 => {
                let items = blob::attributes(data);
                let items = items.map(|item| Ok(self.value(item?, depth + 1)?.1));
                Value::Array(items.collect::<Result<_, Malformed>>()?)
            }
            2 => Value::Object(self.table(data, depth + 1)?),
            3 => Value::String(blob::text(data)?.to_owned()),
            4 => i64::from_be_bytes(exactly(data)?).into(),
            5 => i32::from_be_bytes(exactly(data)?).into(),
            6 => i16::from_be_bytes(exactly(data)?).into(),
            7 => Value::Bool(exactly::<1>(data)? != [0]),
            8 => {
                let number = Number::from_f64(f64::from_be_bytes(exactly(data)?));
                number.map_or(Value::Null, Value::Number)
            }
            _ => return Err(Malformed),
        };
        Ok((name, value))
    }
}

/// The name at the beginning, and what is behind it.
fn named(data: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (length, rest) = data.split_first_chunk::<2>().ok_or(Malformed)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let name = rest.get(..=length).filter(|name| name.last() == Some(&0)).ok_or(Malformed)?;
    let head = 2 + name.len();
    Ok((blob::text(name)?, data.get(head + blob::padding(head)..).unwrap_or_default()))
}

fn exactly<const N: usize>(data: &[u8]) -> Result<[u8; N], Malformed> {
    data.try_into().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn written(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        put_table(&mut out, value.as_object().unwrap());
        out
    }

    #[test]
    fn types_are_as_the_bus_has_them() {
        let mut out = Vec::new();
        put_u32(&mut out, "name", 3);
        // The argument of a method in a signature that ubusd accepted.
        let golden = b"\x85\0\0\x10\0\x04name\0\0\0\0\0\x03";
        assert_eq!(out, golden[..16]);
        let cases: [(Value, &[u8]); 7] = [
            (json!({"n": 1}), b"\x84\0\0\x10\0\x01n\0\0\0\0\0\0\0\0\x01"),
            (json!({"n": u64::MAX}), b"\x84\0\0\x10\0\x01n\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            (json!({"n": 1.5}), b"\x88\0\0\x10\0\x01n\0\x3f\xf8\0\0\0\0\0\0"),
            (json!({"n": true}), b"\x87\0\0\x09\0\x01n\0\x01\0\0\0"),
            (json!({"n": null}), b"\x80\0\0\x08\0\x01n\0"),
            (json!({"n": "a"}), b"\x83\0\0\x0a\0\x01n\0a\0\0\0"),
            (json!({"n": ["a"]}), b"\x81\0\0\x14\0\x01n\0\x83\0\0\x0a\0\0\0\0a\0\0\0"),
        ];
        for (value, bytes) in cases {
            assert_eq!(written(&value), bytes, "{value}");
        }
    }

    #[test]
    fn short_numbers_are_read_as_signed() {
        let mut out = Vec::new();
        put_u32(&mut out, "a", u32::MAX);
        put(&mut out, "b", Type::Int16, |out| out.extend_from_slice(&[0xff, 0xfe]));
        put(&mut out, "c", Type::Double, |out| out.extend_from_slice(&f64::NAN.to_be_bytes()));
        assert_eq!(Value::Object(table(&out).unwrap()), json!({"a": -1, "b": -2, "c": null}));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let mut value = json!({});
        for _ in 0..DEPTH_MAX - 1 {
            value = json!({ "t": value });
        }
        assert!(table(&written(&value)).is_ok());
        assert_eq!(table(&written(&json!({ "t": json!({ "t": value }) }))), Err(Malformed));
        let mut many = vec![Value::Null; ITEMS_MAX - 1];
        assert!(table(&written(&json!({ "a": many }))).is_ok());
        many.push(Value::Null);
        assert_eq!(table(&written(&json!({ "a": many }))), Err(Malformed));
    }

    #[test]
    fn truncations_and_nameless_values_are_errors() {
        let bytes = written(&json!({"abc": [1, {"d": "e"}, 2.5], "f": false}));
        for end in 1..bytes.len() {
            let whole = end >= bytes.len() - 3;
            let fewer = table(&bytes[..end]).is_ok_and(|t| t.len() == 1);
            assert!(whole || fewer || table(&bytes[..end]).is_err(), "{end}");
        }
        let mut out = Vec::new();
        blob::put(&mut out, Type::Int32 as u8, &[0; 4]);
        assert_eq!(table(&out), Err(Malformed));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has it", |f| f.is_finite()).prop_map(Value::from),
            "[^\0]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[^\0]{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_makes_the_round(values in prop::collection::btree_map("[^\0]{0,6}", any_value(), 0..6)) {
            let value = Value::Object(values.into_iter().collect());
            prop_assert_eq!(Value::Object(table(&written(&value)).unwrap()), value);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = table(&bytes);
        }

        #[test]
        fn damage_is_read_without_panic(value in any_value(), at: prop::sample::Index, by: u8) {
            let mut bytes = written(&json!({ "v": value }));
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            let _ = table(&bytes);
        }
    }
}
