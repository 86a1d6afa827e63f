//! A bus that sends anything: the program hangs up, or does not care, and comes again.

use crate::Daemon;
use crate::bus::{Bus, Kind, SOON};
use crate::lab::programs::TempDir;
use onebox_openwrt::ubus::message::{MESSAGE_MAX, Message, attribute, kind};
use onebox_openwrt::ubus::{Client, Error, Incoming, blob, blobmsg};
use proptest::prelude::*;
use serde_json::json;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;

const HELLO: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 4];

fn bytes(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(message.write(&mut out));
    out
}

/// What is no message, or one that nobody should send.
fn nonsense() -> Vec<Vec<u8>> {
    let head = |length: u32| [&[0, 5, 0, 1, 0, 0, 0, 9][..], &length.to_be_bytes()].concat();
    let call = |id: u8, data: &[u8]| {
        let message = Message::new(kind::INVOKE, 1, 9).number(attribute::OBJECT_ID, 5);
        bytes(&message.text(attribute::METHOD, "status").bytes(id, data))
    };
    let mut deep = json!({});
    for _ in 0..2000 {
        deep = json!({ "d": deep });
    }
    let mut deep_bytes = Vec::new();
    blobmsg::put_value(&mut deep_bytes, "d", &deep);
    let mut list = vec![
        vec![],
        vec![0xff; 4096],
        head(0),
        head(3),
        head(MESSAGE_MAX as u32 + 1),
        head(u32::MAX),
        // It never comes.
        head(MESSAGE_MAX as u32),
        call(attribute::DATA, &deep_bytes),
        call(attribute::DATA, &[0x83, 0, 0, 6, 0xff, 0xff]),
        call(attribute::OBJECT_ID, &[1]),
        call(attribute::METHOD, b"no end"),
    ];
    // Each kind, known or not, without anything, with all numbers, and with all numbers short.
    for kind in 0..=255u8 {
        for peer in [0, 9] {
            let mut full = Message::new(kind, 1, peer);
            let mut short = full.clone();
            list.push(bytes(&full));
            for id in 0..=127 {
                blob::put(&mut full.body, id, &[0, 0, 0, 1]);
                blob::put(&mut short.body, id, &[0]);
            }
            list.push([bytes(&full), bytes(&short)].concat());
        }
    }
    // A whole message, cut off everywhere.
    let mut data = Vec::new();
    blobmsg::put_value(&mut data, "a", &json!([1, {"b": "c"}, 1.5]));
    let whole = call(attribute::DATA, &data);
    list.extend((1..whole.len()).map(|end| whole[..end].to_vec()));
    list
}

/// A client over a connection on which this comes behind the greeting, and then the end: it finds
/// the end, whatever it is asked to do meanwhile.
fn survives(sent: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let files = TempDir::new();
    let path = files.file("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let sent = [&HELLO[..], sent].concat();
    let bus = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        // It may hang up first.
        let _ = stream.write_all(&sent);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    runtime.block_on(async {
        let mut client = Client::connect(&path).await.unwrap();
        let _ = client.lookup("network.interface").await;
        let _ = client.call(9, "dump", &serde_json::Map::new());
        loop {
            match tokio::time::timeout(SOON, client.next()).await.expect("it ends") {
                Ok(Incoming::Call(call)) => drop(call.table()),
                Ok(Incoming::Reply(_, reply)) => drop(reply.table()),
                Ok(_) => {}
                Err(error) => break assert!(matches!(error, Error::Io(_)), "{error}"),
            }
        }
    });
    bus.join().unwrap();
}

#[test]
fn a_client_finds_the_end_of_all_nonsense() {
    nonsense().iter().for_each(|sent| survives(sent));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_client_finds_the_end_of_any_messages(
        list in prop::collection::vec((0u8..12, 0u16..4, 0u32..3, any::<Vec<u8>>()), 0..8),
        cut in 0usize..40,
    ) {
        let messages = list.into_iter().map(|(kind, seq, peer, body)| Message { kind, seq, peer, body });
        let sent: Vec<u8> = messages.flat_map(|message| bytes(&message)).collect();
        survives(&sent[..sent.len().saturating_sub(cut)]);
    }
}

/// The program on a bus without greeting, then on one that sends all this and is then cut off, and
/// then on one as it should be.
#[test]
fn nonsense_does_not_stop_the_program() {
    let mut bus = Bus::new(Kind::StandIn);
    let listener = UnixListener::bind(bus.socket()).unwrap();
    let daemon = Daemon::start(&bus.socket(), None);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&[0xff; 4096]).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&HELLO).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let drain = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    // What it waits for while it registers: an object, a listener, and so on.
    for seq in 1..8 {
        for kind in [kind::DATA, kind::STATUS] {
            let message = Message::new(kind, seq, u32::from((3..5).contains(&seq)));
            let message = message.number(attribute::OBJECT_ID, 5).number(attribute::STATUS, 0);
            stream.write_all(&bytes(&message)).unwrap();
        }
    }
    for sent in nonsense() {
        let whole = Message::read(&mut sent.clone());
        if matches!(whole, Ok(Some(_))) {
            stream.write_all(&sent).unwrap();
        }
    }
    stream.shutdown(Shutdown::Both).unwrap();
    drain.join().unwrap().unwrap();
    assert!(daemon.try_status().is_some(), "{}", daemon.log());
    drop(listener);
    std::fs::remove_file(bus.socket()).unwrap();
    bus.start();
    bus.client().wait_for("onebox");
    assert_eq!((daemon.said("panic"), daemon.said("ERROR")), (0, 0), "{}", daemon.log());
    daemon.stop();
}
