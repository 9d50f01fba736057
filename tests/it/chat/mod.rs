//! The chat client against an endpoint on loopback: every way to fail, the journal, the limits, and a load.

mod load;
pub(crate) mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use mvpbench::console::progress::Verbosity;
use mvpbench::error::InputError;
use mvpbench::judge::chat::asker::Stopped;
use mvpbench::judge::chat::cost::Prices;
use mvpbench::judge::chat::endpoint::Endpoint;
use mvpbench::judge::chat::outcome::{Finish, Outcome};
use mvpbench::judge::chat::request::{Message, Parameters, Role};
use mvpbench::judge::chat::{Asker, Item, Settings};
use serde_json::json;

use self::server::{Act, FakeChat, completion};

/// The environment variable of the key, in the process that has one.
const KEY_ENV: &str = "MVPBENCH_TEST_KEY";

fn item(text: &str) -> Item {
    let message = Message { role: Role::User, text: text.to_owned() };
    Item { id: text.to_owned(), repetition: 0, messages: vec![message] }
}

fn items(count: usize) -> Vec<Item> {
    (0..count).map(|n| item(&format!("question {n}"))).collect()
}

fn settings() -> Settings {
    let parameters = Parameters { model: "m".into(), max_tokens: Some(8), ..Parameters::default() };
    Settings { timeout: Duration::from_secs(5), ..Settings::of(parameters) }
}

fn open(chat: &FakeChat, settings: Settings, folder: &Path) -> Asker {
    let endpoint = Endpoint::open(&chat.base, None).unwrap();
    Asker::open(endpoint, settings, &folder.join("journal.jsonl"), Verbosity::Quiet).unwrap()
}

#[track_caller]
fn text(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Answer(answer) => &answer.text,
        Outcome::Failed(failure) => panic!("{failure:?}"),
    }
}

#[track_caller]
fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(failure) => &failure.why,
        Outcome::Answer(answer) => panic!("{answer:?}"),
    }
}

fn status(status: &'static str, message: &str) -> Act {
    Act::Status(status, "", json!({"error": {"message": message}}).to_string())
}

#[test]
fn every_fault_that_a_retry_cures_ends_in_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|text, attempt| match (text, attempt) {
        ("busy", 0) => Act::Status("429 Too Many Requests", "Retry-After: 1\r\n", String::new()),
        ("broken", 0) => Act::Status("500 Internal Server Error", "", "oops".into()),
        ("dropped", 0) => Act::Drop,
        ("cut", 0) => Act::Cut,
        ("garbage", 0) => Act::Status("200 OK", "", "<html>busy</html>".into()),
        ("truncated", 0) => Act::Status("200 OK", "", "{\"choices\":[{".into()),
        ("slow", _) => Act::Slow(Duration::from_millis(300)),
        _ => Act::Say("fine"),
    });
    let names = ["busy", "broken", "dropped", "cut", "garbage", "truncated", "slow", "plain"];
    let asked: Vec<Item> = names.iter().map(|name| item(name)).collect();
    let begun = Instant::now();
    let outcomes = open(&chat, settings(), folder.path()).ask(&asked).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "the peer asked for a second");
    for (name, outcome) in names.iter().zip(&outcomes) {
        assert_eq!(text(outcome), if *name == "slow" { "slow" } else { "fine" }, "{name}");
        let tries = if ["slow", "plain"].contains(name) { 1 } else { 2 };
        assert_eq!(chat.tries()[*name], tries, "{name}");
    }
    // A rerun finds everything, and asks nothing.
    let before = chat.tries();
    assert_eq!(open(&chat, settings(), folder.path()).ask(&asked).unwrap(), outcomes);
    assert_eq!(chat.tries(), before);
}

#[test]
fn a_refusal_and_a_filtered_answer_are_answers_and_a_refused_request_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|text, attempt| {
        let mut body = completion("");
        match text {
            "refusal" => body["choices"][0]["message"]["refusal"] = json!("I cannot."),
            "filter" => body["choices"][0]["finish_reason"] = json!("content_filter"),
            "long" if attempt == 0 => return status("400 Bad Request", "context too long"),
            _ => body = completion("fine"),
        }
        Act::Status("200 OK", "", body.to_string())
    });
    let asked = [item("refusal"), item("filter"), item("long"), item("plain")];
    let outcomes = open(&chat, settings(), folder.path()).ask(&asked).unwrap();
    let finish = |at: usize| match &outcomes[at] {
        Outcome::Answer(answer) => answer.finish.clone(),
        Outcome::Failed(failure) => panic!("{failure:?}"),
    };
    assert_eq!((finish(0), text(&outcomes[0])), (Finish::Refusal, "I cannot."));
    assert_eq!(finish(1), Finish::ContentFilter);
    assert_eq!(why(&outcomes[2]), "context too long");
    assert_eq!(open(&chat, settings(), folder.path()).ask(&asked).unwrap(), outcomes);
    assert_eq!(chat.tries()["long"], 1, "a failure is kept");
    let again = Settings { retry_failed: true, ..settings() };
    assert_eq!(text(&open(&chat, again, folder.path()).ask(&asked).unwrap()[2]), "fine");
    assert_eq!(chat.tries()["plain"], 1, "an answer is never asked again");
}

#[test]
fn garbage_every_time_fails_its_item_after_three_tries() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|text, _| match text {
        "bad" => Act::Status("200 OK", "", "nothing".into()),
        _ => Act::Say("fine"),
    });
    let outcomes =
        open(&chat, settings(), folder.path()).ask(&[item("bad"), item("good")]).unwrap();
    assert!(why(&outcomes[0]).contains("no chat completion"), "{}", why(&outcomes[0]));
    assert_eq!((text(&outcomes[1]), chat.tries()["bad"]), ("fine", 3));
}

#[test]
fn what_no_item_will_get_past_ends_the_run_at_once() {
    for (line, part, remedy) in [
        ("401 Unauthorized", "401", "--key-env"),
        ("402 Payment Required", "402", "credit"),
        ("403 Forbidden", "403", "--key-env"),
        ("404 Not Found", "model `m`", "/v1/chat/completions"),
        ("302 Found", "302", "redirects"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let chat = FakeChat::serve(move |_, _| {
            Act::Status(line, "Location: http://127.0.0.1:9/x\r\n", "{\"error\":\"no\"}".into())
        });
        let error = open(&chat, settings(), folder.path()).ask(&items(500)).unwrap_err();
        let input = InputError::of(&error).unwrap();
        assert!(input.to_string().contains(part), "{input}");
        assert!(input.remedy().unwrap().contains(remedy), "{:?}", input.remedy());
        assert!(chat.tries().len() <= 64, "{} were asked", chat.tries().len());
    }
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| {
        let body = json!({"error": {"message": "quota", "code": "insufficient_quota"}});
        Act::Status("429 Too Many Requests", "", body.to_string())
    });
    let error = open(&chat, settings(), folder.path()).ask(&items(1)).unwrap_err();
    assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("credit"));
}

#[test]
fn a_parameter_that_the_model_refuses_does_not_fail_every_item() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| status("400 Bad Request", "no `temperature` here"));
    let error = open(&chat, settings(), folder.path()).ask(&items(500)).unwrap_err();
    assert!(format!("{error:#}").contains("no `temperature` here"), "{error:#}");
    assert!(chat.tries().len() <= 64, "{} were asked", chat.tries().len());
}

#[test]
fn failures_alone_do_not_end_a_run_that_had_answers_before() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|text, _| match text {
        "good" => Act::Say("fine"),
        _ => status("400 Bad Request", "too long"),
    });
    open(&chat, settings(), folder.path()).ask(&[item("good")]).unwrap();
    let asked = items(25);
    let failed = open(&chat, settings(), folder.path()).ask(&asked).unwrap();
    assert!(failed.iter().all(|outcome| why(outcome) == "too long"));
    let again = Settings { retry_failed: true, ..settings() };
    assert_eq!(open(&chat, again, folder.path()).ask(&asked).unwrap(), failed);
}

#[test]
fn a_try_that_brings_nothing_counts_towards_the_limit_of_the_cost() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, attempt| match attempt {
        0 => Act::Status("200 OK", "", "nothing".into()),
        _ => Act::Say("fine"),
    });
    // A dollar for each token of an answer, of which 8 are the most and 2 are counted.
    let prices = Some(Prices {
        input_per_million: 0.0,
        output_per_million: 1e6,
        source: "the configuration".into(),
    });
    let dear = |max_cost| Settings { max_cost, prices: prices.clone(), ..settings() };
    let error = open(&chat, dear(Some(15.0)), folder.path()).ask(&items(1)).unwrap_err();
    let said = error.downcast_ref::<Stopped>().unwrap().to_string();
    assert!(said.contains("1 of 1 requests are left, about USD 8.00 spent"), "{said}");
    let mut asker = open(&chat, dear(Some(26.0)), folder.path());
    asker.ask(&items(2)).unwrap();
    let cost = asker.used().cost;
    assert!((cost - 12.0).abs() < 1e-6, "{cost}: one more try for nothing, and two answers");
}

#[test]
fn a_long_pause_ends_the_run_with_the_time_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| {
        Act::Status("429 Too Many Requests", "Retry-After: 4000\r\n", String::new())
    });
    let error = open(&chat, settings(), folder.path()).ask(&items(3)).unwrap_err().to_string();
    assert!(error.contains("in 4000 seconds"), "{error}");
}

#[test]
fn limits_stop_between_items_and_the_next_call_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| Act::Say("fine"));
    let asked = items(100);
    let few = Settings { max_requests: Some(30), ..settings() };
    let error = open(&chat, few, folder.path()).ask(&asked).unwrap_err();
    let said = error.downcast_ref::<Stopped>().unwrap().to_string();
    assert!(said.contains("70 of 100 requests are left"), "{said}");
    assert_eq!(chat.tries().len(), 30);
    // A dollar for each token of a prompt: 7 of them are counted, and estimated.
    let prices = Some(Prices {
        input_per_million: 1e6,
        output_per_million: 0.0,
        source: "the configuration".into(),
    });
    let cheap = Settings { max_cost: Some(75.0), prices, ..settings() };
    let error = open(&chat, cheap, folder.path()).ask(&asked).unwrap_err();
    assert!(error.to_string().contains("`--max-cost 75`"), "{error}");
    let asked_now = chat.tries().len() - 30;
    assert_eq!(asked_now, 10, "for at most 75 dollars");
    assert_eq!(open(&chat, settings(), folder.path()).ask(&asked).unwrap().len(), 100);
    assert!(chat.tries().values().all(|&tries| tries == 1), "nothing is paid for twice");
}

#[test]
fn a_limit_of_the_cost_without_a_price_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::open("local", None).unwrap();
    let settings = Settings { max_cost: Some(1.0), ..settings() };
    let path = folder.path().join("journal.jsonl");
    let error = Asker::open(endpoint, settings, &path, Verbosity::Quiet).err().unwrap();
    assert!(InputError::of(&error).is_some() && !path.exists());
}

#[test]
fn a_run_cut_at_every_byte_of_its_last_line_asks_that_item_alone() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| Act::Say("fine"));
    let asked = items(3);
    open(&chat, settings(), folder.path()).ask(&asked).unwrap();
    let path = folder.path().join("journal.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for cut in (last..=whole.len()).step_by(7).chain([whole.len() - 1]) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let before: usize = chat.tries().values().sum();
        let outcomes = open(&chat, settings(), folder.path()).ask(&asked).unwrap();
        assert!(outcomes.iter().all(|outcome| text(outcome) == "fine"));
        let more = chat.tries().values().sum::<usize>() - before;
        assert_eq!(more, usize::from(cut < whole.len() - 1), "cut at {cut}");
    }
}

#[test]
fn no_more_than_64_requests_are_in_flight_and_a_refusal_leaves_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| Act::Slow(Duration::from_millis(4)));
    open(&chat, settings(), folder.path()).ask(&items(4000)).unwrap();
    assert!((21..=64).contains(&chat.most_open()), "{} at once", chat.most_open());
}

#[test]
fn the_same_request_twice_is_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| Act::Say("fine"));
    let outcomes =
        open(&chat, settings(), folder.path()).ask(&[item("a"), item("a"), item("b")]).unwrap();
    assert_eq!((outcomes.len(), chat.tries()["a"]), (3, 1));
}

/// Run by the next test in a process of its own, which has the key in its environment.
#[test]
#[ignore = "the child process that the_key_goes_into_one_header_and_nowhere_else starts"]
fn asks_with_a_key() {
    let Ok(base) = std::env::var("CHAT_BASE") else { return };
    let folder = std::path::PathBuf::from(std::env::var("CHAT_FOLDER").unwrap());
    let endpoint = Endpoint::open(&base, Some(KEY_ENV)).unwrap();
    let journal = folder.join("journal.jsonl");
    let mut asker = Asker::open(endpoint, settings(), &journal, Verbosity::Normal).unwrap();
    let outcomes = asker.ask(&[item("plain"), item("echo"), item("bad"), item("loop")]).unwrap();
    asker.export(&items(3), &folder).unwrap();
    let error = asker.ask(&[item("denied")]).unwrap_err();
    #[expect(clippy::print_stdout, reason = "the parent process searches it for the key")]
    {
        println!("{outcomes:?} {error:#} {:?}", InputError::of(&error));
    }
}

#[test]
fn the_key_goes_into_one_header_and_nowhere_else() {
    const KEY: &str = "sk-0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|text, _| match text {
        "echo" => Act::Say("your key is sk-0123456789abcdef"),
        "bad" => status("400 Bad Request", "Bearer sk-0123456789abcdef is odd"),
        "loop" => Act::Status("200 OK", "", "garbage sk-0123456789abcdef".into()),
        "denied" => status("401 Unauthorized", "no key sk-0123456789abcdef"),
        _ => Act::Say("fine"),
    });
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "chat::asks_with_a_key", "--ignored", "--nocapture"])
        .env("CHAT_BASE", &chat.base)
        .env("CHAT_FOLDER", folder.path())
        .env(KEY_ENV, KEY)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("no key [key]") && said.contains(KEY_ENV), "{said}");
    assert!(!said.contains(KEY), "{said}");
    assert_eq!(chat.keys(), [format!("Bearer {KEY}")]);
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(KEY), "{text}");
        files += 1;
    }
    assert_eq!(files, 2, "the journal and the requests");
}
