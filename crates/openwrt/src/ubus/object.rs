//! What we offer on the bus: an object with methods and their arguments.

use super::blobmsg::{self, Type};

/// A method.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Names and types of its arguments.
    pub arguments: &'static [(&'static str, Type)],
}

/// An object.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// Where it is found.
    pub path: &'static str,
    /// What can be called.
    pub methods: &'static [Method],
}

impl Object {
    /// Its methods as the bus wants them told: a table for each, of the arguments' types.
    pub fn signature(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for method in self.methods {
            blobmsg::put(&mut out, method.name, Type::Table, |out| {
                for &(name, of) in method.arguments {
                    blobmsg::put_u32(out, name, of as u32);
                }
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Message, attribute, kind};
    use super::*;

    #[test]
    fn the_signature_is_what_ubusd_accepted() {
        let object = Object {
            path: "onebox",
            methods: &[
                Method { name: "status", arguments: &[] },
                Method {
                    name: "set",
                    arguments: &[("name", Type::String), ("level", Type::Int32)],
                },
            ],
        };
        let message = Message::new(kind::ADD_OBJECT, 1, 0)
            .text(attribute::OBJECT_PATH, object.path)
            .bytes(attribute::SIGNATURE, &object.signature());
        let golden = "0006000100000000 00000050 0200000b 6f6e65626f7800 00 06000040 \
                      82000010 0006 73746174757300 000000 8200002c 0003 73657400 0000 \
                      85000010 0004 6e616d6500 00 00000003 85000010 0005 6c6576656c00 00000005";
        let mut out = Vec::new();
        assert!(message.write(&mut out));
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
    }
}
