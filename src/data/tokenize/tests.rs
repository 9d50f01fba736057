use super::*;
use crate::data::file;
use crate::data::pair::TemplateBos;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(path)
}

fn tiny() -> (Vec<Pair>, Tokenizer, Value) {
    let bytes = std::fs::read(golden("pairs.jsonl")).unwrap();
    let tokens = std::fs::read(golden("cases/tiny/tokens.json")).unwrap();
    let tokenizer = Tokenizer::load(&golden("models/tiny")).unwrap();
    (
        file::parse(&bytes, "pairs.jsonl").unwrap(),
        tokenizer,
        serde_json::from_slice(&tokens).unwrap(),
    )
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// All golden pairs at once under `tokenization`, against a list of `prompt_ids, chosen_ids, rejected_ids`.
fn assert_golden(tokenization: Tokenization, max_prompt_tokens: usize, list: &str) {
    let (pairs, tokenizer, golden) = tiny();
    let limits = Limits { tokenization, max_prompt_tokens, max_length: 1024, ..Limits::default() };
    let tokenized = tokenize(&pairs, &tokenizer, &limits).unwrap();
    let golden = golden[list].as_array().unwrap();
    assert_eq!((tokenized.pairs.len(), golden.len()), (13, 13));
    for (got, want) in tokenized.pairs.iter().zip(golden) {
        assert_eq!(Value::from(pairs[got.row as usize].id.as_str()), want["id"]);
        assert_eq!(got.prompt, ids(&want["prompt_ids"]), "{} prompt", want["id"]);
        assert_eq!(got.chosen, ids(&want["chosen_ids"]), "{} chosen", want["id"]);
        assert_eq!(got.rejected, ids(&want["rejected_ids"]), "{} rejected", want["id"]);
    }
}

#[test]
fn joint_ids_are_those_of_trl() {
    assert_golden(Tokenization::Joint, 0, "pairs");
}

#[test]
fn separate_ids_are_those_of_older_trl() {
    assert_golden(Tokenization::Separate, 512, "legacy_trl_0_24");
}

#[test]
fn truncation_and_drops_are_those_of_trl() {
    let (pairs, tokenizer, golden) = tiny();
    let mut checked = 0;
    for case in golden["truncated"]
        .as_object()
        .unwrap()
        .values()
        .filter(|case| case["truncation_mode"] == "keep_start")
    {
        let max_length = case["max_length"].as_u64().unwrap() as usize;
        let limits = Limits { max_length, ..Limits::default() };
        let Tokenized { pairs: kept, counts } = tokenize(&pairs, &tokenizer, &limits).unwrap();
        let dropped: Vec<String> = serde_json::from_value(case["dropped_ids"].clone()).unwrap();
        assert_eq!((counts.dropped, &counts.dropped_ids), (dropped.len(), &dropped));
        let rows = case["rows"].as_array().unwrap();
        assert_eq!((kept.len(), counts.pairs), (rows.len(), rows.len()));
        for (got, want) in kept.iter().zip(rows) {
            assert_eq!(Value::from(pairs[got.row as usize].id.as_str()), want["id"]);
            for (side, answer) in [("chosen", &got.chosen), ("rejected", &got.rejected)] {
                let mask: Vec<u32> =
                    (0..got.prompt.len()).map(|_| 0).chain(answer.iter().map(|_| 1)).collect();
                assert_eq!([got.prompt.as_slice(), answer].concat(), ids(&want[side]["input_ids"]));
                assert_eq!(mask, ids(&want[side]["completion_mask"]));
            }
        }
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn a_cut_prompt_keeps_its_bos_and_its_end() {
    let (pairs, tokenizer, golden) = tiny();
    let limits = Limits { max_prompt_tokens: 100, ..Limits::default() };
    let tokenized = tokenize(&pairs, &tokenizer, &limits).unwrap();
    let whole = ids(&golden["pairs"][0]["prompt_ids"]);
    assert_eq!(tokenized.pairs[0].prompt[0], 1);
    assert_eq!(tokenized.pairs[0].prompt[1..], whole[whole.len() - 99..]);
    assert_eq!((tokenized.counts.prompts_cut, tokenized.counts.dropped), (5, 0));
}

#[test]
fn tokens_are_counted_as_packed_and_as_sequences() {
    let (pairs, tokenizer, _) = tiny();
    let tokenized = tokenize(&pairs, &tokenizer, &Limits::default()).unwrap();
    let sum = |length: fn(&TokenPair) -> usize| tokenized.pairs.iter().map(length).sum::<usize>();
    let (prompts, answers) =
        (sum(|pair| pair.prompt.len()), sum(|pair| pair.chosen.len() + pair.rejected.len()));
    assert_eq!(tokenized.counts.tokens_packed, prompts + answers);
    assert_eq!(tokenized.counts.tokens_as_sequences, 2 * prompts + answers);
}

#[test]
fn a_templates_text_has_one_bos_and_one_eos() {
    let (pairs, tokenizer, _) = tiny();
    let [prompt, chosen, rejected] = ["[INST] Why? [/INST]", " So. </s>", " No. </s>"];
    for (written, bos) in
        [("<s>", TemplateBos::Written), ("", TemplateBos::Added), ("", TemplateBos::Absent)]
    {
        let pair = Pair {
            prompt: format!("{written}{prompt}"),
            chosen: chosen.to_owned(),
            rejected: rejected.to_owned(),
            markup: Markup::Template { bos, left_out: 0 },
            ..pairs[0].clone()
        };
        for tokenization in Tokenization::ALL {
            let limits = Limits { tokenization, ..Limits::default() };
            let ids = tokenize(std::slice::from_ref(&pair), &tokenizer, &limits).unwrap();
            let pair = &ids.pairs[0];
            let joint = tokenization != Tokenization::Separate;
            let added = bos == TemplateBos::Added && joint;
            let expected = usize::from(bos == TemplateBos::Written || added);
            let counts = &ids.counts;
            assert_eq!(counts.bos_added, usize::from(added));
            assert_eq!(counts.bos_absent, usize::from(bos == TemplateBos::Absent && joint));
            let count = |ids: &[u32], id| ids.iter().filter(|found| **found == id).count();
            assert_eq!(count(&pair.prompt, 1), expected, "{tokenization} {written:?}");
            assert_eq!((count(&pair.chosen, 2), pair.chosen.last()), (1, Some(&2)));
            assert_eq!((count(&pair.rejected, 2), count(&pair.rejected, 1)), (1, 0));
        }
    }
}

#[test]
fn an_answer_without_its_eos_is_the_same_but_for_the_last_token() {
    let (pairs, tokenizer, _) = tiny();
    let template = Pair {
        prompt: "<s>[INST] Why? [/INST]".to_owned(),
        chosen: " So. </s>".to_owned(),
        rejected: " No. </s>".to_owned(),
        markup: Markup::Template { bos: TemplateBos::Written, left_out: 0 },
        ..pairs[0].clone()
    };
    for tokenization in Tokenization::ALL {
        let limits = Limits { tokenization, ..Limits::default() };
        let whole = tokenize(&pairs, &tokenizer, &limits).unwrap().pairs;
        let limits = Limits { eos: Eos::LeftOut, ..limits };
        let without = tokenize(&pairs, &tokenizer, &limits).unwrap().pairs;
        for (whole, without) in whole.iter().zip(&without) {
            let id = &pairs[whole.row as usize].id;
            for side in 0..2 {
                let text = &pairs[whole.row as usize];
                let text = if side == 0 { &text.chosen } else { &text.rejected };
                if tokenization == Tokenization::Joint && text.ends_with("</s>") {
                    continue; // its own one is not doubled
                }
                let of = |pair: &TokenPair| {
                    let answer = if side == 0 { &pair.chosen } else { &pair.rejected };
                    [&pair.prompt[..], answer].concat()
                };
                let (mut ids, scored) = (of(whole), whole.scored()[side]);
                assert_eq!(ids.pop(), Some(2), "{tokenization} {id}");
                assert_eq!(of(without), ids, "{tokenization} {id}");
                assert!(without.scored()[side] + 1 == scored, "{tokenization} {id}");
            }
        }
    }
    let own = Pair { chosen: " So.</s>".to_owned(), ..pairs[0].clone() };
    for tokenization in Tokenization::ALL {
        let limits = Limits { tokenization, eos: Eos::LeftOut, ..Limits::default() };
        let [own, template] = [&own, &template]
            .map(|pair| tokenize(std::slice::from_ref(pair), &tokenizer, &limits).unwrap());
        let last = |tokenized: &Tokenized| tokenized.pairs[0].chosen.last().copied();
        assert_eq!(last(&own), Some(2), "{tokenization}: a text's own is kept");
        assert_ne!(last(&template), Some(2), "{tokenization}: a template's is removed");
    }
}

#[test]
fn under_prefix_a_token_of_prompt_and_answer_is_read_and_not_scored() {
    let (pairs, tokenizer, _) = tiny();
    let limits = |tokenization| Limits { tokenization, ..Limits::default() };
    let mut merged = 0;
    for (prompt, chosen, rejected) in [
        ("A mid-wo", "rd.", "nt."),
        ("A mid-wo", "rd.", "rd!"),
        ("Spaces?   ", " So.", "No."),
        ("", "So.", ""),
    ] {
        let [prompt, chosen, rejected] = [prompt, chosen, rejected].map(str::to_owned);
        let pair = [Pair { prompt, chosen, rejected, ..pairs[0].clone() }];
        let ids = |limits| tokenize(&pair, &tokenizer, &limits).unwrap().pairs.remove(0);
        let (joint, got) = (ids(limits(Tokenization::Joint)), ids(limits(Tokenization::Prefix)));
        let start = tokenizer.encode(&pair[0].prompt, true).unwrap().len();
        for (side, answers) in
            [[&joint.chosen, &got.chosen], [&joint.rejected, &got.rejected]].into_iter().enumerate()
        {
            let [joint, got_ids] = [(&joint, answers[0]), (&got, answers[1])]
                .map(|(pair, answer)| [&pair.prompt[..], answer].concat());
            assert_eq!(got_ids, joint, "{:?}", pair[0].prompt);
            assert_eq!(got.scored()[side], got_ids.len() - start, "{:?}", pair[0].prompt);
        }
        merged += usize::from(got.scored() != joint.scored());
    }
    assert!(merged >= 1, "no token spans prompt and answer");
}

/// Texts that went through a chat template before they were written.
#[test]
fn a_text_that_begins_with_bos_gets_no_second_one() {
    let (pairs, tokenizer, _) = tiny();
    let pair = Pair {
        prompt: "<s>[INST] Why? [/INST]".to_owned(),
        chosen: " So.</s>".to_owned(),
        ..pairs[0].clone()
    };
    let ids = tokenize(&[pair.clone(), pairs[0].clone()], &tokenizer, &Limits::default()).unwrap();
    assert_eq!(ids.pairs[0].prompt, tokenizer.encode(&pair.prompt, false).unwrap());
    assert_eq!(ids.pairs[0].prompt.iter().filter(|id| **id == 1).count(), 1);
    assert_eq!(ids.counts.own_bos, 1);
    let prompt = crate::data::prompt::Prompt::typed(&pair.prompt, 1, &Default::default()).unwrap();
    assert_eq!(prompt.ids(&tokenizer).unwrap(), ids.pairs[0].prompt);
}

/// A space at the end of a prompt is one token with the word after it; alone it is a token of its own.
#[test]
fn an_end_of_the_prompt_that_is_lost_is_counted_and_shown_with_its_spaces() {
    let (pairs, tokenizer, _) = tiny();
    let [prompt, chosen, rejected] = ["Why? ", "So.", "No."].map(str::to_owned);
    let pair = Pair { prompt, chosen, rejected, ..pairs[0].clone() };
    let counts = tokenize(&[pair], &tokenizer, &Limits::default()).unwrap().counts;
    assert_eq!((counts.ends_left_out, counts.end_left_out.as_str()), (1, " "));
}

#[test]
fn a_pair_without_a_token_is_dropped() {
    let (pairs, tokenizer, _) = tiny();
    let [prompt, chosen, rejected] = [(); 3].map(|()| String::new());
    let empty = Pair { prompt, chosen, rejected, ..pairs[0].clone() };
    let limits =
        Limits { tokenization: Tokenization::Separate, eos: Eos::LeftOut, ..Limits::default() };
    let tokenized = tokenize(&[empty.clone(), pairs[1].clone()], &tokenizer, &limits).unwrap();
    assert_eq!((tokenized.pairs.len(), tokenized.counts.dropped), (1, 1));
    assert_eq!(tokenized.counts.dropped_ids, [empty.id]);
}

#[test]
fn odd_texts_do_not_panic() {
    let (pairs, tokenizer, _) = tiny();
    for text in [
        "",
        "\0",
        "</s>",
        "<s></s>",
        "\u{feff}\u{200b}",
        "\u{10ffff}",
        " \n\t ",
        &"x".repeat(1 << 20),
    ] {
        let pair = Pair {
            prompt: text.to_owned(),
            chosen: text.to_owned(),
            rejected: String::new(),
            ..pairs[0].clone()
        };
        for tokenization in Tokenization::ALL {
            let limits =
                Limits { tokenization, max_prompt_tokens: 8, max_length: 16, ..Limits::default() };
            assert_eq!(
                tokenize(std::slice::from_ref(&pair), &tokenizer, &limits).unwrap().pairs.len(),
                1
            );
        }
    }
}
