use super::*;

const NAME: &str = "vps.example.net";

fn at(seconds: u64) -> Time {
    Time(seconds * SEC)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Asks as soon as it may, and fails at once; the seconds between the questions.
fn pauses(pace: &mut Pace, count: usize, dice: u64) -> Vec<u64> {
    let mut times = Vec::new();
    for _ in 0..count {
        let now = pace.due;
        assert_eq!(pace.step(now, dice), Step::Ask);
        pace.ask(now);
        assert!(pace.on_end(now, now, false, dice));
        times.push(now);
    }
    times.windows(2).map(|pair| pair[1].since(pair[0]) / SEC).collect()
}

#[test]
fn failures_make_it_slow_and_changes_fast() {
    // Half of the span of chance: the pause itself.
    let middle = |us: u64| us / 4;
    let mut pace = Pace::new(Time::ZERO);
    assert_eq!(about(PAUSE_MIN_US, middle(PAUSE_MIN_US)), PAUSE_MIN_US);
    let pauses = pauses(&mut pace, 9, 0);
    assert_eq!(pauses, [0, 1, 3, 6, 12, 22, 22, 22], "three quarters of 1, 2, 4, … 30 s");
    let now = pace.asked.unwrap() + 100;
    pace.hurry(now);
    assert_eq!(pace.due, now.max(pace.asked.unwrap() + APART_US), "not twice in a second");
    for dice in [0, 1, u64::MAX / 3, u64::MAX] {
        assert!((225 * SEC..375 * SEC).contains(&about(REFRESH_US, dice)));
    }
}

#[test]
fn while_all_is_well_it_is_asked_seldom_and_in_silence_at_once() {
    let mut pace = Pace::new(at(0));
    pace.ask(at(0));
    assert!(pace.on_end(at(1), at(0), true, 0));
    assert_eq!(pace.due, at(1) + 3 * PAUSE_MIN_US / 4, "no peer is up yet");
    pace.set_well(at(1), true, 0);
    assert_eq!(pace.due, at(1) + 3 * REFRESH_US / 4);
    pace.hurry(at(50));
    assert_eq!(pace.due, at(1) + 3 * REFRESH_US / 4, "another WAN is none of its business");
    pace.set_well(at(60), false, 0);
    assert_eq!(pace.due, at(60));
}

#[test]
fn a_resolver_that_hangs_collects_no_threads() {
    let mut pace = Pace::new(at(0));
    let (mut asked, mut late) = (Vec::new(), 0);
    for second in 0..300 {
        pace.hurry(at(second));
        match pace.step(at(second), 0) {
            Step::Ask => {
                pace.ask(at(second));
                asked.push(second);
            }
            Step::Late(_) => late += 1,
            Step::Wait => {}
        }
        assert!(pace.running <= OF_ONE_MAX);
    }
    assert_eq!((asked, late), (vec![0, 1, 2, 3], 1));
    assert!(!pace.on_end(at(300), at(0), true, 0), "too late");
    assert_eq!(pace.step(pace.due, 0), Step::Ask);
}

#[test]
fn of_several_answers_the_one_to_the_newest_question_counts() {
    let mut pace = Pace::new(at(0));
    for second in [0, 10] {
        pace.ask(at(second));
    }
    assert!(!pace.on_end(at(11), at(0), false, 0), "there is a newer one");
    assert!(pace.on_end(at(12), at(10), true, 0));
    pace.ask(at(13));
    assert!(pace.on_end(at(14), at(13), true, 0));
    assert!(!pace.on_end(at(15), at(10), true, 0), "an older one");
    assert!(!pace.failing && !pace.open);
}

#[test]
fn while_no_answer_comes_each_way_has_its_turn() {
    let mut names = Names::new(PathBuf::new(), Problems::default());
    names.names.insert(NAME.to_owned(), name(&[], &[]));
    let mut turns = Vec::new();
    for second in 0..12 {
        if names.take_turn(at(second)) {
            turns.push(second);
        }
        let pace = &mut names.names.get_mut(NAME).unwrap().pace;
        match pace.step(at(second), 0) {
            Step::Ask => pace.ask(at(second)),
            Step::Late(seconds) => assert_eq!((second, seconds), (10, 10)),
            Step::Wait => {}
        }
    }
    assert_eq!((turns, names.turn()), (vec![2, 4, 6, 8, 10], 5));
    // An answer ends it.
    let pace = &mut names.names.get_mut(NAME).unwrap().pace;
    let newest = pace.asked.unwrap();
    assert_eq!(newest, at(6), "as many as may wait at once");
    assert!(pace.on_end(at(12), newest, true, 0));
    assert!(!names.take_turn(at(60)));
}

#[test]
fn a_server_that_has_moved_is_asked_for_soon() {
    let mut found = name(&["192.0.2.1"], &[]);
    found.pace.ask(at(0));
    assert!(found.pace.on_end(at(0), at(0), true, 0));
    found.pace.set_well(at(0), true, 0);
    let far = found.pace.due;
    found.note_used(&[ip("192.0.2.1")]);
    found.note_used(&[]);
    assert_eq!(found.pace.due, far);
    found.note_used(&[ip("192.0.2.7")]);
    assert_eq!(found.pace.due, Time::ZERO + STALE_US);
}

fn name(answer: &[&str], kept: &[&str]) -> Name {
    let list = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect();
    Name { pace: Pace::new(Time::ZERO), answer: list(answer), kept: list(kept) }
}

#[test]
fn only_what_works_is_kept() {
    let used = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<_>>();
    // The portal of a hotel says that everything is here.
    let mut portal = name(&["10.0.0.1"], &["192.0.2.1"]);
    assert!(!portal.note_used(&used(&["192.0.2.1"])));
    assert_eq!(
        portal.addresses().collect::<Vec<_>>(),
        [(ip("10.0.0.1"), false), (ip("192.0.2.1"), true)]
    );
    // A server moves; one path is not there yet.
    let mut moved = name(&["192.0.2.2", "2001:db8::2"], &["192.0.2.1", "192.0.2.9"]);
    assert!(!moved.note_used(&used(&["192.0.2.1"])));
    assert!(moved.note_used(&used(&["192.0.2.1", "192.0.2.2"])));
    assert_eq!(moved.kept, [ip("192.0.2.2"), ip("192.0.2.1"), ip("2001:db8::2")]);
    assert!(!moved.note_used(&used(&["192.0.2.1", "192.0.2.2"])));
}

#[test]
fn a_damaged_file_is_harmless() {
    let folder = std::env::temp_dir().join(format!("onebox-names-{}", std::process::id()));
    let path = folder.join("kept");
    assert!(read(&path).is_empty());
    let kept = [ip("192.0.2.1"), ip("2001:db8::1")];
    let text = write([(NAME, kept.as_slice()), ("none", &[])].into_iter());
    files::write_private(&path, text.as_bytes()).unwrap();
    assert_eq!(read(&path), LiteMap::from_iter([(NAME.to_owned(), kept.to_vec())]));
    let mut text =
        b"\xff\xfe 1.2.3.4\n\n \nx y 0.0.0.0 224.0.0.1 192.0.2.7 192.0.2.7 300.1.1.1\n".to_vec();
    text.extend(
        (0..200)
            .map(|n| format!("10.0.0.{n} "))
            .fold("many ".to_owned(), |all, one| all + &one)
            .bytes(),
    );
    std::fs::write(&path, &text).unwrap();
    let found = read(&path);
    assert_eq!(found.get("x").unwrap().as_slice(), [ip("192.0.2.7")]);
    assert_eq!(found.get("many").unwrap().len(), KEPT_MAX);
    std::fs::write(&path, vec![b'a'; 2 * FILE_MAX as usize]).unwrap();
    assert!(read(&path).values().all(Vec::is_empty));
    let link = folder.join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(read(&link).is_empty(), "somebody's file");
    std::fs::remove_dir_all(folder).unwrap();
}

fn peers(text: &str) -> Vec<Peer> {
    let key = "option private_key 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEE='\n";
    let text = format!("config onebox 'main'\n{key}list address '10.99.0.2/24'\n{text}");
    let (config, problems) = crate::config::Config::parse(text.as_bytes());
    config.unwrap_or_else(|| panic!("{problems:?}")).peers
}

fn peer(name: &str, endpoints: &str, number: u8) -> String {
    let mut key = [b'A'; 44];
    (key[43], key[1]) = (b'=', b'A' + number);
    let key = String::from_utf8(key.to_vec()).unwrap();
    let endpoints = endpoints.split(' ').map(|e| format!("list endpoint '{e}'\n"));
    format!(
        "config peer '{name}'\noption public_key '{key}'\n{}list allowed_ips '10.{number}.0.0/24'\n",
        endpoints.collect::<String>()
    )
}

#[test]
fn names_follow_the_configuration() {
    let problems = Problems::default();
    let mut names = Names::new("/nonexistent/names".into(), problems.clone());
    let both = "192.0.2.9:1 vps.example.net:2";
    let first = peers(&(peer("a", both, 1) + &peer("b", "vps.example.net:3 other.example:4", 2)));
    names.configure(at(0), &first, |_| false);
    assert_eq!(names.names.len(), 2);
    names.names.get_mut(NAME).unwrap().kept = vec![ip("192.0.2.1")];
    let outcome = Ok(vec![ip("192.0.2.2")]);
    let ended = Ended { name: NAME.to_owned(), asked: at(0), outcome };
    assert!(names.on_ended(at(1), ended));
    let addresses = names.addresses(&first[0].endpoints);
    let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    assert_eq!(texts, ["192.0.2.9:1", "192.0.2.2:2", "192.0.2.1:2"]);
    names.names.get_mut(NAME).unwrap().answer = (10..20).map(|n| [10, 0, 0, n].into()).collect();
    let many = names.addresses(&first[0].endpoints);
    assert_eq!((many.len(), many.last()), (ADDRESSES_MAX, Some(&"192.0.2.1:2".parse().unwrap())));
    names.names.get_mut(NAME).unwrap().answer = vec![ip("192.0.2.2")];
    names.set_up(at(2), "a", true);
    assert!(!names.names.get(NAME).unwrap().pace.well, "b is not up");
    names.set_up(at(2), "b", true);
    assert!(names.names.get(NAME).unwrap().pace.well);
    names.set_up(at(2), "stranger", true);

    let outcome = Err("no such host".to_owned());
    names.names.get_mut("other.example").unwrap().pace.ask(at(3));
    let ended = Ended { name: "other.example".to_owned(), asked: at(3), outcome };
    assert!(!names.on_ended(at(4), ended));
    let error = problems.last_error(at(4), Problem::NameUnresolved, &["other.example"]).unwrap();
    assert!(error.words.contains("no such host"), "{error:?}");
    names.configure(at(5), &first[..1], |_| true);
    assert!(problems.last_error(at(5), Problem::NameUnresolved, &["other.example"]).is_none());
    assert_eq!(names.addresses(&first[0].endpoints), addresses, "what stays goes on");
    // An answer to what nobody asks for any more.
    let outcome = Ok(vec![ip("192.0.2.3")]);
    assert!(!names.on_ended(at(6), Ended { name: "other.example".into(), asked: at(3), outcome }));
}
