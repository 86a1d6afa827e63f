use super::*;
use proptest::prelude::*;

fn invitation() -> Invitation {
    Invitation {
        name: "home".to_owned(),
        private_key: PrivateKey::from_bytes([1; 32]),
        preshared_key: PresharedKey::from_bytes([2; 32]),
        server: PublicKey::from_bytes([3; 32]),
        addresses: ["10.99.0.2/24", "fd99::2/64"].map(|a| a.parse().unwrap()).to_vec(),
        endpoints: vec!["vps.example.net:51830".parse().unwrap()],
    }
}

fn code() -> String {
    invitation().encode().unwrap().to_string()
}

#[test]
fn a_code_is_read_as_it_was_written() {
    let code = code();
    assert_eq!(Invitation::decode(&code), Ok(invitation()));
    assert!(code.starts_with("onebox1-") && code.len() < 250, "{} characters", code.len());
    // As a mail program leaves it.
    let broken: String = code.chars().flat_map(|c| [c, '\n', ' ']).collect();
    assert_eq!(Invitation::decode(&broken), Ok(invitation()));
    let quoted = format!("> > \"{}=\r\n> > {}”\n>\n", &code[..76], &code[76..]);
    assert_eq!(Invitation::decode(&quoted), Ok(invitation()));
}

/// The layout must never change under this version.
#[test]
fn a_code_of_the_first_version_stays_readable() {
    let golden = include_str!("invitation_1.txt");
    assert_eq!(code(), golden.trim());
}

#[test]
fn mistakes_are_told_apart() {
    let code = code();
    let decode = |text: &str| Invitation::decode(text).unwrap_err();
    for foreign in ["", "onebox", "onebox1", "vps.example.net:51830", "onebox01-AAAA", "onebox-A"] {
        assert_eq!(decode(foreign), CodeError::Foreign, "{foreign}");
    }
    assert_eq!(decode(&"onebox1-".repeat(1000)), CodeError::Foreign);
    assert_eq!(decode(&code.replace("onebox1", "onebox2")), CodeError::OtherVersion(2));
    assert_eq!(decode(&code.replace("onebox1", "onebox23")), CodeError::OtherVersion(23));
    for end in 0..code.len() {
        let error = decode(&code[..end]);
        let cut = matches!(error, CodeError::Truncated(..));
        assert_eq!(cut, end >= "onebox1-".len(), "{end}: {error}");
    }
    assert_eq!(decode(&format!("{code}A")), CodeError::Damaged);
    assert_eq!(decode(&format!("{code}{code}")), CodeError::Damaged);
    assert_eq!(decode(&format!("{code}ä")), CodeError::Damaged);
}

#[test]
fn what_a_code_cannot_hold_is_refused() {
    let mut empty = invitation();
    empty.endpoints.clear();
    assert!(empty.encode().is_err());
    let mut long = invitation();
    long.name = "a".repeat(NAME_MAX + 1);
    assert!(long.encode().is_err());
    let mut many = invitation();
    many.endpoints = vec![many.endpoints[0].clone(); ENDPOINTS_MAX + 1];
    assert!(many.encode().is_err());
}

/// Contents that no server writes, under a checksum that is right.
#[test]
fn wrong_contents_are_refused_whatever_the_checksum_says() {
    let seal = |contents: &[u8]| {
        let length = u16::try_from(contents.len() + CHECKSUM_LEN).unwrap();
        let mut bytes = [&length.to_be_bytes()[..], contents].concat();
        bytes.extend(checksum(&bytes));
        let mut buffer = vec![0; characters(bytes.len())];
        format!("onebox1-{}", Base64UrlUnpadded::encode(&bytes, &mut buffer).unwrap())
    };
    let sealed = {
        let mut buffer = vec![0; 4096];
        let code = code();
        let bytes = Base64UrlUnpadded::decode(&code["onebox1-".len()..], &mut buffer).unwrap();
        bytes[LENGTH_LEN..bytes.len() - CHECKSUM_LEN].to_vec()
    };
    assert_eq!(Invitation::decode(&seal(&sealed)), Ok(invitation()));
    for at in 96..sealed.len() {
        for value in [0, 1, 5, 7, 33, 0x80, 0xff] {
            let mut other = sealed.clone();
            other[at] = value;
            // It may mean something else, but must be a configuration's.
            if let Ok(read) = Invitation::decode(&seal(&other)) {
                assert!(is_name(&read.name) && !read.addresses.is_empty());
                assert_eq!(Invitation::decode(&read.encode().unwrap()), Ok(read));
            }
        }
    }
    for end in 0..sealed.len() {
        let error = Invitation::decode(&seal(&sealed[..end])).unwrap_err();
        assert!(matches!(error, CodeError::Contents(_)), "{end}: {error}");
    }
}

proptest! {
    #[test]
    fn any_invitation_survives(
        keys in any::<[[u8; 32]; 3]>(),
        name in "[A-Za-z0-9_]{1,32}",
        v4 in (1u32..0xe000_0000, 0u8..=32),
        v6 in (1u128..(0xff << 120), 0u8..=128),
        hosts in prop::collection::vec(("[a-z]{1,20}(\\.[a-z]{1,20}){0,3}", 1u16..), 1..=3),
    ) {
        let invitation = Invitation {
            name,
            private_key: PrivateKey::from_bytes(keys[0]),
            preshared_key: PresharedKey::from_bytes(keys[1]),
            server: PublicKey::from_bytes(keys[2]),
            addresses: vec![
                InterfaceAddress { address: Ipv4Addr::from_bits(v4.0).into(), length: v4.1 },
                InterfaceAddress { address: Ipv6Addr::from_bits(v6.0).into(), length: v6.1 },
            ],
            endpoints: hosts
                .into_iter()
                .map(|(host, port)| Endpoint { host: Host::Name(host), port })
                .collect(),
        };
        let code = invitation.encode().unwrap();
        prop_assert_eq!(Invitation::decode(&code), Ok(invitation));
    }

    #[test]
    fn every_other_character_is_refused(at in any::<prop::sample::Index>(), other in "\\PC") {
        let code = code();
        let at = at.index(code.len());
        prop_assume!(code[at..=at] != other);
        let changed = format!("{}{other}{}", &code[..at], &code[at + 1..]);
        prop_assert!(Invitation::decode(&changed).is_err());
    }

    #[test]
    fn two_characters_exchanged_are_refused(at in 8usize..200) {
        let code = code();
        prop_assume!(at + 2 <= code.len() && code[at..=at] != code[at + 1..at + 2]);
        let (a, b) = (&code[at..=at], &code[at + 1..at + 2]);
        let changed = format!("{}{b}{a}{}", &code[..at], &code[at + 2..]);
        prop_assert!(Invitation::decode(&changed).is_err());
    }

    #[test]
    fn any_text_is_refused_or_read(text in "(onebox1-)?[A-Za-z0-9_-]{0,300}") {
        let _ = Invitation::decode(&text);
    }
}
