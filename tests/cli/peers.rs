//! Who is invited, and who no longer.

use crate::invite::{TO, folder, invite, join, text, with_config};
use crate::{socket, with_program};

#[test]
fn routers_are_listed_and_shut_out() {
    let folder = folder("peers");
    let server = folder.join("server");
    let outcome = with_config(&["invite", "--list"], &server, "");
    assert!(outcome.0 == 0 && outcome.2.contains("nobody is invited"), "{outcome:?}");
    let (exit, _, err) = with_config(&["revoke", "home"], &server, "");
    assert!(exit == 1 && err.contains("no router is called 'home'"), "{err}");

    // Names as people write them.
    let code = invite(&["my-home", TO[0], TO[1]], &server);
    let (_, _, err) = with_config(&["invite", "my-home"], &server, "");
    assert!(err.contains("the router's name is 'my_home'"), "{err}");
    assert!(err.contains("UDP port 51830: it must be open"), "{err}");
    assert_eq!(invite(&["my_home"], &server), code);
    invite(&["vps"], &server);
    // A program that runs knows when they were here; the stand-in knows 'vps' only.
    let path = socket("peers");
    let both = text(&server);
    let control = format!("\toption role 'server'\n\toption control '{}'\n", path.display());
    std::fs::write(&server, both.replace("\toption role 'server'\n", &control)).unwrap();
    let (exit, out, err) = with_config(&["invite", "--list"], &server, "");
    assert!(exit == 0 && err.contains("not running"), "{err}");
    assert!(out.lines().count() == 3 && out.contains("\nmy_home  10."), "{out}");
    let listed = server.clone();
    with_program(&path, move || {
        let (exit, out, err) = with_config(&["invite", "--list"], &listed, "");
        assert_eq!((exit, err.as_str()), (0, ""));
        let row = out.lines().nth(2).unwrap();
        assert!(row.starts_with("vps      10.") && row.ends_with("  0 s ago"), "{out}");
        let (exit, out, err) = with_config(&["revoke", "vps"], &listed, "");
        assert_eq!((exit, out.as_str()), (0, ""), "{err}");
        assert!(err.contains("'vps' is shut out") && err.contains("taken it over"), "{err}");
    });
    assert!(!text(&server).contains("config peer 'vps'"));
    let (exit, _, err) = with_config(&["revoke", "my-hme"], &server, "");
    assert!(exit == 1 && err.contains("did you mean 'my_home'?"), "{err}");
    let (exit, _, err) = with_config(&["revoke", "my-home"], &server, "");
    assert!(exit == 0 && err.contains("'my_home' is shut out"), "{err}");
    let left = text(&server);
    assert!(!left.contains("preshared_key") && !left.contains("config peer"), "{left}");
    // Another code, since its secret is another.
    assert_ne!(invite(&["my_home"], &server), code);

    let router = folder.join("router");
    assert_eq!(join(&[], &router, &code).0, 0);
    for words in [&["invite", "--list"][..], &["revoke", "vps"]] {
        let (exit, out, err) = with_config(words, &router, "");
        assert!((exit, out.as_str()) == (1, "") && err.contains("on the server"), "{err}");
    }
}

#[test]
fn a_code_is_drawn_below_itself() {
    let server = folder("qr").join("server");
    let code = invite(&["home", TO[0], TO[1]], &server);
    let (exit, out, _) = with_config(&["invite", "home", "--qr"], &server, "");
    let (first, picture) = out.split_once('\n').unwrap();
    assert_eq!((exit, first), (0, code.as_str()));
    assert!(picture.lines().count() > 20 && picture.starts_with('█'), "{picture}");
    assert!(!picture.contains('\x1b'));
}
