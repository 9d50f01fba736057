//! A safetensors file: with an even first byte the rest is the whole file, with an odd one its header, a zero byte and its data.
#![no_main]

use std::fs;

use candle_core::safetensors::SliceSafetensors;
use libfuzzer_sys::fuzz_target;
use mvpbench::model::shard::Shard;
use mvpbench_fuzz::{halves, place, safetensors, tame};

fuzz_target!(|data: &[u8]| {
    let [how, file @ ..] = data else { return };
    let bytes = if how % 2 == 0 {
        file.to_vec()
    } else {
        let (header, rest) = halves(file);
        safetensors(header, rest)
    };
    let path = place("fuzz.safetensors");
    fs::write(&path, &bytes).expect("a file");
    let shard = tame("fuzz.safetensors", Shard::open(&path));
    // The library takes the same files.
    assert_eq!(shard.is_some(), SliceSafetensors::new(&bytes).is_ok());
    let Some(shard) = shard else { return };
    let mut read = 0;
    for entry in shard.entries() {
        let tensor = tame("fuzz.safetensors", shard.read(entry)).expect("a tensor of the file");
        assert_eq!(tensor.len(), entry.bytes());
        assert_eq!(entry.elements() * entry.dtype.bitsize() / 8, entry.bytes());
        read += tensor.len();
    }
    assert!(read <= bytes.len());
    let again = place("again.safetensors");
    shard
        .rewrite(&again, |entry| entry.dtype, |entry| shard.read(entry))
        .expect("what was read is written");
    assert_eq!(fs::read(&again).expect("a file"), bytes, "what was read is written as it was");
});
