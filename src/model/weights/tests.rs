use std::collections::HashMap;

use super::*;

fn save(folder: &Path, file: &str, names: &[(&str, &[usize])]) {
    let tensors: HashMap<_, _> = names
        .iter()
        .map(|(name, shape)| (*name, Tensor::ones(*shape, DType::BF16, &Device::Cpu).unwrap()))
        .collect();
    candle_core::safetensors::save(&tensors, folder.join(file)).unwrap();
}

fn open(folder: &Path) -> Result<Checkpoint> {
    Checkpoint::open(folder, DType::F32, &Device::Cpu)
}

#[test]
fn every_missing_extra_and_misshapen_tensor_is_named() {
    let folder = tempfile::tempdir().unwrap();
    save(
        folder.path(),
        "model.safetensors",
        &[("a", &[2, 3]), ("b", &[4]), ("left.rotary_emb.inv_freq", &[1]), ("c", &[1])],
    );
    let mut checkpoint = open(folder.path()).unwrap();
    let a = checkpoint.take("a", &[2, 3]).unwrap().into_tensor().unwrap();
    assert_eq!((a.dims(), a.dtype()), (&[2, 3][..], DType::F32));
    checkpoint.take("b", &[5]).unwrap();
    checkpoint.take("d", &[1]).unwrap();
    let message = checkpoint.finish().unwrap_err().to_string();
    for part in ["1 missing: `d`", "1 not expected: `c`", "`b` has shape [4], expected [5]"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_tied_checkpoint_with_another_output_layer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let accept = |head: Option<&[f32]>| {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let embedding = tensor(&[1.0, 2.0]);
        let mut tensors = HashMap::from([("model.embed_tokens.weight", embedding)]);
        tensors.extend(head.map(|head| ("lm_head.weight", tensor(head))));
        candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
        let mut checkpoint = open(folder.path()).unwrap();
        checkpoint.accept_tied_head()?;
        checkpoint.take("model.embed_tokens.weight", &[2])?;
        checkpoint.finish().map(drop)
    };
    accept(None).unwrap();
    accept(Some(&[1.0, 2.0])).unwrap();
    for other in [&[1.0, 2.5][..], &[1.0, 2.0, 3.0]] {
        let error = accept(Some(other)).unwrap_err();
        assert!(error.to_string().contains("`lm_head.weight` is not"), "{error}");
        assert!(InputError::of(&error).and_then(InputError::remedy).is_some());
    }
}

#[test]
fn shards_are_read_through_their_index() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "one.safetensors", &[("a", &[2])]);
    save(folder.path(), "two.safetensors", &[("b", &[3])]);
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#)
        .unwrap();
    let mut checkpoint = open(folder.path()).unwrap();
    assert_eq!(checkpoint.take("b", &[3]).unwrap().into_tensor().unwrap().dims(), [3]);
    assert_eq!(checkpoint.take("a", &[2]).unwrap().into_tensor().unwrap().dims(), [2]);
    checkpoint.finish().unwrap();
    for broken in [
        r#"{"weight_map": {"a": "../one.safetensors"}}"#,
        r#"{"weight_map": {"a": "three.safetensors"}}"#,
        r#"{"weight_map": {}}"#,
        "{}",
        "{",
    ] {
        std::fs::write(&index, broken).unwrap();
        assert!(InputError::of(&open(folder.path()).err().unwrap()).is_some(), "{broken}");
    }
}

/// One that is not there, one that leads to itself, and what is no file.
#[cfg(unix)]
#[test]
fn a_shard_that_cannot_be_read_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "one.safetensors"}}"#).unwrap();
    let shard = folder.path().join("one.safetensors");
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let link = |path: &Path| std::os::unix::fs::symlink(path, path).unwrap();
    type Make<'a> = &'a dyn Fn(&Path);
    let cases: [(Make<'_>, &str); 3] =
        [(&|_| {}, "does not exist"), (&link, "symbolic links"), (&pipe, "cannot be read")];
    for (make, why) in cases {
        make(&shard);
        let error = open(folder.path()).err().unwrap();
        let said = format!("{error:#}");
        assert!(InputError::of(&error).is_some(), "{said}");
        assert!(said.contains("one.safetensors") && said.contains(why), "{said}");
        let _ = std::fs::remove_file(&shard);
    }
}

#[test]
fn a_whole_set_of_shards_needs_no_index_and_any_other_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let name = |i: usize| format!("model-0000{i}-of-00003.safetensors");
    for i in [1, 3] {
        save(folder.path(), &name(i), &[(["", "a", "b", "c"][i], &[2])]);
    }
    let error = open(folder.path()).err().unwrap();
    let expected = "2 files, the first `model-00001-of-00003.safetensors`";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("fetch the index"));
    save(folder.path(), &name(2), &[("b", &[2])]);
    let mut checkpoint = open(folder.path()).unwrap();
    for tensor in ["a", "b", "c"] {
        checkpoint.take(tensor, &[2]).unwrap();
    }
    checkpoint.finish().unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for others in [
        &["model-00001-of-00001.safetensors", "model-00001-of-00002.safetensors"][..],
        &["model-1-of-00001.safetensors"],
        &["pytorch_model-00001-of-00001.safetensors"],
        &["model-00000-of-00000.safetensors"],
        &["model-00002-of-00001.safetensors"],
    ] {
        assert!(without_index("x", &names(others)).is_err(), "{others:?}");
    }
    assert_eq!(without_index("x", &names(&["adapter_model.safetensors"])).unwrap(), None);
    save(folder.path(), &name(2), &[("b", &[2]), ("c", &[2])]);
    let error = open(folder.path()).err().unwrap();
    assert!(error.to_string().contains("`c` is in another shard too"), "{error}");
    // An index does not choose.
    let map = HashMap::from([("a", name(1)), ("b", name(2)), ("c", name(3))]);
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    std::fs::write(folder.path().join(INDEX_FILE), index.to_string()).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(error.to_string().contains("`c` is in another shard too"), "{error}");
}

#[test]
fn f64_is_rounded_once() {
    let folder = tempfile::tempdir().unwrap();
    let above_a_tie = [1.0 + 2f64.powi(-8) + 1e-12];
    let tensors = HashMap::from([("a", Tensor::new(&above_a_tie, &Device::Cpu).unwrap())]);
    candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
    let mut checkpoint = Checkpoint::open(folder.path(), DType::BF16, &Device::Cpu).unwrap();
    let read = checkpoint.take("a", &[1]).unwrap().into_tensor().unwrap();
    let read = read.to_dtype(DType::F32).unwrap();
    assert_eq!(read.to_vec1::<f32>().unwrap(), [1.0 + 2f32.powi(-7)]);
}

#[test]
fn names_without_the_prefix_are_read_and_f64_is_converted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = HashMap::from([
        ("layers.0.a.weight", Tensor::new(&[1f64 / 3.0], &Device::Cpu).unwrap()),
        ("norm.weight", Tensor::new(&[0.5f32], &Device::Cpu).unwrap()),
    ]);
    candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
    let mut checkpoint = open(folder.path()).unwrap();
    checkpoint.take("model.norm.weight", &[1]).unwrap();
    let third = checkpoint.take("model.layers.0.a.weight", &[1]).unwrap();
    let third = third.into_tensor().unwrap();
    assert_eq!(third.to_vec1::<f32>().unwrap()[0].to_bits(), (1f32 / 3.0).to_bits());
    let (notes, _) = checkpoint.finish().unwrap();
    assert!(notes.len() == 1 && notes[0].contains("1 tensors are stored as F64"), "{notes:?}");
    let mut checkpoint = open(folder.path()).unwrap();
    checkpoint.take("model.layers.0.a.weight", &[1]).unwrap();
    checkpoint.take("model.norm.weight", &[1]).unwrap();
    checkpoint.take("lm_head.weight", &[1]).unwrap();
    let error = checkpoint.finish().unwrap_err();
    assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("`LlamaModel`"));
}

#[test]
fn a_truncated_file_and_an_old_format_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin"), "x").unwrap();
    let remedy =
        |error: anyhow::Error| InputError::of(&error).unwrap().remedy().unwrap().to_owned();
    assert!(remedy(open(folder.path()).err().unwrap()).contains("convert it"));
    save(folder.path(), "model.safetensors", &[("a", &[64])]);
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 4, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(remedy(open(folder.path()).err().unwrap()).contains("fetch it again"), "{length}");
    }
}
