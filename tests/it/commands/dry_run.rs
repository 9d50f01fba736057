//! `train --dry-run`: predicts what a run needs, close to what it then takes, and writes nothing.

use crate::command::{Place, records};
use crate::golden::{pairs, path};

fn place() -> Place {
    Place::golden("tiny").set("train.epochs", 2).evaluate("golden", pairs())
}

/// The size in `column` of the line that begins with `label`.
fn mebibytes(plan: &str, label: &str, column: usize) -> f64 {
    let line = plan.lines().find(|line| line.starts_with(label)).unwrap();
    let words: Vec<&str> = line[label.len()..].split_whitespace().collect();
    let scale = match words[2 * column + 1].trim_end_matches(':') {
        "KiB" => 1.0 / 1024.0,
        "MiB" => 1.0,
        "GiB" => 1024.0,
        other => panic!("{other}"),
    };
    words[2 * column].parse::<f64>().unwrap() * scale
}

#[test]
fn a_plan_tells_the_runs_own_steps_tokens_and_peak_memory_and_writes_nothing() {
    let place = place();
    let plan = place.succeed(&["--config", "config.toml", "--dry-run"]);
    assert!(!place.path("run").exists() && !place.path("cache").exists());
    assert!(plan.contains("166,208 in all, 8,192 trained"), "{plan}");
    for line in ["of the measured matmul rate", "it fits", "activations = keep", "disk: "] {
        assert!(plan.contains(line), "`{line}` is not in\n{plan}");
    }
    place.succeed(&["--config", "config.toml", "--set", "train.activations=keep"]);
    let log = records(&place.path("run/train.jsonl"));
    let tokens: u64 = log.iter().map(|record| record["tokens_computed"].as_u64().unwrap()).sum();
    assert!(plan.contains(&format!("{} optimizer steps", log.len())), "{plan}");
    let grouped = mvpbench::console::units::count(tokens as usize);
    assert!(plan.contains(&format!("tokens:      {grouped} computed")), "{tokens}: {plan}");
    assert_peak(&plan, &place.path("run"), 0);
}

/// The planned peak is close to the run's; `column`: 0 is keep, 1 is recompute.
#[track_caller]
fn assert_peak(plan: &str, run: &std::path::Path, column: usize) {
    let log = records(&run.join("train.jsonl"));
    if let Some(measured) = log.last().unwrap()["peak_memory_gib"].as_f64() {
        let predicted = mebibytes(plan, "peak  ", column);
        let measured = 1024.0 * measured;
        // Measured within 10 % on two cores; the allocator takes an arena for each thread, so more cores take more.
        assert!((predicted / measured - 1.0).abs() <= 0.25, "{predicted} for {measured} MiB");
    }
}

#[test]
fn a_run_that_does_not_fit_is_refused_before_a_weight_is_read() {
    let place = Place::golden("tiny")
        .set("data.train", vec!["pairs.jsonl"])
        .set("train.per_device_batch_size", 1_000_000)
        .set("train.micro_batch_tokens", 1_000_000_000)
        .set("train.activations", "keep");
    // About 60 tokens a pair and 20 KiB a token: 160 GiB.
    place.write("pairs.jsonl", std::fs::read_to_string(pairs()).unwrap().repeat(6_000));
    let parts = ["more memory (weights", "are free", "train.activations=recompute", "`--force`"];
    place.refuse(&["--config", "config.toml", "-q"], &parts);
    assert!(!place.path("run").exists());
}

#[test]
fn force_starts_whatever_the_plan_says() {
    let place = place();
    place.succeed(&["--config", "config.toml", "--force", "-q"]);
}

#[test]
fn a_plan_tells_the_peak_memory_of_a_larger_run_both_ways() {
    let place = Place::new();
    let config = ["--config", "tiny.toml", "--set", "train.max_steps=4", "--set", "eval.sets=[]"];
    let plan = place.succeed(&[&config[..], &["--output", "none", "--dry-run", "-q"]].concat());
    for (column, way) in ["keep", "recompute"].into_iter().enumerate() {
        let activations = format!("train.activations={way}");
        let more = ["-q", "--output", way, "--set", &activations];
        place.succeed(&[&config[..], &more].concat());
        assert_peak(&plan, &place.path(way), column);
    }
}

#[test]
fn a_plan_counts_the_evaluations_on_the_way_and_what_they_leave() {
    let place = place();
    let plan = |arguments: &[&str]| {
        let all = ["--config", "config.toml", "--dry-run", "-q", "--tflops", "1"];
        let plan = place.succeed(&[&all[..], arguments].concat());
        plan.replace("\n             ", " ") // lines that went on below
    };
    // Of four steps, 2 evaluates after the second and the fourth, 3 after the third and the last.
    let (once, twice) = (plan(&[]), plan(&["--set", "eval.every=2"]));
    assert!(once.contains("before and after"), "{once}");
    for every in ["2", "3"] {
        let plan = plan(&["--set", &format!("eval.every={every}")]);
        assert!(plan.contains("before and 2 times during training"), "{every}: {plan}");
    }
    let evaluation = |plan: &str| -> f64 {
        plan.split("evaluation ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let ratio = evaluation(&twice) / evaluation(&once);
    assert!((ratio - 1.5).abs() <= 0.2, "{ratio}: one pass more than before and after");
    let best = plan(&["--set", "eval.every=2", "--set", "eval.best_metric=dpo_loss"]);
    let disk = |plan: &str| mebibytes(plan, "disk:        ", 0);
    let checkpoint = 12.0 * 8192.0 / 1024.0 / 1024.0;
    // Two more checkpoints, rounded to a tenth of a KiB.
    assert!((disk(&best) - disk(&twice) - 2.0 * checkpoint).abs() <= 2e-4, "{best}");
}

#[test]
fn a_plan_counts_the_tokens_that_spmr_may_generate() {
    let place = crate::eval::spmr::place();
    let arguments = ["--config", "config.toml", "--dry-run", "-q", "--tflops", "1"];
    let plan = place.succeed(&arguments);
    assert!(plan.contains("generation:  at most 312 tokens for SPMR"), "{plan}"); // 13 prompts, 12 tokens, twice
    assert!(plan.contains("peak while answering"), "{plan}");
    assert!(
        plan.contains(", generation at most ") && plan.contains("TFLOP/s, of it answers"),
        "{plan}"
    );
    let plan = place.succeed(&[&arguments[..], &["--set", "eval.spmr.max_prompts=4"]].concat());
    assert!(plan.contains("generation:  at most 96 tokens"), "{plan}");
    let plan = place.succeed(&[&arguments[..], &["--set", "eval.spmr.embedder="]].concat());
    assert!(!plan.contains("generation:") && !plan.contains("answering"), "{plan}");
}

#[test]
fn a_plan_needs_no_weights_and_no_gpu() {
    let place = place();
    for name in
        ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
    {
        place
            .write(&format!("bare/{name}"), std::fs::read(path("models/tiny").join(name)).unwrap());
    }
    let arguments =
        ["--config", "config.toml", "--dry-run", "-q", "--set", "model.path=bare", "--tflops", "2"];
    let plan = place.succeed(&arguments);
    assert!(plan.contains("no weights found") && plan.contains("given 2 TFLOP/s"), "{plan}");
    let plan = place.succeed(&[&arguments[..], &["--device", "cuda:1"]].concat());
    assert!(plan.contains("on one GPU in BF16") && plan.contains("CUDA context"), "{plan}");
    let bf16 = ["--device", "cpu", "--set", "model.dtype=bf16"];
    let plan = place.succeed(&[&arguments[..], &bf16].concat());
    assert!(plan.contains("on cpu in BF16") && plan.contains("program"), "{plan}");
    let unknown = place.succeed(&["--config", "config.toml", "--dry-run", "--device", "cuda"]);
    assert!(unknown.contains("time:        unknown"), "{unknown}");
    assert!(!place.path("run").exists());
}

#[test]
fn a_card_by_name_gives_the_rate_and_the_memory() {
    let place = place();
    let plan = |arguments: &[&str]| {
        let printed =
            place.succeed(&[&["--config", "config.toml", "--dry-run", "-q"], arguments].concat());
        printed.split_whitespace().collect::<Vec<_>>().join(" ") // lines may wrap
    };
    let h100 = plan(&["--card", "h100"]);
    for part in [
        " predicted on H100 SXM: training ",
        " of the 989 bf16 TFLOP/s published for H100 SXM; products sustain an assumed 791",
        "Where power limits them to 682: ",
        "No card has been timed for this",
        "on one GPU in BF16",
        "it fits: ",
        " needed under keep, 79.6 GiB on H100 SXM",
        "a step under keep launches GFLOP GB ms share",
    ] {
        assert!(h100.contains(part), "no `{part}` in {h100}");
    }
    let given = plan(&["--card", "4090", "--tflops", "100"]);
    assert!(given.contains("at the given 100 TFLOP/s") && given.contains("RTX 4090"), "{given}");
    assert!(!given.contains("predicted") && !given.contains("GFLOP GB"), "{given}");
    let f32 = plan(&["--card", "h100", "--set", "model.dtype=f32"]);
    let published =
        "of the 67 f32 TFLOP/s published for H100 SXM; products sustain an assumed 54. No";
    assert!(f32.contains(published) && f32.contains("it fits"), "{f32}");
    for (arguments, part) in [
        (&["--card", "voodoo"][..], "take one of `b200`, `h200`"),
        (&["--card", "h100", "--device", "cpu"], "give one of them"),
    ] {
        place.refuse(&[&["--config", "config.toml", "--dry-run"], arguments].concat(), &[part]);
    }
}

#[test]
fn a_plan_refuses_what_the_run_would_refuse() {
    let place = place();
    for (arguments, part) in [
        (&["--set", "model.path=nowhere"][..], "nowhere"),
        (&["--set", "data.train=[\"nowhere.json\"]"], "nowhere.json"),
        (&["--device", "abacus"], "abacus"),
        (&["--tflops", "0"], "positive"),
    ] {
        let output = place.run(&[&["--config", "config.toml", "--dry-run"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
    let output = place.run(&["--config", "config.toml", "--tflops", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!place.path("run").exists());
}

/// `shaped`: a folder with the `config.json` of a Llama-2 of this hidden and intermediate size, layers and heads, a tokenizer, no weights.
fn write_shaped(place: &Place, [hidden, inner, layers, heads]: [usize; 4]) {
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "vocab_size": 32_000, "hidden_act": "silu",
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": false, "bos_token_id": 1,
        "eos_token_id": 2,
    });
    place.write("shaped/config.json", config.to_string());
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let bytes = std::fs::read(path("models/tiny").join(name)).unwrap();
        place.write(&format!("shaped/{name}"), bytes);
    }
}

#[test]
fn the_table_of_a_card_adds_up_to_the_step_and_the_steps_to_the_time() {
    let place = Place::golden("tiny");
    write_shaped(&place, [4096, 11_008, 32, 32]);
    let plan = |more: &[&str]| {
        let all = ["--config", "config.toml", "--dry-run", "-q", "--set", "model.path=shaped"];
        let plan = place.succeed(&[&all[..], more].concat());
        assert!(plan.lines().all(|line| line.chars().count() <= 80), "{plan}");
        plan
    };
    // The numbers of the rows of the table, and pairs a second and milliseconds a step before it.
    let parts = |plan: &str| {
        let (before, table) = plan.split_once("\na step under ").unwrap();
        let ms = |line: &str| -> f64 {
            line.split("  ").filter(|cell| !cell.is_empty()).nth(4).unwrap().trim().parse().unwrap()
        };
        let rows: Vec<f64> = table.lines().skip(1).map(ms).collect();
        let words: Vec<&str> = before.split_whitespace().collect();
        let ahead = |unit: &str| -> f64 {
            let place = words.iter().position(|word| word.trim_end_matches(',') == unit).unwrap();
            words[place - 1].parse().unwrap()
        };
        (rows, ahead("pairs/s"), ahead("ms"))
    };
    let mut steps = Vec::new();
    for more in [
        &["--card", "h100"][..],
        &["--card", "h200"],
        &["--card", "h100", "--set", "train.activations=recompute"],
        &["--card", "h100", "--set", "model.dtype=f32"],
        &["--card", "4090"],
    ] {
        let plan = plan(more);
        let (rows, pairs, ms) = parts(&plan);
        let (all, groups) = rows.split_last().unwrap();
        let sum: f64 = groups.iter().sum();
        assert!(groups.len() >= 11 && (sum / all - 1.0).abs() < 1e-3, "{sum} for {all}: {plan}");
        assert!((all / ms - 1.0).abs() < 1e-3, "{plan}");
        // 13 pairs in two steps.
        assert!((pairs * ms / 1e3 / 6.5 - 1.0).abs() < 0.01, "{plan}");
        steps.push(ms);
    }
    let [h100, h200, again, f32, small] = steps[..] else { panic!("{steps:?}") };
    assert!(h200 < h100 && h100 < again && again < f32 && again < small, "{steps:?}");
    assert!((1.2..1.45).contains(&(again / h100)), "{steps:?}");
}

#[test]
fn the_shapes_of_7b_and_13b_are_planned_from_config_json_alone() {
    let place = place();
    let pairs = path("pairs.jsonl");
    // 13 pairs are 7 batches: two steps an epoch, or the one that transformers counts.
    for (preset, sizes, gib, parameters, steps) in [
        ("llama2-7b.toml", [4096, 11_008, 32, 32], 12.6, "6,738,415,616", "6 optimizer steps"),
        (
            "paper-llama2-7b.toml",
            [4096, 11_008, 32, 32],
            12.6,
            "6,738,415,616",
            "3 optimizer steps",
        ),
        ("llama2-13b.toml", [5120, 13_824, 40, 40], 24.2, "13,015,864,320", "6 optimizer steps"),
    ] {
        write_shaped(&place, sizes);
        let train = format!("data.train=[{pairs:?}]");
        let plan = place.succeed(&[
            "--config",
            preset,
            "--dry-run",
            "-q",
            "--device",
            "cuda",
            "--tflops",
            "500",
            "--set",
            "model.path=shaped",
            "--set",
            &train,
            "--set",
            "eval.sets=[]",
        ]);
        assert!(plan.contains(parameters) && plan.contains("on one GPU in BF16"), "{plan}");
        assert!(plan.contains(&format!(" {steps} over")), "{plan}");
        let sizes = |label: &str| -> Vec<f64> {
            let line = plan.lines().find(|line| line.starts_with(label)).unwrap();
            let numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
            numbers.collect()
        };
        let (peak, weights) = (sizes("peak  "), sizes("weights"));
        assert!((weights[0] - gib).abs() < 0.01 && weights[1] >= weights[0], "{plan}");
        assert!(weights[1] < peak[1] && peak[1] < peak[0], "{plan}");
    }
}

#[test]
fn a_plan_for_several_ranks_names_the_shares_and_the_time_to_sum_gradients() {
    let place = Place::golden("tiny");
    let arguments = ["--config", "config.toml", "--dry-run", "--ranks", "3", "--tflops", "0.001"];
    let plan = place.succeed(&arguments).split_whitespace().collect::<Vec<_>>().join(" ");
    // 2 pairs x 4 batches x 3 ranks are more than the data has.
    assert!(
        plan.contains("ranks: 3 for the 13 pairs of a step; the largest share has 3"),
        "{plan}"
    );
    assert!(plan.contains("TFLOP/s on one rank") && plan.contains("efficiency"), "{plan}");
    assert!(!place.path("run").exists());
}
