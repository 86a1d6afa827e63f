//! What somebody meant who mistyped a name.

/// Longest word that is compared, in bytes: the work grows with its square.
const WORD_MAX: usize = 64;

/// The known word that is nearest to this one, if it is near enough to be meant: a third of it may
/// be wrong, and the beginning of a word counts as near.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (word, length) = (word.to_ascii_lowercase(), word.chars().count());
    if length == 0 || word.len() > WORD_MAX {
        return None;
    }
    let near = |known: &'a str| {
        let most = (length.max(known.chars().count()) / 3).max(1);
        // "stat" is the beginning of "status" and of "start" but one letter: the beginning wins.
        let begins = length > 1 && known.to_ascii_lowercase().starts_with(&word);
        let wrong = if begins { 0 } else { distance(&word, known) };
        (wrong <= most).then_some((wrong, known))
    };
    let known = known.filter(|known| known.len() <= WORD_MAX);
    known.filter_map(near).min_by_key(|(wrong, _)| *wrong).map(|(_, known)| known)
}

/// How many letters have to be put in, left out, replaced or exchanged with the next one to make the one
/// word of the other (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.to_lowercase().chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut least =
                (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_meant_if_one_is_near() {
        let known = ["start", "stop", "reload", "status", "check", "genkey", "invite", "revoke"];
        for (word, meant) in [
            ("stat", Some("status")),
            ("Status", Some("status")),
            ("sttaus", Some("status")),
            ("strat", Some("start")),
            ("restart", Some("start")),
            ("inivte", Some("invite")),
            ("rel", Some("reload")),
            ("chek", Some("check")),
            ("dance", None),
            ("", None),
            ("x", None),
            (&"s".repeat(100_000), None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word:.9}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("ca", "abc", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
