//! What each layout makes of its records.

use super::*;

#[test]
fn a_dialogue_ends_its_prompt_after_the_last_shared_assistant() {
    let json = |[chosen, rejected]: [&str; 2]| {
        serde_json::json!({"chosen": chosen, "rejected": rejected}).to_string()
    };
    let of = |both| texts(&json(both), &Reading::default()).unwrap().remove(0);
    let hi = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a tree\n\nAssistant:";
    let [oak, otter] = [" An oak.", " An otter."].map(|answer| format!("{hi}{answer}"));
    assert_eq!(of([&oak, &otter]), [hi, " An oak.", " An otter."]);
    // A dialogue that parts earlier: the rest of both is the answer.
    let parted = "\n\nHuman: Hi\n\nAssistant: Ho!\n\nHuman: Why?\n\nAssistant: So.";
    assert_eq!(of([&oak, parted])[0], "\n\nHuman: Hi\n\nAssistant:");
    assert_eq!(of([&oak, parted])[2], " Ho!\n\nHuman: Why?\n\nAssistant: So.");
    assert_eq!(of([&oak, &oak]), [hi, " An oak.", " An oak."]);
    assert_eq!(of([&oak, hi]), [hi, " An oak.", ""]);
    // Both marks, but not after the same text.
    let other = "\n\nHuman: Ho\n\nAssistant: Hello!";
    let refused = refusal(&json([&oak, other]), &pinned(LayoutName::HhRlhf));
    assert!(refused.starts_with("`chosen` and `rejected` have no `\\n\\nAssistant:`"), "{refused}");
    let trl = texts(&json([&oak, &otter]), &pinned(LayoutName::ImplicitPrompt)).unwrap().remove(0);
    assert_eq!(trl, [&*format!("{hi} An o"), "ak.", "tter."]);
}

/// tests/data/extract_prompt.json is made by scripts/interop/layouts.py.
#[test]
fn a_shared_beginning_of_texts_is_the_prompt_that_trl_extracts() {
    let golden = include_str!("../../../../tests/data/extract_prompt.json");
    let cases: Vec<BTreeMap<String, String>> = serde_json::from_str(golden).unwrap();
    assert!(cases.len() > 10);
    for case in &cases {
        let both = serde_json::json!({"chosen": case["chosen"], "rejected": case["rejected"]});
        let read = texts(&both.to_string(), &pinned(LayoutName::ImplicitPrompt)).unwrap().remove(0);
        let expected = ["prompt", "chosen_answer", "rejected_answer"].map(|key| &case[key]);
        assert_eq!(read.each_ref(), expected, "{both}");
    }
}

#[test]
fn texts_that_begin_the_same_are_no_prompt_where_another_column_could_be_it() {
    let auto = Reading::default();
    let same = r#"{"chosen": "The sky is blue.", "rejected": "The sky is green."}"#;
    assert_eq!(texts(same, &auto).unwrap()[0], ["The sky is", " blue.", " green."]);
    let beside =
        r#"{"query": "Sky?", "chosen": "The sky is blue.", "rejected": "The sky is green."}"#;
    assert_eq!(
        refusal(beside, &auto),
        "the record has no `prompt`, found `query`, `chosen`, `rejected`"
    );
    let pin = pinned(LayoutName::ImplicitPrompt);
    assert_eq!(texts(beside, &pin).unwrap()[0][0], "The sky is");
    for nothing in [r#"{"chosen": "a", "rejected": "b"}"#, r#"{"chosen": "", "rejected": "b"}"#] {
        assert!(refusal(nothing, &pin).contains("begin with different characters"));
        assert!(refusal(nothing, &auto).starts_with("the record has no `prompt`"));
    }
}

#[test]
fn a_question_its_system_and_its_input_reach_the_prompt() {
    let auto = Reading::default();
    for (json, expected) in [
        (r#"{"system": " S ", "question": "Q", "chosen": "a", "rejected": "b"}"#, "S\nQ"),
        (r#"{"system": "", "question": "Q", "chosen": "a", "rejected": "b"}"#, "Q"),
        (r#"{"instruction": "I", "input": "", "chosen": "a", "rejected": "b"}"#, "I"),
        (r#"{"instruction": "I", "input": "N", "output": ["a", "b"], "history": []}"#, "I\nN"),
        (r#"{"instruction": "I", "chosen_response": "a", "rejected_response": "b"}"#, "I"),
        (
            r#"{"instruction": "I", "input": "N", "output": ["a", "b"], "history": [["q", "r"]], "system": "S"}"#,
            "[system]S[user]q[assistant]r[user]I\nN[assistant]",
        ),
    ] {
        assert_eq!(texts(json, &auto).unwrap()[0][0], expected, "{json}");
    }
    let history = r#"{"instruction": "I", "output": ["a", "b"], "history": [["q"]]}"#;
    assert_eq!(refusal(history, &auto), "`history[0]` must be a list of two texts, got a list");
    let three = r#"{"instruction": "I", "output": ["a", "b", "c"]}"#;
    assert_eq!(
        refusal(three, &auto),
        "`output` must be a list of two texts, the preferred answer first"
    );
}

#[test]
fn texts_and_messages_mix() {
    let auto = Reading::default();
    let [user, a, b] = [("user", "q"), ("assistant", "a"), ("assistant", "b")]
        .map(|(role, text)| format!(r#"{{"role": "{role}", "content": "{text}"}}"#));
    let expected = ["[user]q[assistant]", "a", "b"];
    for json in [
        format!(r#"{{"prompt": "q", "chosen": [{a}], "rejected": [{b}]}}"#),
        format!(r#"{{"prompt": "q", "chosen": {a}, "rejected": "b"}}"#),
        format!(r#"{{"prompt": [{user}], "chosen": "a", "rejected": "b"}}"#),
        format!(r#"{{"prompt": [{user}], "chosen": {a}, "rejected": [{b}]}}"#),
        format!(r#"{{"prompt": {user}, "chosen": {a}, "rejected": "b"}}"#),
        format!(
            r#"{{"question": "not read", "chosen": [{user}, {a}], "rejected": [{user}, {b}]}}"#
        ),
        format!(r#"{{"messages": [{user}], "chosen": "a", "rejected": [{b}]}}"#),
        format!(r#"{{"messages": [{user}, {a}], "rejected_response": "b"}}"#),
        format!(r#"{{"messages": [{user}, {a}], "rejected_messages": [{user}, {b}]}}"#),
        format!(
            r#"{{"conversation_a": [{user}, {b}], "conversation_b": [{user}, {a}], "winner": "model_b"}}"#
        ),
    ] {
        let read = texts(&json, &auto).unwrap().remove(0);
        assert_eq!(read, expected, "{json}");
    }
    let whole = format!(r#"{{"prompt": "q", "chosen": [{user}, {a}], "rejected": "b"}}"#);
    assert_eq!(
        refusal(&whole, &auto),
        "`chosen` is a whole conversation, and the other answer is none"
    );
}

#[test]
fn turns_of_sharegpt_have_the_roles_of_templates() {
    let auto = Reading::default();
    let of = |turns: &str| {
        let json = format!(
            r#"{{"conversations": [{turns}], "tools": "[{{\"name\": \"f\"}}]", "chosen": {{"from": "gpt", "value": "a"}},
            "rejected": {{"from": "gpt", "value": "b"}}}}"#
        );
        match texts(&json, &auto) {
            Ok(mut texts) => texts.remove(0).join("|"),
            Err(error) => error.to_string(),
        }
    };
    let turn =
        |from: &str, value: &str| serde_json::json!({"from": from, "value": value}).to_string();
    let asked = [turn("system", "S"), turn("human", "Q")].join(", ");
    assert_eq!(of(&asked), "<f>[system]S[user]Q[assistant]|a|b");
    let call = turn("function_call", r#"{"name": "f", "arguments": {"x": 1}}"#);
    let tool = [turn("human", "Q"), call, turn("observation", "7")].join(", ");
    assert_eq!(of(&tool), r#"<f>[user]Q[assistant]f({"x": 1})[tool]7[assistant]|a|b"#);
    let broken =
        [turn("human", "Q"), turn("function_call", "f()"), turn("observation", "7")].join(", ");
    assert_eq!(
        of(&broken),
        "d/a.json:2: `conversations[1].value` of a `function_call` must be JSON with `name` and `arguments`, got the string `f()`"
    );
    let bing = [turn("human", "Q"), turn("bing", "A"), turn("human", "Q")].join(", ");
    assert_eq!(
        of(&bing),
        "d/a.json:2: `conversations[1].from` is `bing`, which is no known speaker"
    );
}

#[test]
fn text_parts_reach_a_template_that_iterates_and_are_joined_for_one_that_does_not() {
    let json = r#"{"prompt": [{"role": "user", "content": [{"type": "text", "text": "Name"}, {"type": "text", "text": "a fruit."}]}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "A pear."}]}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "A brick."}]}]}"#;
    let parts = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}({{ p.text }}){% endfor %};{% endfor %}";
    for (source, expected, joined) in [
        (parts, ["user:(Name)(a fruit.);", "assistant:(A pear.);"], 0),
        (
            "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}",
            ["user:Name\na fruit.;", "assistant:A pear.;"],
            1,
        ),
        (
            "{% for m in messages %}{{ m.role + ':' + m.content }};{% endfor %}",
            ["user:Name\na fruit.;", "assistant:A pear.;"],
            1,
        ),
        (
            "{% for m in messages %}{{ m.role }}:{{ m.content if m.content is string }};{% endfor %}",
            ["user:Name\na fruit.;", "assistant:A pear.;"],
            1,
        ),
    ] {
        let template = template(source);
        let record = of(json);
        let mut counts = LoadCounts::default();
        let draft = draft(&record, "a", 1, &Reading::default(), &mut counts).unwrap();
        let pair = draft.render(&record, &chat(&template), &mut counts).unwrap().remove(0);
        assert_eq!([&*pair.prompt, &*pair.chosen], expected, "{source}");
        assert_eq!((counts.joined_parts, counts.empty_answers), (joined, 0));
    }
    let of = |part: &str| {
        let json = json.replace(r#"{"type": "text", "text": "A pear."}"#, part);
        refusal(&json, &Reading::default())
    };
    assert_eq!(
        of(r#"{"type": "image_url", "image_url": {}}"#),
        "`chosen[0].content[0]` is a part of the type `image_url`"
    );
    assert_eq!(
        of(r#"{"type": "text", "text": "x", "cache": 1}"#),
        "`chosen[0].content[0]` has the field `cache`"
    );
    assert_eq!(
        of(r#""x""#),
        "`chosen[0].content[0]` must be a part of a content, an object, got the string `x`"
    );
}

#[test]
fn a_list_of_answers_gives_the_best_against_the_worst_or_all_pairs() {
    let json = r#"{"id": 7, "prompt": "p", "responses": ["c", "a", "d", "b"], "scores": [3, 5.0, "1", 3]}"#;
    let of = |ranked_pairs, ranked_margin| {
        let reading = Reading { ranked_pairs, ranked_margin, ..Reading::default() };
        let (pairs, counts) = read_by(&of(json), &reading).unwrap();
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|pair| format!("{} {}>{}", pair.id, pair.chosen, pair.rejected))
            .collect();
        (pairs.join(", "), [counts.ties, counts.within_margin, counts.several_best])
    };
    assert_eq!(of(RankedPairs::BestWorst, 0.0), ("7 a>d".to_owned(), [0, 0, 0]));
    assert_eq!(of(RankedPairs::BestWorst, 4.0), (String::new(), [0, 1, 0]));
    let all = "7:1 a>c, 7:2 c>d, 7:4 a>d, 7:5 a>b, 7:6 b>d";
    assert_eq!(of(RankedPairs::All, 0.0), (all.to_owned(), [1, 0, 0]));
    // A margin leaves the other pairs their ids.
    assert_eq!(of(RankedPairs::All, 2.0), ("7:4 a>d".to_owned(), [1, 4, 0]));
    let of = |json: &str| read_by(&self::of(json), &Reading::default()).unwrap();
    let (pairs, counts) = of(r#"{"prompt": "p", "responses": ["a", "b"], "scores": [2, 2]}"#);
    assert_eq!((pairs.len(), counts.ties, counts.layouts[0].records), (0, 1, 1));
    let (pairs, counts) =
        of(r#"{"prompt": "p", "responses": ["a", "b", "c"], "scores": [2, 2, 1]}"#);
    assert_eq!((&*pairs[0].chosen, counts.several_best), ("a", 1));
    let tie = r#"{"conversation_a": [{"role": "user", "content": "q"}], "conversation_b": [{"role": "user", "content": "q"}], "winner": "tie"}"#;
    assert_eq!((of(tie).0.len(), of(tie).1.ties), (0, 1));
    assert_eq!(of(tie).1.unread.len(), 0, "a tie is read");
}

#[test]
fn what_is_no_ranked_list_is_refused_by_name() {
    let auto = Reading::default();
    for (json, expected) in [
        (
            r#"{"prompt": "p", "responses": ["a", "b"], "scores": [1]}"#,
            "`responses` has 2 answers and `scores` 1 scores",
        ),
        (
            r#"{"prompt": "p", "responses": ["a"], "scores": [1]}"#,
            "expected two answers or more, got 1",
        ),
        (
            r#"{"prompt": "p", "responses": ["a", "b"], "scores": [1, null]}"#,
            "`scores[1]` must be a number, got null",
        ),
        (
            r#"{"prompt": "p", "responses": ["a", "b"], "scores": [1, "NaN"]}"#,
            "`scores[1]` must be a number, got the string `NaN`",
        ),
        (
            r#"{"prompt": "p", "responses": ["a", 2], "scores": [1, 2]}"#,
            "`responses[1]` must be a string, got the number `2`",
        ),
        (
            r#"{"instruction": "p", "completions": [{"response": "a"}, {"response": "b"}]}"#,
            "`completions[0].overall_score` must be a number, got null",
        ),
        (
            r#"{"prompt": "p", "answers": [{"answer": "a", "rank": 1}, {"rank": 2}]}"#,
            "`answers[1].answer` must be a string, got null",
        ),
        (
            r#"{"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 2}"#,
            "`better_response_id` must be `0` or `1`, got the number `2`",
        ),
        (
            r#"{"conversation_a": [{"role": "user", "content": "q"}], "conversation_b": [{"role": "user", "content": "q"}], "winner": "both"}"#,
            "`winner` must be `model_a`, `model_b`, `tie` or `tie (bothbad)`, got the string `both`",
        ),
    ] {
        assert_eq!(refusal(json, &auto), expected);
    }
    let many = serde_json::json!({"prompt": "p", "responses": vec!["a"; 33], "scores": (0..33).collect::<Vec<_>>()});
    let all = Reading { ranked_pairs: RankedPairs::All, ..Reading::default() };
    assert_eq!(refusal(&many.to_string(), &all), "all pairs of 33 answers, expected at most 32");
}

#[test]
fn columns_have_the_roles_that_they_are_given_and_no_other() {
    let columns = [
        (ColumnRole::Prompt, "q"),
        (ColumnRole::Chosen, "rejected"),
        (ColumnRole::Rejected, "chosen"),
        (ColumnRole::System, "persona"),
    ]
    .map(|(role, column)| (role, column.to_owned()))
    .into();
    let json = r#"{"q": "Q", "chosen": "b", "rejected": "a", "persona": "P", "prompt": "other"}"#;
    let record = of(json).with_columns(&columns);
    let (pairs, counts) = read_by(&record, &Reading::default()).unwrap();
    assert_eq!([&*pairs[0].prompt, &*pairs[0].chosen, &*pairs[0].rejected], ["P\nQ", "a", "b"]);
    assert_eq!(counts.unread.iter().collect::<Vec<_>>(), ["prompt"]);
    assert_eq!(counts.layouts[0].columns, ["q", "chosen", "rejected", "persona"]);
    let wrong = of(r#"{"q": 3, "chosen": "b", "rejected": "a"}"#).with_columns(&columns);
    let error = read_by(&wrong, &Reading::default()).unwrap_err().to_string();
    assert_eq!(error, "d/a.json:2: `q` must be a string or a list of messages, got the number `3`");
}

#[test]
fn a_role_without_a_column_is_not_read_whatever_the_columns_are_called() {
    let columns =
        [ColumnRole::System, ColumnRole::Profile].map(|role| (role, String::new())).into();
    let json = r#"{"prompt": "p", "chosen": "b", "rejected": "a", "system": "S", "profile": "P"}"#;
    let record = of(json).with_columns(&columns);
    let (pairs, counts) = read_by(&record, &Reading::default()).unwrap();
    assert_eq!(pairs[0].prompt, "p");
    assert_eq!(counts.unread.iter().collect::<Vec<_>>(), ["profile", "system"]);
}

#[test]
fn an_answer_beside_messages_may_begin_with_them() {
    let turn = |role: &str, text: &str| serde_json::json!({"role": role, "content": text});
    let (q, a, b) = (turn("user", "q"), turn("assistant", "a"), turn("assistant", "b"));
    let messages = Reading { layout: LayoutName::Messages, ..Reading::default() };
    let of = |chosen: serde_json::Value| {
        let record = serde_json::json!({"messages": [q], "chosen": chosen, "rejected": [b]});
        record.to_string()
    };
    let alone = texts(&of(serde_json::json!([a])), &messages).unwrap();
    assert_eq!(texts(&of(serde_json::json!([q, a])), &messages).unwrap(), alone);
    for chosen in [serde_json::json!([turn("user", "other"), a]), serde_json::json!([q])] {
        let error = refusal(&of(chosen), &messages);
        assert!(error.starts_with("`chosen` is a conversation, which must begin"), "{error}");
    }
}

#[test]
fn answers_that_repeat_their_prompt_are_counted() {
    let of = |json: &str| {
        let mut counts = LoadCounts::default();
        draft(&self::of(json), "a", 1, &Reading::default(), &mut counts).unwrap();
        counts.repeated_prompts
    };
    assert_eq!(of(r#"{"prompt": "p q", "chosen": "p q a", "rejected": "p q b"}"#), 1);
    assert_eq!(of(r#"{"prompt": "p q", "chosen": "p q a", "rejected": "b"}"#), 0);
    assert_eq!(of(r#"{"prompt": " ", "chosen": " a", "rejected": " b"}"#), 0);
    let turn = |role: &str, text: &str| serde_json::json!({"role": role, "content": text});
    let q = turn("user", "q");
    let json = serde_json::json!({"prompt": [q], "chosen": [q, turn("assistant", "a")], "rejected": [q, turn("assistant", "b")]});
    assert_eq!(of(&json.to_string()), 1);
}

#[test]
fn alignx_tells_what_is_known_of_the_person() {
    let layout = LAYOUTS.iter().find(|layout| layout.name == LayoutName::Alignx).unwrap();
    let [prompt, ..] = &texts(layout.sample, &Reading::default()).unwrap()[0];
    assert_eq!(
        prompt,
        "***Task***\n\n**Post:**\nTea or coffee?\n\n***Historical Behavior and User Preferences***\n\n\
         **This person has commented on some posts:**\n\n1. *Post:*\nCats?\n\n*Comment:*\nYes.\n\n\
         **This person has chosen or rejected comments on some posts:**\n\n1. *Post:*\nDogs?\n\n*Chosen:*\nNo.\n\n*Rejected:*\nMaybe.\n\n\
         A sailor.\n\n***Response:***\n\n"
    );
}
