//! `mvpbench merge`: the checkpoint it writes computes what base and adapter compute, and is laid out as the base is.

use std::path::Path;
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor};
use mvpbench::disk::seal;
use mvpbench::model::adapter;
use mvpbench::model::decoder::Decoder;
use mvpbench::model::shard::Shard;

use crate::golden::path;

fn merge(model: &Path, adapter: &Path, output: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mvpbench"))
        .arg("merge")
        .args([Path::new("--model"), model, Path::new("--adapter"), adapter])
        .args([Path::new("--output"), output])
        .args(more)
        .output()
        .unwrap()
}

#[track_caller]
fn merged(name: &str, adapter: &str, output: &Path, more: &[&str]) -> String {
    let (model, adapter) = (path(&format!("models/{name}")), path(&format!("adapters/{adapter}")));
    let done = merge(&model, &adapter, output, more);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[track_caller]
fn refused(done: &Output, output: &Path, parts: &[&str]) {
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "`{part}` is not in {said}"));
    assert!(!output.exists());
    let beside = std::fs::read_dir(output.parent().unwrap()).unwrap();
    assert!(!beside.flatten().any(|entry| entry.file_name().to_string_lossy().contains("partial")));
}

/// Every golden adapter has alpha 32 with rank 16, or another pair of unequal numbers.
#[test]
fn merged_equals_unmerged_when_alpha_differs_from_rank() {
    let folder = tempfile::tempdir().unwrap();
    // Largest difference of a logit: f32 rounds the order of two sums, f16 the weights themselves.
    for (model, adapter_name, bound) in [
        ("tiny", "tiny-nonzero", 1e-5),
        ("tiny-gqa", "tiny-gqa-nonzero", 1e-5),
        ("tiny", "tiny-alllinear-nonzero", 1e-5),
        ("tiny-f16", "tiny-f16-nonzero", 2e-3),
    ] {
        let output = folder.path().join(adapter_name);
        let said = merged(model, adapter_name, &output, &[]);
        assert!(said.contains("check:"), "{said}");
        let base =
            Decoder::load(&path(&format!("models/{model}")), DType::F32, &Device::Cpu).unwrap();
        let after = Decoder::load(&output, DType::F32, &Device::Cpu).unwrap();
        let adapter_folder = path(&format!("adapters/{adapter_name}"));
        let adapter = adapter::load(&adapter_folder, &base.shape, None, &Device::Cpu).unwrap();
        assert!(adapter.plan.iter().all(|(.., m)| (m.alpha - m.rank as f64).abs() > 0.5));
        let logits = |model: &Decoder, adapter| {
            model.next_logits(&[1, 5, 9, 20, 7], adapter).unwrap().to_vec1::<f32>().unwrap()
        };
        let (want, got) = (logits(&base, Some(&adapter)), logits(&after, None));
        let untouched = logits(&base, None);
        let worst =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(want.iter().chain(&got).all(|x| x.is_finite()));
        assert!(worst(&want, &got) <= bound, "{adapter_name}: {:e}", worst(&want, &got));
        assert!(worst(&want, &untouched) > 100.0 * bound, "the adapter does nothing");
    }
}

#[test]
fn shards_index_names_order_and_dtype_stay_those_of_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("merged");
    let said = merged("tiny-f16", "tiny-f16-nonzero", &output, &["-q"]);
    assert!(said.contains("4 of 21 tensors changed, F16") && said.contains("in 2 files"), "{said}");
    let base = path("models/tiny-f16");
    for name in [
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert_eq!(read(&output), read(&base), "{name}");
    }
    for number in 1..=2 {
        let name = format!("model-{number:05}-of-00002.safetensors");
        let (was, is) =
            (Shard::open(&base.join(&name)).unwrap(), Shard::open(&output.join(&name)).unwrap());
        assert_eq!(was.entries(), is.entries());
        for entry in was.entries() {
            let adapted = entry.name.contains("q_proj") || entry.name.contains("v_proj");
            let same = was.read(entry).unwrap() == is.read(entry).unwrap();
            assert_eq!(same, !adapted, "{}", entry.name);
        }
    }
}

#[test]
fn another_dtype_is_said_in_config_and_index() {
    let folder = tempfile::tempdir().unwrap();
    for (dtype, word, bytes) in [("bf16", "bfloat16", 332_416), ("f32", "float32", 664_832)] {
        let output = folder.path().join(dtype);
        merged("tiny-f16", "tiny-f16-nonzero", &output, &["--dtype", dtype, "--probe", "Hello"]);
        let json = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(output.join(name)).unwrap()).unwrap()
        };
        let config = json("config.json");
        assert!(config["torch_dtype"] == word || config["dtype"] == word, "{config}");
        assert_eq!(json("model.safetensors.index.json")["metadata"]["total_size"], bytes);
        Decoder::load(&output, DType::F32, &Device::Cpu).unwrap();
    }
}

#[test]
fn what_cannot_be_merged_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("merged");
    let (tiny, adapter) = (path("models/tiny"), path("adapters/tiny-nonzero"));
    let other = path("adapters/tiny-gqa-nonzero");
    refused(&merge(&tiny, &other, &output, &[]), &output, &["another shape"]);
    let nowhere = folder.path().join("nowhere");
    refused(&merge(&nowhere, &adapter, &output, &[]), &output, &["does not exist", "hint: "]);
    refused(&merge(&tiny, &nowhere, &output, &[]), &output, &["adapter_config.json"]);
    refused(&merge(&tiny, &adapter, &output, &["--dtype", "int4"]), &output, &["int4"]);
    std::fs::create_dir(&output).unwrap();
    std::fs::write(output.join("thesis.txt"), "x").unwrap();
    let done = merge(&tiny, &adapter, &output, &[]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("already exists"));
    assert_eq!(std::fs::read_dir(&output).unwrap().count(), 1);
}

#[test]
fn merges_into_one_folder_at_once_all_end_with_the_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    let (output, alone) = (folder.path().join("merged"), folder.path().join("alone"));
    let said = merged("tiny", "tiny-nonzero", &alone, &["-q"]);
    let (tiny, adapter) = (path("models/tiny"), path("adapters/tiny-nonzero"));
    let all: Vec<_> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| merge(&tiny, &adapter, &output, &["-q"]));
        let running: Vec<_> = (0..6).map(|_| one()).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    });
    for done in all {
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let printed = String::from_utf8(done.stdout).unwrap();
        assert_eq!(printed.replace("/merged", "/alone"), said);
    }
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&output) == weights(&alone));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        2,
        "nothing half-written is left"
    );

    // The same command recognises its work, also after a kill that left a part of another attempt. It does not
    // recognise another merge, nor its own with a changed file.
    std::fs::create_dir(folder.path().join(".merged.12-34.partial")).unwrap();
    assert!(merge(&tiny, &adapter, &output, &["-q"]).status.success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let other = merge(&tiny, &adapter, &output, &["--dtype", "bf16"]);
    assert_eq!(other.status.code(), Some(2));
    let mut names: Vec<_> = std::fs::read_dir(&output).unwrap().map(|file| file.unwrap()).collect();
    names.retain(|file| file.file_name() != "merge.json");
    assert_eq!(names.len(), 6, "weights, configurations and the files of the tokenizer");
    for file in names {
        let (file, name) = (file.path(), file.file_name().into_string().unwrap());
        let whole = std::fs::read(&file).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&file, changed).unwrap();
        not_earlier(&output, &format!("holds this merge, but `{name}` has changed since"));
        std::fs::remove_file(&file).unwrap();
        not_earlier(&output, &format!("holds this merge, but `{name}` is missing"));
        std::fs::write(&file, whole).unwrap();
    }
    assert!(merge(&tiny, &adapter, &output, &["-q"]).status.success(), "all files are whole again");
}

/// `output` of the adapter `tiny-nonzero` is refused with `what`, and stays as it is.
#[track_caller]
fn not_earlier(output: &Path, what: &str) {
    let done = merge(&path("models/tiny"), &path("adapters/tiny-nonzero"), output, &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains(what) && said.contains("hint: remove"), "`{what}` is not in {said}");
}

#[test]
fn a_merge_of_an_earlier_version_is_refused_and_so_is_one_of_a_base_with_another_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let [base, output] = ["base", "merged"].map(|name| folder.path().join(name));
    std::fs::create_dir(&base).unwrap();
    for file in std::fs::read_dir(path("models/tiny")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), base.join(file.file_name())).unwrap();
    }
    let adapter = path("adapters/tiny-nonzero");
    assert!(merge(&base, &adapter, &output, &[]).status.success());
    let file = base.join("tokenizer_config.json");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}\n")).unwrap();
    let done = merge(&base, &adapter, &output, &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(2) && said.contains("already exists"), "{said}");
    std::fs::write(&file, config).unwrap();
    assert!(merge(&base, &adapter, &output, &[]).status.success());

    let record = output.join("merge.json");
    let mut fields = seal::open(&std::fs::read(&record).unwrap()).unwrap();
    let mut object: serde_json::Value = serde_json::from_slice(&fields).unwrap();
    object.as_object_mut().unwrap().remove("digests").unwrap();
    fields = seal::indented(&object).unwrap();
    std::fs::write(&record, fields).unwrap();
    not_earlier(&output, "whose `merge.json` does not tell");
}

/// A base as other programs write it: biases, F64, names without `model.`, shards without an index.
#[test]
fn a_base_of_another_form_is_merged_in_its_own_form_and_with_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let (base, golden) = (folder.path().join("base"), path("models/tiny"));
    std::fs::create_dir(&base).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::copy(golden.join(name), base.join(name)).unwrap();
    }
    let config = std::fs::read(golden.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["attention_bias"] = true.into();
    std::fs::write(base.join("config.json"), config.to_string()).unwrap();
    let tensors =
        candle_core::safetensors::load(golden.join("model.safetensors"), &Device::Cpu).unwrap();
    let mut shards = [std::collections::HashMap::new(), std::collections::HashMap::new()];
    for (name, tensor) in tensors {
        let tensor = tensor.to_dtype(DType::F64).unwrap();
        let name = name.trim_start_matches("model.").to_owned();
        let shard = &mut shards[usize::from(name.starts_with("layers.1."))];
        if name.contains("self_attn") {
            let bias: Vec<f64> = (0..tensor.dims()[0]).map(|i| 0.1 * (i as f64).cos()).collect();
            let bias = Tensor::new(bias, &Device::Cpu).unwrap();
            shard.insert(name.replace(".weight", ".bias"), bias);
        }
        shard.insert(name, tensor);
    }
    for (i, shard) in shards.iter().enumerate() {
        let file = base.join(format!("model-0000{}-of-00002.safetensors", i + 1));
        candle_core::safetensors::save(shard, file).unwrap();
    }
    let adapter_folder = path("adapters/tiny-nonzero");
    for more in [&[][..], &["--dtype", "bf16"]] {
        let output = folder.path().join(format!("merged{}", more.len()));
        let done = merge(&base, &adapter_folder, &output, more);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        let index = std::fs::read(output.join("model.safetensors.index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let (mut names, mut bytes) = (0, 0);
        for i in [1, 2] {
            let file = format!("model-0000{i}-of-00002.safetensors");
            let shard = Shard::open(&output.join(&file)).unwrap();
            for entry in shard.entries() {
                assert_eq!(index["weight_map"][&entry.name], *file, "{}", entry.name);
                let expected = if more.is_empty() { DType::F64 } else { DType::BF16 };
                assert_eq!(entry.float().unwrap(), expected, "{}", entry.name);
                bytes += entry.bytes();
                names += 1;
            }
        }
        assert_eq!(index["weight_map"].as_object().unwrap().len(), names);
        assert_eq!((names, &index["metadata"]["total_size"]), (29, &bytes.into()));
        let unmerged = Decoder::load(&base, DType::F32, &Device::Cpu).unwrap();
        assert!(unmerged.notes[0].contains("29 tensors are stored as F64"), "{:?}", unmerged.notes);
        let adapter = adapter::load(&adapter_folder, &unmerged.shape, None, &Device::Cpu).unwrap();
        let after = Decoder::load(&output, DType::F32, &Device::Cpu).unwrap();
        let logits = |model: &Decoder, adapter| {
            model.next_logits(&[1, 5, 9, 20, 7], adapter).unwrap().to_vec1::<f32>().unwrap()
        };
        let bound = if more.is_empty() { 1e-5 } else { 0.2 };
        for (got, want) in logits(&after, None).iter().zip(logits(&unmerged, Some(&adapter))) {
            assert!((got - want).abs() <= bound, "{got} {want}");
        }
    }
}
