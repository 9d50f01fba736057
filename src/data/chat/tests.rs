//! What a chat template renders, held to transformers.

use std::path::Path;

use super::*;
use crate::config::Tokenization;
use crate::data::pair::{Markup, Pair, TemplateBos};
use crate::data::token_pair::TokenPair;
use crate::data::tokenize::{Limits, tokenize};

/// Llama-2-chat's own template, as its tokenizer_config.json has it.
pub(crate) const LLAMA_2: &str = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
    {% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
    {% set system_message = false %}{% endif %}{% for message in loop_messages %}\
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
    {% if loop.index0 == 0 and system_message != false %}\
    {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
    {% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
    {{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
    {{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";

/// The day of the goldens.
fn day() -> NaiveDate {
    "2026-11-27".parse().unwrap()
}

#[test]
fn a_template_that_asks_for_the_date_is_given_the_day_and_says_so() {
    let source =
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}2024{% endif %}";
    let render = |template: &ChatTemplate| template.render(&[], &Variables::default(), true);
    let dated = template(source).dated(day());
    assert_eq!(render(&dated).unwrap(), "27 Nov 2026");
    let said =
        "t: asks for the date, and is given 2026-11-27 (`data.template_date`, `--template-date`)";
    assert_eq!(dated.note().as_deref(), Some(said));
    assert_eq!(template(LLAMA_2).dated(day()).note(), None);
    let other = template(source).dated(day().succ_opt().unwrap());
    assert_eq!(render(&other).unwrap(), "28 Nov 2026");
    // Of the time of day nothing is known, and nothing is made up.
    let error = render(&template("{{ strftime_now('%H:%M') }}").dated(day())).unwrap_err();
    assert!(error.to_string().contains("`strftime_now` with `%H`, the time of day"), "{error}");
}

fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/models/tiny");
    Tokenizer::load(&folder).unwrap()
}

pub(crate) fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source.to_owned(), &tokenizer(), "t".to_owned()).unwrap()
}

#[test]
fn llama_2_chat_is_rendered_as_published() {
    let llama = template(LLAMA_2);
    let conversation = [
        message("system", "Be kind."),
        message("user", " Why? "),
        message("assistant", "So.\n"),
        message("user", "And?"),
    ];
    assert_eq!(
        llama.render(&conversation, &Variables::default(), true).unwrap(),
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n Why? [/INST] So. </s><s>[INST] And? [/INST]"
    );
    let Rendered { texts: [prompt, chosen, rejected], left_out } = llama
        .texts(
            &[message("user", "Why?")],
            [&[message("assistant", "a")], &[message("assistant", "b c")]],
            &Variables::default(),
        )
        .unwrap();
    assert_eq!(left_out, 0);
    assert_eq!(prompt, "<s>[INST] Why? [/INST]");
    assert_eq!((chosen.as_str(), rejected.as_str()), (" a </s>", " b c </s>"));
    assert!(llama.writes_bos(&prompt));
}

/// `tests/data/chat_templates` holds templates in the forms that families of models have, written for this project; the golden has what
/// transformers 5.23 renders of each, null where it raises.
#[test]
fn whole_templates_of_ten_families_are_rendered_as_transformers_does() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../tests/data/golden/chat_templates.json"))
            .unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chat_templates");
    let families = golden["texts"].as_object().unwrap();
    assert_eq!(families.len(), std::fs::read_dir(&folder).unwrap().count());
    let mut wrong = Vec::new();
    for (family, texts) in families {
        let source = std::fs::read_to_string(folder.join(format!("{family}.jinja"))).unwrap();
        let template = template(&source).dated(day());
        for (name, expected) in texts.as_object().unwrap() {
            let mut others = golden["conversations"][name].as_object().unwrap().clone();
            let messages = others.remove("messages").unwrap();
            let tools = others.remove("tools").map(|tools| tools.as_array().unwrap().clone());
            let variables = Variables { tools, others };
            for (is_open, expected) in [false, true].into_iter().zip(expected.as_array().unwrap()) {
                let text = template.render(messages.as_array().unwrap(), &variables, is_open);
                let text = text.map_err(|error| error.to_string());
                if text.as_ref().ok().map(String::as_str) != expected.as_str() {
                    wrong.push(format!("{family}, {name}: {text:?}, expected {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_block_on_a_line_of_its_own_leaves_no_line_behind() {
    let zephyr = template(
        "{% for message in messages %}\n    {% if message.role == 'user' %}\n{{ '<|user|>\\n' + message['content'] }}\n    \
         {%- endif %}\n{% if message.role == 'assistant' %}\n{{ '\\n<|assistant|>\\n'  + message['content'] + eos_token }}\n\
         {% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '\\n<|assistant|>\\n' }}\n{% endif %}\n{% endfor %}\n",
    );
    assert_eq!(
        zephyr
            .render(
                &[message("user", "q"), message("assistant", "a")],
                &Variables::default(),
                false
            )
            .unwrap(),
        "<|user|>\nq\n<|assistant|>\na</s>\n"
    );
}

#[test]
fn a_conversation_that_the_template_refuses_is_an_input_error() {
    let error = template(LLAMA_2)
        .render(&[message("assistant", "a")], &Variables::default(), false)
        .unwrap_err();
    assert!(
        InputError::of(&error).unwrap().to_string().contains("roles must alternate"),
        "{error}"
    );
    let error =
        template("{{ messages.nobody() }}").render(&[], &Variables::default(), true).unwrap_err();
    assert!(InputError::of(&error).is_some(), "{error}");
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    assert!(
        InputError::of(&template(endless).render(&[], &Variables::default(), true).unwrap_err())
            .is_some()
    );
    assert!(ChatTemplate::new("{% if".to_owned(), &tokenizer(), "t".to_owned()).is_err());
}

/// The pair that a golden's record makes through a template.
fn pair(template: &ChatTemplate, record: &Value) -> Result<Pair> {
    let mut others = record.as_object().unwrap().clone();
    let [prompt, chosen, rejected] = ["prompt", "chosen", "rejected"]
        .map(|key| others.remove(key).unwrap().as_array().unwrap().clone());
    let variables = Variables { tools: None, others };
    let Rendered { texts, left_out } = template.texts(&prompt, [&chosen, &rejected], &variables)?;
    let [prompt, chosen, rejected] = texts;
    Ok(Pair {
        id: "a".to_owned(),
        user: None,
        source: "a".to_owned(),
        prompt,
        chosen,
        rejected,
        markup: Markup::Template { bos: TemplateBos::Written, left_out },
        groups: Default::default(),
    })
}

#[test]
fn a_prompt_that_no_conversation_begins_with_is_cut_as_trl_cuts_it_and_counted() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../tests/data/golden/chat_templates.json"))
            .unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chat_templates");
    let tokenizer = tokenizer();
    let (mut cut, mut whole) = (0, 0);
    for (family, pairs) in golden["ids"].as_object().unwrap() {
        let source = std::fs::read_to_string(folder.join(format!("{family}.jinja"))).unwrap();
        let template = template(&source).dated(day());
        for (name, expected) in pairs.as_object().unwrap() {
            let Ok(pair) = pair(&template, &golden["pairs"][name]) else {
                assert!(expected.is_null(), "{family}, {name}");
                continue;
            };
            let pairs = std::slice::from_ref(&pair);
            let tokenized = tokenize(pairs, &tokenizer, &Limits::default()).unwrap();
            let (got, counts) = (&tokenized.pairs[0], &tokenized.counts);
            let ids = json!([got.prompt, got.chosen, got.rejected]);
            let lost = expected[3].as_u64().unwrap();
            assert_eq!(ids, json!(expected.as_array().unwrap()[..3]), "{family}, {name}");
            assert_eq!(counts.ends_left_out, usize::from(lost > 0), "{family}, {name}");
            assert_eq!(counts.ends_line().is_some(), lost > 0);
            // Generation reads the whole prompt.
            assert_eq!(
                pair.prompt_ids(&tokenizer).unwrap().len(),
                got.prompt.len() + lost as usize
            );
            cut += usize::from(lost > 0);
            whole += usize::from(lost == 0);
            // The other rules read the same text: the context and the answer, without the end of the prompt.
            for tokenization in [Tokenization::Separate, Tokenization::Prefix] {
                let limits = Limits { tokenization, ..Limits::default() };
                let other = tokenize(pairs, &tokenizer, &limits).unwrap();
                assert_eq!(other.counts.ends_left_out, usize::from(lost > 0), "{family}, {name}");
                let text = |pair: &TokenPair| {
                    let ids = [&pair.prompt[..], &pair.chosen].concat();
                    tokenizer.decode(&ids, true).unwrap().replace(' ', "")
                };
                assert_eq!(text(&other.pairs[0]), text(got), "{tokenization} {family}, {name}");
            }
        }
    }
    assert!(cut >= 10 && whole >= 10, "{cut} cut, {whole} whole");
}

#[test]
fn a_prompt_that_shares_no_token_with_its_conversations_is_empty() {
    let last = template("{{ messages[-1].content }}");
    let record = json!({
        "prompt": [message("user", "q")],
        "chosen": [message("assistant", "one two")],
        "rejected": [message("assistant", "other")],
    });
    let pair = pair(&last, &record).unwrap();
    assert_eq!((pair.prompt.as_str(), pair.context(), pair.chosen.as_str()), ("q", "", "one two"));
    let pairs = std::slice::from_ref(&pair);
    let tokenized = tokenize(pairs, &tokenizer(), &Limits::default()).unwrap();
    assert_eq!((tokenized.pairs[0].prompt.len(), tokenized.counts.ends_left_out), (0, 1));
    let line = tokenized.counts.ends_line().unwrap();
    assert!(line.starts_with("1 prompt loses its last tokens, first `q`"), "{line}");
}

#[test]
fn the_template_is_found_in_each_of_its_places() {
    let find = |jinja: Option<&str>, config: &str| {
        let found = ChatTemplate::find(
            jinja.map(str::as_bytes),
            &[],
            Some(config.as_bytes()),
            &tokenizer(),
            "m",
        );
        found.unwrap().map(|template| template.render(&[], &Variables::default(), false).unwrap())
    };
    let text = r#"{"chat_template": "text"}"#;
    let list = r#"{"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "listed"}]}"#;
    assert_eq!(find(None, text).as_deref(), Some("text"));
    assert_eq!(find(None, list).as_deref(), Some("listed"));
    assert_eq!(find(Some("file"), text).as_deref(), Some("file"));
    assert_eq!(find(None, "{}"), None);
}

#[test]
fn a_record_with_tools_takes_the_template_for_them() {
    let config = r#"{"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]}"#;
    let found = ChatTemplate::find(None, &[], Some(config.as_bytes()), &tokenizer(), "m");
    let found = found.unwrap().unwrap();
    let with = Variables { tools: Some(Vec::new()), ..Variables::default() };
    assert_eq!(found.render(&[], &with, true).unwrap(), "tools");
    assert_eq!(found.render(&[], &Variables::default(), true).unwrap(), "plain");
}

/// As transformers 5.23: files come before tokenizer_config.json, and those of the folder beside the one file.
#[test]
fn templates_of_the_folder_stand_beside_the_default() {
    let config = br#"{"chat_template": "ignored"}"#;
    let tools: (&str, &[u8]) = ("additional_chat_templates/tool_use.jinja", b"tools");
    let find = |jinja: Option<&[u8]>| {
        ChatTemplate::find(jinja, &[tools], Some(config), &tokenizer(), "m").unwrap().unwrap()
    };
    let with = Variables { tools: Some(Vec::new()), ..Variables::default() };
    let found = find(Some(b"plain"));
    assert_eq!(found.render(&[], &with, true).unwrap(), "tools");
    assert_eq!(found.render(&[], &Variables::default(), true).unwrap(), "plain");
    let error = find(None).render(&[], &Variables::default(), true).unwrap_err();
    assert!(error.to_string().contains("without a `default`; it has `tool_use`"), "{error}");
}

#[test]
fn a_list_without_a_default_names_what_it_has() {
    let config = r#"{"chat_template": [{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "{% y"}]}"#;
    let find = |config: &str| {
        ChatTemplate::find(None, &[], Some(config.as_bytes()), &tokenizer(), "m")
            .map(Option::unwrap)
    };
    let broken = find(config).unwrap_err();
    assert!(broken.to_string().contains("not a template"), "{broken}");
    let found = find(&config.replace("{% y", "y")).unwrap();
    let error = found.render(&[], &Variables::default(), true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "m/tokenizer_config.json: `chat_template`: a list of templates without a `default`; it has `rag`, `tool_use`"
    );
    let odd = find(r#"{"chat_template": [{"name": "default"}]}"#).unwrap_err();
    assert!(odd.to_string().contains("no texts `name` and `template`"), "{odd}");
}

#[test]
fn a_message_reaches_the_template_without_its_nulls_and_with_its_reasoning() {
    let source = "{% for m in messages %}{{ m.items() | map('first') | join(',') }}:{{ m.reasoning_content }};{% endfor %}{{ unk_token }}{{ tools is none }}{{ documents is none }}";
    let messages = [
        serde_json::json!({"role": "user", "content": null, "tool_calls": null}),
        serde_json::json!({"role": "assistant", "reasoning": "hm"}),
    ];
    let config = serde_json::json!({"chat_template": source, "unk_token": {"content": "<unk>"}});
    let bytes = serde_json::to_vec(&config).unwrap();
    let found = ChatTemplate::find(None, &[], Some(&bytes), &tokenizer(), "m").unwrap().unwrap();
    assert_eq!(
        found.render(&messages, &Variables::default(), false).unwrap(),
        "role:;thinking,role,reasoning,reasoning_content:hm;<unk>TrueTrue"
    );
}

/// As transformers 5.23 renders the same files.
#[test]
fn every_named_token_of_a_tokenizer_is_a_variable() {
    let source = "{{ image_token }}|{{ boi_token }}|{{ x }}|{{ add_bos_token }}{{ none_token }}";
    let whole = json!({
        "chat_template": source,
        "image_token": {"content": "<img>", "__type": "AddedToken"},
        "none_token": null,
        "add_bos_token": true,
        "extra_special_tokens": {"boi_token": "<boi>"},
        "model_specific_special_tokens": {"x": "<x>"},
    });
    for (without, expected) in [
        (&[][..], "<img>|<boi>||"),
        (&["image_token"], "|<boi>||"),
        (&["extra_special_tokens"], "<img>||<x>|"),
        (&["image_token", "extra_special_tokens"], "||<x>|"),
    ] {
        let mut config = whole.clone();
        without.iter().for_each(|key| drop(config.as_object_mut().unwrap().remove(*key)));
        let bytes = serde_json::to_vec(&config).unwrap();
        let found = ChatTemplate::find(None, &[], Some(&bytes), &tokenizer(), "m");
        let found = found.unwrap().unwrap();
        let text = found.render(&[], &Variables::default(), true).unwrap();
        assert_eq!(text, expected, "{without:?}");
    }
}

#[test]
fn a_template_that_writes_nothing_for_ever_is_refused() {
    let idle = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let error = template(idle).render(&[], &Variables::default(), true).unwrap_err();
    assert!(InputError::of(&error).is_some_and(|e| e.to_string().contains("fuel")), "{error}");
}

#[test]
fn a_template_longer_than_the_limit_is_refused() {
    let of = |length| ChatTemplate::new("x".repeat(length), &tokenizer(), "t".to_owned());
    assert!(of(engine::LONGEST_SOURCE).is_ok());
    let error = of(engine::LONGEST_SOURCE + 1).err().unwrap();
    assert_eq!(error.to_string(), "t: a template of 65537 bytes, expected at most 65536");
}
