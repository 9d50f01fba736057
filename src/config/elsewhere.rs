//! Names that other trainers give to a setting (TRL, transformers, PEFT, Axolotl, LLaMA-Factory), with ours.

/// The last part of an unknown key, in lower case, and the key here.
const KEYS: &[(&str, &str)] = &[
    ("model_name_or_path", "model.path"),
    ("model_name", "model.path"),
    ("base_model", "model.path"),
    ("pretrained_model_name_or_path", "model.path"),
    ("model_revision", "model.revision"),
    ("torch_dtype", "model.dtype"),
    ("bf16", "model.dtype"),
    ("fp16", "model.dtype"),
    ("precision", "model.dtype"),
    ("r", "lora.rank"),
    ("lora_r", "lora.rank"),
    ("lora_rank", "lora.rank"),
    ("lora_alpha", "lora.alpha"),
    ("lora_dropout", "lora.dropout"),
    ("use_rslora", "lora.use_rslora"),
    ("lora_target", "lora.target_modules"),
    ("lora_target_modules", "lora.target_modules"),
    ("lora_target_linear", "lora.target_modules"),
    ("lora_exclude_modules", "lora.exclude_modules"),
    ("lora_rank_pattern", "lora.rank_pattern"),
    ("peft_rank_pattern", "lora.rank_pattern"),
    ("lora_alpha_pattern", "lora.alpha_pattern"),
    ("lora_layers_to_transform", "lora.layers_to_transform"),
    ("peft_layers_to_transform", "lora.layers_to_transform"),
    ("lora_layers_pattern", "lora.layers_pattern"),
    ("peft_layers_pattern", "lora.layers_pattern"),
    ("lora_model_dir", "lora.init_from"),
    ("adapter_name_or_path", "lora.init_from"),
    ("loraplus_lr_ratio", "train.lora_plus_ratio"),
    ("loss_type", "dpo.loss"),
    ("pref_loss", "dpo.loss"),
    ("dpo_beta", "dpo.beta"),
    ("pref_beta", "dpo.beta"),
    ("rl_beta", "dpo.beta"),
    ("rpo_alpha", "dpo.sft_weight"),
    ("pref_ftx", "dpo.sft_weight"),
    ("gamma", "dpo.simpo_gamma"),
    ("simpo_gamma", "dpo.simpo_gamma"),
    ("dataset", "data.train"),
    ("datasets", "data.train"),
    ("dataset_name", "data.train"),
    ("dataset_path", "data.train"),
    ("train_file", "data.train"),
    ("max_prompt_length", "data.max_prompt_tokens"),
    ("max_seq_length", "data.max_length"),
    ("model_max_length", "data.max_length"),
    ("cutoff_len", "data.max_length"),
    ("sequence_len", "data.max_length"),
    ("chat_template", "data.chat_template"),
    ("chat_template_path", "data.chat_template"),
    ("lr", "train.learning_rate"),
    ("num_train_epochs", "train.epochs"),
    ("num_epochs", "train.epochs"),
    ("optim", "train.optimizer"),
    ("lr_scheduler", "train.scheduler"),
    ("lr_scheduler_type", "train.scheduler"),
    ("warmup_ratio", "train.warmup_ratio"),
    ("clip_grad_norm", "train.max_grad_norm"),
    ("gradient_clipping", "train.max_grad_norm"),
    ("per_device_train_batch_size", "train.per_device_batch_size"),
    ("micro_batch_size", "train.per_device_batch_size"),
    ("batch_size", "train.per_device_batch_size"),
    ("grad_accum", "train.gradient_accumulation_steps"),
    ("gradient_checkpointing", "train.activations"),
    ("use_gradient_checkpointing", "train.activations"),
    ("save_steps", "train.checkpoint_every"),
    ("save_total_limit", "train.keep_checkpoints"),
    ("resume_from_checkpoint", "--resume"),
    ("eval_steps", "eval.every"),
    ("metric_for_best_model", "eval.best_metric"),
    ("load_best_model_at_end", "eval.best_metric"),
    ("early_stopping_patience", "eval.patience"),
    ("eval_dataset", "eval.sets"),
    ("val_file", "eval.sets"),
    ("test_datasets", "eval.sets"),
    ("output_dir", "output.dir"),
];

/// Settings that have no key here, and why.
const WITHOUT_KEY: &[(&[&str], &str)] = &[
    (
        &[
            "load_in_4bit",
            "load_in_8bit",
            "quantization_bit",
            "quantization",
            "bnb_4bit_quant_type",
        ],
        "the base model is bf16 or f32 here; `train.activations = \"recompute\"` takes the least memory, and `--dry-run` prints how much",
    ),
    (
        &["logging_steps", "log_every", "logging_strategy"],
        "every optimizer step is logged, to `train.jsonl` and `tensorboard/`; leave it out",
    ),
    (
        &["report_to", "wandb_project", "use_wandb"],
        "TensorBoard files are always written; leave it out",
    ),
    (
        &["packing", "padding_free", "sample_packing", "group_by_length", "pad_to_sequence_len"],
        "pairs are always packed without padding; leave it out",
    ),
    (
        &["precompute_ref_log_probs", "ref_model", "model_ref", "ref_adapter_name"],
        "the reference is the base model with the adapter off, computed once; `dpo.reference` has the choices",
    ),
    (
        &["adam_beta1", "adam_beta2", "adam_epsilon"],
        "the optimizer is AdamW with PyTorch's defaults; leave it out, `train.optimizer` has the choices",
    ),
    (
        &[
            "flash_attention",
            "flash_attn",
            "attn_implementation",
            "use_unsloth",
            "use_liger_kernel",
            "tf32",
        ],
        "the kernels are this program's own; leave it out",
    ),
    (
        &[
            "modules_to_save",
            "lora_modules_to_save",
            "use_dora",
            "bias",
            "lora_bias",
            "init_lora_weights",
        ],
        "the adapter is plain LoRA; leave it out",
    ),
    (
        &["task_type", "stage", "finetuning_type", "adapter", "rl"],
        "this program trains LoRA with DPO; leave it out",
    ),
];

/// The hint for an unknown key that another trainer has: `Ok` with the key here, `Err` with why there is none.
pub(super) fn find(unknown: &str) -> Option<Result<&'static str, &'static str>> {
    let name = unknown.rsplit('.').next().unwrap_or(unknown).to_lowercase().replace('-', "_");
    let here = KEYS.iter().find(|(other, _)| *other == name).map(|(_, key)| Ok(*key));
    here.or_else(|| {
        let row = WITHOUT_KEY.iter().find(|(names, _)| names.contains(&&*name));
        row.map(|(_, why)| Err(*why))
    })
}

/// The loss here of a name that other trainers give it, in lower case.
pub(super) fn loss(word: &str) -> Option<&'static str> {
    match word.to_lowercase().as_str() {
        "dpo" | "cdpo" | "logistic" => Some("sigmoid"),
        "slic" | "slic_hf" | "rso" => Some("hinge"),
        "rdpo" => Some("robust"),
        "exo" => Some("exo_pair"),
        "nca" => Some("nca_pair"),
        "bco" => Some("bco_pair"),
        "sppo" => Some("sppo_hard"),
        "apo" => Some("apo_zero"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::choices::LossType;
    use crate::config::keys::kind;

    #[test]
    fn every_name_leads_to_a_key_that_exists() {
        for (other, key) in KEYS {
            assert!(kind(key).is_some() || *key == "--resume", "{other}: {key}");
        }
        for word in ["dpo", "slic", "cdpo", "rdpo", "exo", "nca", "bco", "sppo", "apo"] {
            assert!(LossType::NAMES.contains(&loss(word).unwrap()), "{word}");
        }
        assert_eq!(loss("kto"), None);
    }

    #[test]
    fn the_table_is_read_whatever_the_section_and_the_case() {
        assert_eq!(find("lr"), Some(Ok("train.learning_rate")));
        assert_eq!(find("train.Num-Train-Epochs"), Some(Ok("train.epochs")));
        assert_eq!(find("lora.r"), Some(Ok("lora.rank")));
        assert!(find("load_in_4bit").unwrap().unwrap_err().contains("bf16 or f32"));
        assert_eq!(find("banana"), None);
    }
}
