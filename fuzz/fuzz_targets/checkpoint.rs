//! A checkpoint with one changed file: the first byte is which, the rest is its content. But for the manifest itself and with the high bit
//! set, the manifest has the digest of the content, so that what is behind it is reached.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use mvpbench::config::{LoraSection, Modules, Projection};
use mvpbench::disk::digest;
use mvpbench::model::adapter;
use mvpbench::model::lora::Adapter;
use mvpbench::run_folder::checkpoints::MANIFEST_FILE;
use mvpbench::train::checkpoint;
use mvpbench_fuzz::{halves, place, safetensors, shape};

const FILES: [&str; 4] = [
    "state.json",
    adapter::WEIGHTS_FILE,
    "first_moments.safetensors",
    "second_moments.safetensors",
];

fn section() -> LoraSection {
    let target_modules = Modules::of([Projection::QProj]);
    LoraSection { rank: 1, alpha: 2.0, target_modules, ..LoraSection::default() }
}

/// The files of a whole checkpoint.
static WHOLE: LazyLock<BTreeMap<&str, Vec<u8>>> = LazyLock::new(|| {
    let adapter = Adapter::fresh(shape(), &section(), 1, &Device::Cpu).expect("an adapter");
    let weights = adapter::to_safetensors(&adapter.tensors).expect("an adapter is written");
    let state = br#"{"step": 3, "updates": 3, "skipped_in_a_row": 0, "num_tokens": 99}"#;
    let content = |name| if name == FILES[0] { state.to_vec() } else { weights.clone() };
    FILES.map(|name| (name, content(name))).into()
});

fuzz_target!(|data: &[u8]| {
    let [which, content @ ..] = data else { return };
    let (which, is_sealed) = (usize::from(which & 0x7f) % 5, which & 0x80 == 0);
    let folder = place("checkpoint");
    fs::create_dir_all(&folder).expect("a folder");
    let mut files = WHOLE.clone();
    let digests = |files: &BTreeMap<&'static str, Vec<u8>>| -> BTreeMap<String, String> {
        let digest =
            |(name, bytes): (&&str, &Vec<u8>)| ((*name).to_owned(), digest::of_bytes(bytes));
        files.iter().map(digest).collect()
    };
    let before = digests(&files);
    if let Some(name) = FILES.get(which) {
        let (header, rest) = halves(content);
        let bytes = if which == 0 { content.to_vec() } else { safetensors(header, rest) };
        files.insert(name, bytes);
    }
    let is_same = files == *WHOLE;
    let manifest = match which {
        4 => content.to_vec(),
        _ => {
            let digests = if is_sealed { digests(&files) } else { before };
            serde_json::to_vec(&digests).expect("digests are written")
        }
    };
    files.insert(MANIFEST_FILE, manifest);
    for (name, bytes) in &files {
        fs::write(folder.join(name), bytes).expect("a file");
    }
    match checkpoint::load(&folder, shape(), &section(), &Device::Cpu) {
        Err(_) => assert!(which == 4 || !is_same, "a whole checkpoint is refused"),
        Ok(state) => {
            assert!(which == 4 || is_sealed || is_same, "a changed file was not noticed");
            let weights = adapter::to_safetensors(&state.adapter.tensors).expect("written");
            if which != 1 {
                assert_eq!(weights, WHOLE[FILES[1]]);
            }
        }
    }
});
