use super::*;
use crate::config::{Activations, Dtype, LossType, OptimizerName, Order, PromptFormat, Scheduler};
use crate::error::InputError;

mod sources;

fn imported(text: &str) -> Imported {
    import(text, "a.yaml", None, false).unwrap()
}

fn config(text: &str) -> RunConfig {
    RunConfig::parse(&imported(text).toml, "a.toml").unwrap()
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = import(text, "a.yaml", None, false).unwrap_err();
    let message =
        InputError::of(&error).map(ToString::to_string).unwrap_or_else(|| format!("{error:#}"));
    assert!(message.contains(expected), "expected `{expected}` in: {message}");
}

fn row<'a>(imported: &'a Imported, key: &str) -> &'a Row {
    let found = imported.rows.iter().find(|row| row.key == key);
    found.unwrap_or_else(|| panic!("{key} is not among {:#?}", imported.rows))
}

/// The least of each program.
const TRL: &str = "model_name_or_path: owner/model\ndataset_name: owner/pairs\nuse_peft: true\n";
const AXOLOTL: &str = "base_model: owner/model\nrl: dpo\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n\
                       learning_rate: 1e-5\ndatasets:\n  - path: owner/pairs\n    type: chat_template.default\n";
const LLAMA_FACTORY: &str = "model_name_or_path: owner/model\nstage: dpo\nfinetuning_type: lora\ndataset: pairs\ndataset_dir: no/such/folder\n";

fn least(program: Program) -> &'static str {
    match program {
        Program::Trl => TRL,
        Program::Axolotl => AXOLOTL,
        Program::LlamaFactory => LLAMA_FACTORY,
    }
}

#[test]
fn a_silent_file_has_the_defaults_of_its_program() {
    let trl = config(TRL);
    assert_eq!((trl.lora.rank, trl.lora.alpha, trl.lora.dropout), (16, 32.0, 0.0));
    assert_eq!((trl.dpo.beta, trl.dpo.loss), (0.1, LossType::Sigmoid));
    assert_eq!(
        (trl.data.max_length, trl.data.max_prompt_tokens, trl.data.order),
        (1024, 0, Order::Transformers)
    );
    let of = |c: &RunConfig| {
        (
            c.train.learning_rate,
            c.train.epochs,
            c.train.per_device_batch_size,
            c.train.gradient_accumulation_steps,
        )
    };
    assert_eq!(of(&trl), (1e-6, 3.0, 8, 1));
    assert_eq!(
        (trl.train.scheduler, trl.train.warmup_steps, trl.train.seed),
        (Scheduler::Linear, 0, 42)
    );
    assert_eq!((trl.train.optimizer, trl.train.weight_decay), (OptimizerName::AdamwTorch, 0.0));
    assert_eq!((trl.model.dtype, trl.output.dir.to_str()), (Dtype::Bf16, Some("trainer_output")));
    assert_eq!(trl.train.activations, Activations::Auto);

    let axolotl = config(AXOLOTL);
    assert_eq!((axolotl.lora.rank, axolotl.lora.alpha, axolotl.lora.dropout), (8, 16.0, 0.0));
    assert_eq!(of(&axolotl), (1e-5, 1.0, 1, 1));
    assert_eq!((axolotl.train.scheduler, axolotl.train.warmup_ratio), (Scheduler::Cosine, 0.03));
    assert_eq!((axolotl.data.max_length, axolotl.train.seed, axolotl.dpo.beta), (512, 42, 0.1));
    assert_eq!(
        (axolotl.model.dtype, axolotl.data.prompt_format),
        (Dtype::Auto, PromptFormat::Chat)
    );

    let factory = config(LLAMA_FACTORY);
    assert_eq!((factory.lora.rank, factory.lora.alpha, factory.lora.dropout), (8, 16.0, 0.0));
    assert_eq!(of(&factory), (5e-5, 3.0, 8, 1));
    assert_eq!((factory.data.max_length, factory.data.prompt_format), (2048, PromptFormat::Chat));
    assert_eq!((factory.model.dtype, factory.train.seed), (Dtype::Auto, 42));
}

#[test]
fn every_documented_key_is_named_whatever_its_value() {
    // Values of every kind: each key is translated, named or refused, and none vanishes.
    let values = ["true", "7", "word", "[a]"];
    for program in Program::ALL {
        let (mut named, mut refused) = (0, 0);
        for key in Known::of(program).names() {
            for value in values {
                let text = least(program);
                let is_there = text.lines().any(|line| line.starts_with(&format!("{key}:")));
                if is_there {
                    continue;
                }
                match import(&format!("{text}{key}: {value}\n"), "a.yaml", Some(program), false) {
                    Ok(imported) => {
                        named += 1;
                        let inside = |row: &&Row| {
                            row.key.starts_with(&format!("{key}["))
                                || row.key.starts_with(&format!("{key}."))
                        };
                        let found: Vec<_> = imported
                            .rows
                            .iter()
                            .filter(|row| row.key == key || inside(row))
                            .collect();
                        assert!(!found.is_empty(), "{program}: {key}: {value}");
                        assert!(
                            found
                                .iter()
                                .all(|row| !row.said.is_empty() && row.fate != Fate::Unknown),
                            "{program}: {key}: {value}"
                        );
                    }
                    Err(error) => {
                        refused += 1;
                        let chain = format!("{error:#}");
                        assert!(
                            InputError::of(&error).is_some() && chain.contains("a.yaml"),
                            "{program}: {key}: {value}: {chain}"
                        );
                    }
                }
            }
        }
        assert!(named > 400 && refused > 20, "{program}: {named} named, {refused} refused");
    }
}

#[test]
fn a_key_that_is_mistyped_is_refused_and_the_nearest_is_named() {
    for (program, typed, meant) in [
        (Program::Trl, "learning_rat: 1e-5", "learning_rate"),
        (Program::Axolotl, "sequence_length: 12", "sequence_len"),
        (Program::LlamaFactory, "pref_bta: 0.2", "pref_beta"),
    ] {
        let text = format!("{}{typed}\n", least(program));
        let error = import(&text, "a.yaml", None, false).unwrap_err();
        let error = InputError::of(&error).unwrap();
        let key = typed.split(':').next().unwrap();
        assert_eq!(error.to_string(), format!("a.yaml: {program} does not have the key `{key}`"));
        assert!(error.remedy().unwrap().contains(&format!("`{meant}`")), "{error:?}");
        let listed = import(&text, "a.yaml", None, true).unwrap();
        assert_eq!(row(&listed, key).fate, Fate::Unknown);
        assert!(listed.toml.contains(key), "{}", listed.toml);
    }
    // Inside a table too.
    refused(
        &AXOLOTL.replace("type:", "tpye:"),
        "`datasets[0]` has the key `tpye`, which Axolotl does not read",
    );
    refused(
        "model_name_or_path: a/b\nuse_peft: true\ndatasets:\n- pth: a/b\n",
        "`datasets[0]` has the key `pth`",
    );
}

#[test]
fn the_program_is_recognised_and_where_two_fit_nothing_is_guessed() {
    for program in Program::ALL {
        assert_eq!(imported(least(program)).program, program);
    }
    refused(
        "model_name_or_path: a\nlearning_rate: 1e-5\nnum_train_epochs: 1\n",
        "its keys fit TRL and LLaMA-Factory",
    );
    refused("lr: 1\n", "none of its keys is one of TRL, Axolotl or LLaMA-Factory");
    let text = "model_name_or_path: a/b\nlearning_rate: 1e-5\n";
    let error = import(text, "a.yaml", Some(Program::LlamaFactory), false).unwrap_err();
    assert!(InputError::of(&error).unwrap().to_string().contains("`stage` is not set"));
}

#[test]
fn a_full_recipe_of_trl_is_translated_with_its_comments() {
    let text = "# a comment\nmodel_name_or_path: owner/model\nmodel_revision: v1\nuse_peft: true\nlora_r: 64\nlora_alpha: 128\n\
                lora_dropout: 0.1\ndisable_dropout: false\nlora_target_modules: [q_proj, k_proj]\nuse_rslora: true\n\
                dataset_name: owner/pairs\ndataset_train_split: train_prefs\ndataset_test_split: test_prefs\neval_strategy: steps\n\
                eval_steps: 50\nload_best_model_at_end: true\nmetric_for_best_model: eval_rewards/accuracies\nbeta: 0.05\n\
                loss_type: [robust, sft]\nloss_weights: [1.0, 0.2]\nlabel_smoothing: 0.1\nlearning_rate: 5e-6\n\
                num_train_epochs: 1.5\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 4\nnum_processes: 2\n\
                lr_scheduler_type: cosine\nwarmup_ratio: 0.1\noptim: paged_adamw_32bit\nmax_length: 2048\nmax_prompt_length: 512\n\
                gradient_checkpointing: true\nsave_steps: 200\nsave_total_limit: 3\nbf16: true\nseed: 7\noutput_dir: runs/x\n\
                hub_token: hf_abcdef\nreport_to: wandb\n";
    let found = imported(text);
    let config = RunConfig::parse(&found.toml, "a.toml").unwrap();
    assert_eq!((&*config.model.path, &*config.model.revision), ("owner/model", "v1"));
    assert_eq!(
        (config.lora.rank, config.lora.alpha, config.lora.dropout, config.lora.use_rslora),
        (64, 128.0, 0.1, true)
    );
    assert_eq!((config.dpo.beta, config.dpo.loss), (0.05, LossType::Robust));
    assert_eq!((config.dpo.label_smoothing, config.dpo.sft_weight), (0.1, 0.2));
    assert_eq!((config.train.learning_rate, config.train.epochs), (5e-6, 1.5));
    assert_eq!(
        (config.train.per_device_batch_size, config.train.gradient_accumulation_steps),
        (2, 8)
    );
    assert_eq!((config.train.scheduler, config.train.warmup_ratio), (Scheduler::Cosine, 0.1));
    assert_eq!((config.data.max_length, config.data.max_prompt_tokens), (2048, 512));
    assert_eq!(
        (config.train.activations, config.train.checkpoint_every, config.train.keep_checkpoints),
        (Activations::Recompute, 200, 3)
    );
    assert_eq!(
        (config.train.seed, config.eval.every, config.eval.best_metric.name()),
        (7, 50, "opa")
    );
    assert_eq!(
        (&*config.data.train[0].files[0], &*config.data.train[0].split),
        ("hf://datasets/owner/pairs", "train_prefs")
    );
    assert_eq!(
        (&*config.eval.sets[0].files[0].files[0], &*config.eval.sets[0].files[0].split),
        ("hf://datasets/owner/pairs", "test_prefs")
    );
    for line in [
        "# learning_rate: 5e-6\nlearning_rate = ",
        "# beta: 0.05\nbeta = 0.05",
        "# weight_decay is not set: TRL's default\nweight_decay = 0.0",
    ] {
        assert!(found.toml.contains(line), "{line} in {}", found.toml);
    }
    assert!(
        !found.toml.contains("hf_abcdef") && !format!("{:?}", found.rows).contains("hf_abcdef"),
        "a secret is shown"
    );
    assert_eq!(row(&found, "report_to").fate, Fate::Harmless);
    assert_eq!(
        found.rows.iter().filter(|row| row.fate == Fate::Differs).count(),
        0,
        "{:#?}",
        found.rows
    );
}

#[test]
fn what_changes_the_result_is_said_at_the_head_of_the_file() {
    let text = format!(
        "{TRL}load_in_4bit: true\noptim: paged_adamw_8bit\nneftune_noise_alpha: 5\nlr_scheduler_type: inverse_sqrt\n"
    );
    let found = imported(&text);
    for key in ["load_in_4bit", "optim", "neftune_noise_alpha", "lr_scheduler_type"] {
        assert_eq!(row(&found, key).fate, Fate::Differs, "{key}");
        let (head, _) = found.toml.split_once("[model]").unwrap();
        assert!(head.contains(&format!("# - {key}: ")), "{key} in {head}");
    }
    let full = imported("model_name_or_path: owner/model\ndataset_name: owner/pairs\n");
    assert_eq!(row(&full, "use_peft").fate, Fate::Differs);
    assert!(full.toml.contains("every weight is trained there"), "{}", full.toml);
}

#[test]
fn a_method_that_is_not_computed_is_refused_by_name() {
    for (line, expected) in [
        ("loss_type: aot", "the loss `aot` has no counterpart here"),
        (
            "loss_type: [sigmoid, hinge]",
            "`loss_type: [sigmoid, hinge]` has no counterpart here: one loss is computed",
        ),
        ("loss_type: sft", "one loss is computed"),
        (
            "f_divergence_type: forward_kl",
            "`f_divergence_type: forward_kl` has no counterpart here",
        ),
        ("sync_ref_model: true", "`sync_ref_model: true` has no counterpart here"),
        ("use_weighting: true", "WPO"),
        ("ld_alpha: 0.5", "LD-DPO"),
        ("discopop_tau: 0.1", "`discopop` has its paper's temperature"),
        (
            "lora_target_modules: [c_attn]",
            "`lora_target_modules` has `c_attn`, which no layer of a Llama has",
        ),
        ("lora_r: 5000", "`lora.rank` must be in 1..=1024"),
        ("learning_rate: fast", "a.yaml:4: `learning_rate` must be a number, got `fast`"),
        ("lora_r: 1.5", "a.yaml:4: `lora_r` must be a whole number, got `1.5`"),
    ] {
        refused(&format!("{TRL}{line}\n"), expected);
    }
    for (method, expected) in
        [("kto", "KTO"), ("orpo", "ORPO"), ("grpo", "generates"), ("banana", "no method")]
    {
        refused(&AXOLOTL.replace("rl: dpo", &format!("rl: {method}")), expected);
    }
    for (line, with, expected) in [
        ("stage: dpo", "stage: kto", "KTO"),
        ("stage: dpo", "stage: sft", "preference pairs"),
        ("stage: dpo", "stage: dpo\npref_loss: orpo", "`pref_loss: orpo` has no counterpart"),
        (
            "stage: dpo",
            "stage: dpo\npref_loss: kto_pair",
            "`pref_loss: kto_pair` has no counterpart",
        ),
        ("stage: dpo", "stage: dpo\npref_bco_weight: 0.5", "BCO"),
        ("stage: dpo", "stage: dpo\nref_model: other/model", "the reference is the base model"),
        ("type: lora", "type: freeze", "`finetuning_type: freeze` has no counterpart"),
        ("stage: dpo", "stage: dpo\noutput_dir: ${oc.env:HOME}/x", "${...}"),
    ] {
        refused(&LLAMA_FACTORY.replace(line, with), expected);
    }
}

#[test]
fn a_limit_of_steps_wins_over_the_epochs() {
    let limited = config(&format!("{TRL}num_train_epochs: 2\nmax_steps: 500\n"));
    assert_eq!((limited.train.max_steps, limited.train.epochs), (500, 1e6));
    let unlimited = config(&format!("{TRL}num_train_epochs: 2\nmax_steps: -1\n"));
    assert_eq!((unlimited.train.max_steps, unlimited.train.epochs), (0, 2.0));
}

#[test]
fn a_share_of_warm_up_is_one_however_it_is_written() {
    let of = |line: &str| {
        let config = config(&format!("{TRL}{line}\n"));
        (config.train.warmup_steps, config.train.warmup_ratio)
    };
    assert_eq!(of("warmup_steps: 0.1"), (0, 0.1));
    assert_eq!(of("warmup_steps: 10"), (10, 0.0));
    assert_eq!(of("warmup_ratio: 0.1"), (0, 0.1));
    assert_eq!(of("warmup_steps: 10\nwarmup_ratio: 0.1"), (10, 0.0));
    assert_eq!(of("warmup_steps: 0\nwarmup_ratio: 0.1"), (0, 0.1));
    assert_eq!(of("lr_scheduler_type: constant\nwarmup_ratio: 0.1"), (0, 0.0));
    assert_eq!(of("lr_scheduler_type: constant_with_warmup\nwarmup_ratio: 0.1"), (0, 0.1));
    refused(&format!("{TRL}warmup_steps: 1.5\n"), "`warmup_steps` must be a whole number");
}

#[test]
fn losses_without_a_reference_have_their_settings() {
    let simpo = config(
        &AXOLOTL.replace("rl: dpo", "rl: simpo\nrl_beta: 2.0\nsimpo_gamma: 1.2\ncpo_alpha: 0.0"),
    );
    assert_eq!(
        (simpo.dpo.loss, simpo.dpo.beta, simpo.dpo.simpo_gamma, simpo.dpo.sft_weight),
        (LossType::Simpo, 2.0, 1.2, 0.0)
    );
    // CPO's SFT term is on by default in TRL.
    let silent = config(&AXOLOTL.replace("rl: dpo", "rl: simpo"));
    assert_eq!((silent.dpo.sft_weight, silent.dpo.simpo_gamma), (1.0, 0.5));
    let simpo = config(&format!(
        "{LLAMA_FACTORY}pref_loss: simpo\npref_beta: 2\nsimpo_gamma: 1.6\npref_ftx: 0.5\n"
    ));
    assert_eq!(
        (simpo.dpo.loss, simpo.dpo.beta, simpo.dpo.simpo_gamma, simpo.dpo.sft_weight),
        (LossType::Simpo, 2.0, 1.6, 0.5)
    );
    assert_eq!(config(&AXOLOTL.replace("rl: dpo", "rl: ipo")).dpo.loss, LossType::Ipo);
}
