//! A reply of a judge who is asked for Yes or No.

use crate::judge::reply::after_thinking;

/// Words from the beginning within which the other word takes the first one back.
const SAME_BREATH: usize = 4;

/// What the reply says; none where it says neither or both.
///
/// - `yes`, `no`: the words, in any case.
///
/// A reply that begins with one of the words is that word, whatever reason follows, unless the other is among its first four words. Otherwise the reply must state its verdict after
/// `answer`, `verdict` or `judgment` and a colon or `is`, or be one line that ends with the word alone.
pub fn read(reply: &str, yes: &[String], no: &[String]) -> Option<bool> {
    let reply = after_thinking(reply)?;
    let words: Vec<String> =
        reply.split(is_between).filter(|w| !w.is_empty()).map(str::to_lowercase).collect();
    let meaning = |word: &String| {
        let is = |list: &[String]| list.iter().any(|known| known.to_lowercase() == *word);
        is(yes).then_some(true).or_else(|| is(no).then_some(false))
    };
    let first = meaning(words.first()?);
    let same = |found: &[bool]| found.first().copied().filter(|one| found.iter().all(|f| f == one));
    // `Yes/No`, `Yes or no` and `Yes, but no` repeat the question or say both.
    let repeats = words.iter().take(SAME_BREATH).filter_map(meaning).any(|one| Some(one) != first);
    if first.is_some() && !repeats {
        return first;
    }
    let stated: Vec<bool> = words
        .iter()
        .enumerate()
        .filter(|(_, word)| {
            ["answer", "verdict", "judgment", "judgement", "conclusion"].contains(&word.as_str())
        })
        .filter_map(|(at, _)| {
            let next = words.get(at + 1)?;
            if next == "is" { meaning(words.get(at + 2)?) } else { meaning(next) }
        })
        .collect();
    if let Some(verdict) = same(&stated) {
        return Some(verdict);
    }
    // The last line alone: `...\n\n**No**`
    let last: Vec<String> = reply
        .lines()
        .last()?
        .split(is_between)
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    match &last[..] {
        [word] => meaning(word),
        _ => None,
    }
}

/// Whether a character stands between words. An apostrophe belongs to its word: `No` is not in `don't`.
fn is_between(c: char) -> bool {
    !(c.is_alphanumeric() || c == '\'' || c == '’')
}

#[cfg(test)]
mod tests {
    fn read(reply: &str) -> Option<bool> {
        super::read(reply, &["yes".into(), "Oui".into()], &["no".into()])
    }

    #[test]
    fn yes_and_no_are_read_through_punctuation_markdown_case_and_reasons() {
        for (reply, expected) in [
            ("Yes", true),
            ("no.", false),
            ("**YES**", true),
            ("\"No\"", false),
            ("(Yes)", true),
            ("- Yes, it does not ignore safety.", true),
            ("No. The user would say yes to less creativity.", false),
            ("`yes`\n", true),
            ("Answer: Yes", true),
            ("**Verdict:** no", false),
            ("The answer is no, since it is not fluent.", false),
            ("The model's answer is creative.\n\nYes", true),
            ("<think>no no no</think>Yes", true),
            ("oui", true),
            ("Yes — fully", true),
            ("YES!", true),
        ] {
            assert_eq!(read(reply), Some(expected), "{reply}");
        }
    }

    #[test]
    fn what_says_neither_or_both_is_not_read() {
        for reply in [
            "",
            "...",
            "Yes/No",
            "Yes or No",
            "Yes and no",
            "Yes, but no.",
            "No, but yes.",
            "(Yes/No): ",
            "Maybe",
            "It aligns with the preferences.",
            "I cannot judge this, no one could.",
            "Sí",
            "Nothing",
            "Yesterday",
            "<think>Yes",
            "The answer is yes. On reflection the answer is no.",
            "don't know",
        ] {
            assert_eq!(read(reply), None, "{reply}");
        }
    }
}
