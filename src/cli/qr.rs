//! A code as a picture on the terminal (QR Code, ISO/IEC 18004), for a telephone to read.
//!
//! How: each character is two modules, one above the other. On a terminal, black on white is asked
//! for, whatever its colours are; elsewhere the light modules are the ones that are drawn, for a dark
//! background.
//!
//! Limits: a code of an invitation needs some 65 columns and 33 rows.

use qrcodegen::{QrCode, QrCodeEcc};
use zeroize::Zeroizing;

/// Light modules around the picture, as the standard wants (§6.3.8).
const QUIET: i32 = 4;
/// Black on bright white, and back (ECMA-48, SGR; aixterm).
const INK: &str = "\x1b[30;107m";
const PLAIN: &str = "\x1b[0m";

/// The picture, every line ended; none if so much cannot be one.
pub(super) fn picture(text: &str, terminal: bool) -> Option<Zeroizing<String>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let dark = |x, y| code.get_module(x, y);
    let range = || -QUIET..code.size() + QUIET;
    let mut out = Zeroizing::new(String::new());
    for y in range().step_by(2) {
        out.push_str(if terminal { INK } else { "" });
        for x in range() {
            let (upper, lower) = (dark(x, y), dark(x, y + 1));
            out.push(match (upper == terminal, lower == terminal) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push_str(if terminal { PLAIN } else { "" });
        out.push('\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_fits_a_terminal() {
        let code = include_str!("../config/invitation_1.txt").trim();
        let plain = picture(code, false).unwrap();
        let lines: Vec<&str> = plain.lines().collect();
        assert!(lines.len() <= 33, "{} lines", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= 66), "{}", plain.as_str());
        // Two rows of the quiet zone, then the corner's finder: seven dark modules above one.
        assert!(lines[0].chars().all(|c| c == '█') && lines[1].chars().all(|c| c == '█'));
        assert!(lines[2].starts_with("████ ▄▄▄▄▄ █"), "{}", lines[2]);
        let shown = picture(code, true).unwrap();
        let line = shown.lines().nth(2).unwrap();
        assert!(line.starts_with("\x1b[30;107m    █▀▀▀▀▀█ ") && line.ends_with(PLAIN), "{line}");
        assert_eq!(picture(&"x".repeat(4000), false), None);
    }
}
