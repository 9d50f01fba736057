//! A reply of a judge: free text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mvpbench::judge::protocol::messages::First;
use mvpbench::judge::reply::{after_thinking, objects, scores, yes_no};

fuzz_target!(|reply: &str| {
    let (yes, no) = (["yes".to_owned(), "ja".to_owned()], ["no".to_owned(), "Não".to_owned()]);
    let said = yes_no::read(reply, &yes, &no);
    let swapped = yes_no::read(reply, &no, &yes);
    assert_eq!(said.map(|said| !said), swapped, "the words are treated alike");

    let preferred = scores::read(reply, First::Preferred);
    let rejected = scores::read(reply, First::Rejected);
    assert_eq!(preferred.is_some(), rejected.is_some());
    if let (Some(one), Some(other)) = (preferred, rejected) {
        let (one, other) = (one.scores, other.scores);
        for score in [one.score_w, one.score_l, one.score_model] {
            assert!((0.0..=100.0).contains(&score), "{score}");
        }
        assert!(one.score_w.total_cmp(&other.score_l).is_eq());
        assert!(one.score_l.total_cmp(&other.score_w).is_eq());
    }
    for object in objects(after_thinking(reply).unwrap_or(reply)) {
        let written = serde_json::to_string(&object).expect("an object is written");
        assert_eq!(objects(&written), [object], "what was read is read again");
    }
});
