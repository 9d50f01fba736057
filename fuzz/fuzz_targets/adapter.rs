//! An adapter folder of PEFT: `adapter_config.json`, a zero byte, the header of `adapter_model.safetensors`, a zero byte, its data.
#![no_main]

use std::fs;

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use mvpbench::model::adapter::{self, RankFrom};
use mvpbench_fuzz::{halves, place, safetensors, shape, tame};

fuzz_target!(|data: &[u8]| {
    let (config, weights) = halves(data);
    let (header, rest) = halves(weights);
    let folder = place("adapter");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(adapter::CONFIG_FILE), config).expect("a file");
    fs::write(folder.join(adapter::WEIGHTS_FILE), safetensors(header, rest)).expect("a file");
    let Some(loaded) = tame("adapter", adapter::load(&folder, shape(), None, &Device::Cpu)) else {
        return;
    };
    let written = adapter::to_safetensors(&loaded.tensors).expect("an adapter is written");
    let again = adapter::from_safetensors(
        &written,
        "again",
        shape(),
        &loaded.plan,
        RankFrom::Itself,
        &Device::Cpu,
    );
    let again = again.expect("what was written is read");
    assert_eq!(adapter::to_safetensors(&again).expect("an adapter is written"), written);
});
