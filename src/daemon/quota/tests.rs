use super::*;
use crate::config::{Mode, WanLink};
use crate::status::{Path as StatusPath, Peer};

/// 2026-01-15 12:00 UTC.
const JANUARY_15: u64 = 1_768_478_400;
const DAY: u64 = 86_400;

fn wan(name: &str, quota_mb: Option<u32>, quota_day: u8) -> Wan {
    Wan {
        name: name.to_owned(),
        link: WanLink::Device(name.to_owned()),
        mode: Mode::Active,
        metered: false,
        max_upload_kbps: None,
        max_download_kbps: None,
        quota_mb,
        quota_day,
    }
}

/// A status with these counters, in megabytes.
fn status(counters: &[(&str, u64)]) -> Status {
    let path = |&(wan, mb): &(&str, u64)| StatusPath {
        wan: wan.to_owned(),
        state: PathState::Backup,
        reason: "not needed now".to_owned(),
        rx_bytes: mb * MB / 2,
        tx_bytes: mb * MB / 2,
        ..StatusPath::default()
    };
    let peer = Peer { paths: counters.iter().map(path).collect(), ..Peer::default() };
    Status { peers: vec![peer], ..Status::default() }
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("onebox-quota-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn used(quotas: &Quotas, wans: &[Wan]) -> (u64, String) {
    let mut shown = status(&[("lte", 0)]);
    quotas.show(wans, &mut shown);
    let path = &shown.peers[0].paths[0];
    (path.quota_used_mb, path.reason.clone())
}

#[test]
fn an_account_fills_and_begins_anew_on_its_day() {
    let directory = directory("fill");
    let mut quotas = Quotas::open(directory.clone(), Time::ZERO, Problems::default());
    let wans = [wan("dsl", None, 1), wan("lte", Some(100), 31)];
    let mut tell = |unix_s, lte| {
        quotas.update(Time(SEC), unix_s, &wans, &status(&[("dsl", 9000), ("lte", lte)]).peers);
        (quotas.full().into_iter().collect::<String>(), used(&quotas, &wans))
    };
    let free = |mb| (String::new(), (mb, "not needed now".to_owned()));
    assert_eq!(tell(JANUARY_15, 60), free(60));
    assert_eq!(tell(JANUARY_15 + 1, 99), free(99));
    // The path begins anew: what it says is new.
    let reason = "quota used up, only a backup until 31 January".to_owned();
    assert_eq!(tell(JANUARY_15 + 2, 3), ("lte".to_owned(), (102, reason.clone())));
    assert_eq!(tell(JANUARY_15 + 15 * DAY, 4), ("lte".to_owned(), (103, reason)));
    // The 31st, and then the last day of February.
    assert_eq!(tell(JANUARY_15 + 16 * DAY, 4), free(0));
    assert_eq!(tell(JANUARY_15 + 43 * DAY, 54), free(50));
    assert_eq!(tell(JANUARY_15 + 44 * DAY, 64), free(0));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_used_survives_a_restart_and_is_written_rarely() {
    let directory = directory("file");
    let file = directory.join(FILE);
    let wans = [wan("lte", Some(100), 1)];
    let mut quotas = Quotas::open(directory.clone(), Time::ZERO, Problems::default());
    let at = |hours: u64| Time(hours * SAVE_US + SEC);
    quotas.update(at(0), JANUARY_15, &wans, &status(&[("lte", 10)]).peers);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, r#"{"wans":{"lte":{"period":"2026-01-01","used_bytes":10000000}}}"#);
    for second in 0..3000 {
        quotas.update(
            at(0) + second * SEC,
            JANUARY_15,
            &wans,
            &status(&[("lte", 11 + second / 100)]).peers,
        );
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    quotas.update(at(1), JANUARY_15, &wans, &status(&[("lte", 50)]).peers);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(":50000000"), "{text}");
    quotas.update(at(1), JANUARY_15, &wans, &status(&[("lte", 70)]).peers);
    quotas.save(at(1));
    let mut again = Quotas::open(directory.clone(), Time::ZERO, Problems::default());
    assert_eq!(used(&again, &wans).0, 70);
    assert!(again.update(Time(SEC), JANUARY_15, &wans, &status(&[("lte", 30)]).peers));
    // Full: written at once.
    assert!(std::fs::read_to_string(&file).unwrap().contains(":100000000"));
    std::fs::write(&file, "{").unwrap();
    let problems = Problems::default();
    let codes =
        || problems.shown(Time::ZERO, 0).into_iter().map(|one| one.code).collect::<Vec<_>>();
    let mut again = Quotas::open(directory.clone(), Time::ZERO, problems.clone());
    assert_eq!((used(&again, &wans).0, codes()), (0, vec!["quota_unreadable".to_owned()]));
    // A directory in the file's place cannot be replaced.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    again.update(Time(SEC), JANUARY_15, &wans, &status(&[("lte", 30)]).peers);
    assert!(codes().contains(&"quota_unsaved".to_owned()), "{:?}", codes());
    std::fs::remove_dir(&file).unwrap();
    again.save(Time(SEC));
    assert_eq!(codes(), Vec::<String>::new());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn without_quotas_nothing_is_written() {
    let directory = directory("none");
    let mut quotas = Quotas::open(directory.clone(), Time::ZERO, Problems::default());
    assert!(!quotas.update(
        Time(SEC),
        JANUARY_15,
        &[wan("lte", None, 1)],
        &status(&[("lte", 9)]).peers
    ));
    quotas.save(Time(SEC));
    assert!(!directory.exists());
}

#[test]
fn a_clock_that_is_not_set_or_goes_back_begins_nothing_anew() {
    let directory = directory("clock");
    let mut quotas = Quotas::open(directory.clone(), Time::ZERO, Problems::default());
    let wans = [wan("lte", Some(100), 1)];
    let mut tell = |unix_s, lte| {
        quotas.update(Time(SEC), unix_s, &wans, &status(&[("lte", lte)]).peers);
        used(&quotas, &wans).0
    };
    assert_eq!(tell(5, 10), 10);
    assert_eq!(tell(JANUARY_15, 20), 20);
    assert_eq!(tell(6, 30), 30);
    assert_eq!(tell(JANUARY_15 - 60 * DAY, 40), 40);
    assert_eq!(tell(JANUARY_15, 50), 50);
    assert_eq!(tell(JANUARY_15 + 31 * DAY, 60), 0);
    // A larger quota, or none, frees it at once.
    assert!(quotas.update(Time(SEC), JANUARY_15 + 31 * DAY, &wans, &status(&[("lte", 500)]).peers));
    assert!(quotas.update(
        Time(SEC),
        JANUARY_15 + 31 * DAY,
        &[wan("lte", None, 1)],
        &status(&[]).peers
    ));
    assert!(quotas.full().is_empty());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_account_of_a_clock_that_ran_ahead_counts_for_now() {
    let directory = directory("ahead");
    let mut quotas = Quotas::open(directory.clone(), Time::ZERO, Problems::default());
    let wans = [wan("lte", Some(100), 1)];
    let mut tell = |second, unix_s, lte| {
        quotas.update(Time(second * SEC), unix_s, &wans, &status(&[("lte", lte)]).peers);
        (used(&quotas, &wans).0, !quotas.full().is_empty())
    };
    assert_eq!(tell(1, JANUARY_15 + 3650 * DAY, 120), (120, true));
    // The clock is right again. A clock of a router that lost its power may be behind as well.
    assert_eq!(tell(2, JANUARY_15, 120), (120, true));
    assert_eq!(tell(3500, JANUARY_15 + 3498, 120), (120, true));
    assert_eq!(tell(3700, JANUARY_15 + 3698, 121), (121, true));
    assert_eq!(tell(3800, JANUARY_15 + 31 * DAY, 121), (0, false));
    // It was behind, and is set within the hour: nothing is lost.
    assert_eq!(tell(3900, JANUARY_15 - 60 * DAY, 131), (10, false));
    assert_eq!(tell(5000, JANUARY_15 + 31 * DAY, 132), (11, false));
    assert_eq!(tell(9000, JANUARY_15 - 60 * DAY, 133), (12, false));
    assert_eq!(tell(9900, JANUARY_15 + 31 * DAY, 134), (13, false));
    std::fs::remove_dir_all(directory).unwrap();
}
