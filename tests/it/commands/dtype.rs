//! `model.dtype = "auto"` on a CPU: f32, or bf16 where f32 does not fit and the processor multiplies bf16. The memory is a limit of the
//! test; the units of bf16 are emulated.

use std::process::{Command, Output, Stdio};

use crate::command::Place;
use crate::golden::{pairs, path, text};

/// Address space, KiB: beside the program, of at most half of it, there is room for 1 GiB and not for 2.
const LIMIT_KIB: usize = 2 << 20;

/// Runs `command` under the limit.
fn limited(command: &Command) -> Output {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -v {LIMIT_KIB}; exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap());
    }
    limited.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    limited.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn place(products: &str) -> Place {
    let environment = vec![("MVPBENCH_CPU_PRODUCT", products.into())];
    let place = Place { environment, ..Place::new() };
    let all = std::fs::read_to_string(pairs()).unwrap();
    place.write("pairs.jsonl", all.lines().take(3).collect::<Vec<_>>().join("\n"));
    place
}

/// An evaluation whose micro-batches could take 2040 MiB in f32, though its three pairs take little.
fn evaluate(place: &Place) -> Command {
    let config = std::fs::read_to_string(path("models/tiny/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let of = |key: &str| config[key].as_u64().unwrap();
    let token = 4 * (2 * of("intermediate_size") + 3 * of("hidden_size"));
    let tokens = format!("train.micro_batch_tokens={}", 2040 * (1 << 20) / token);
    let model = text("models/tiny");
    place.mvpbench(&[
        "eval",
        "--model",
        &model,
        "--data",
        "some=pairs.jsonl",
        "--set",
        &tokens,
        "--output",
        "out",
        "--device",
        "cpu",
    ])
}

/// The line of the dtype in the evaluation's record.
fn recorded(place: &Place) -> String {
    let config = String::from_utf8(place.bytes("out/evaluation.toml")).unwrap();
    config.lines().find_map(|line| line.strip_prefix("# dtype: ")).unwrap().to_owned()
}

#[test]
fn auto_is_bf16_where_f32_does_not_fit_and_the_processor_multiplies_bf16() {
    for products in ["amx-emulated", "avx512-bf16-emulated"] {
        let place = place(products);
        let chosen = format!("bf16 by {products} products, since in f32 `");
        let output = limited(&evaluate(&place));
        let first = said(&output);
        assert!(output.status.success() && first.contains(&format!("dtype: {chosen}")), "{first}");
        let line = recorded(&place);
        assert!(line.starts_with(&chosen) && line.contains("more memory (weights"), "{line}");
        // What is begun stays of one dtype, whatever is free later.
        let output = evaluate(&place).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!((recorded(&place), said(&output).contains("dtype: bf16")), (line, true));
    }
}

#[test]
fn auto_stays_f32_without_units_of_bf16_and_where_f32_fits() {
    let without = place("widened");
    let output = limited(&evaluate(&without));
    let why = said(&output);
    assert!(output.status.code() == Some(2) && why.contains("more memory (weights"), "{why}");
    assert!(!why.contains("dtype: bf16"), "{why}");
    assert!(why.contains("hint: `--set model.dtype=bf16` takes less"), "{why}");
    let fits = place("amx-emulated");
    let output = evaluate(&fits).output().unwrap();
    assert!(output.status.success() && !said(&output).contains("dtype: "), "{}", said(&output));
    assert_eq!(recorded(&fits), "f32");
    // It began in f32, and does not change.
    let output = limited(&evaluate(&fits));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn a_plan_takes_the_dtype_that_the_run_would_take() {
    let bare = |products: &str| {
        let place = place(products)
            .set("model.path", "bare")
            .set("data.train", vec!["pairs.jsonl"])
            .set("output.dir", "run");
        for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
            let bytes = std::fs::read(path("models/tiny").join(name)).unwrap();
            place.write(&format!("bare/{name}"), bytes);
        }
        let config = std::fs::read_to_string(path("models/tiny/config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["hidden_size"] = 7680.into(); // 1.8 GiB in f32
        place.write("bare/config.json", config.to_string());
        let arguments =
            ["--config", "config.toml", "--dry-run", "--tflops", "1", "--device", "cpu"];
        limited(&place.command(&arguments))
    };
    for (products, dtype, verdict) in
        [("amx-emulated", "BF16", "it fits"), ("widened", "F32", "it does not fit")]
    {
        let output = bare(products);
        let plan = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", said(&output));
        assert!(plan.contains(&format!("on cpu in {dtype}")) && plan.contains(verdict), "{plan}");
        assert_eq!(said(&output).contains(", since in f32"), dtype == "BF16");
    }
}

#[test]
fn a_run_goes_on_with_the_products_that_it_began_with_or_not_at_all() {
    let of = |products: &str| {
        let place = place(products)
            .set("model.path", text("models/tiny"))
            .set("model.dtype", "bf16")
            .set("data.train", vec!["pairs.jsonl"])
            .set("train.max_steps", 4)
            .set("output.dir", "run");
        (place.command(&["--config", "config.toml", "--device", "cpu"]), place)
    };
    let (mut begun, place) = of("widened");
    assert!(begun.output().unwrap().status.success());
    let (mut other, _) = of("amx-emulated");
    let output = other.current_dir(place.path(".")).output().unwrap();
    let why = said(&output);
    assert_eq!(output.status.code(), Some(2), "{why}");
    assert!(why.contains("began with widened products of bf16, and this process has amx"), "{why}");
    assert!(why.contains("hint: go on with `MVPBENCH_CPU_PRODUCT=widened`"), "{why}");
    assert!(begun.output().unwrap().status.success());
}
