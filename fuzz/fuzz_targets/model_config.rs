//! `config.json` of a model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mvpbench::model::shape::Shape;
use mvpbench_fuzz::tame;

const NAME: &str = "m/config.json";

fuzz_target!(|text: &str| {
    let Some(shape) = tame(NAME, Shape::parse(text, NAME)) else { return };
    assert!(shape.parameters() > 0 && shape.layers <= 1 << 12, "{shape:?}");
    let rotary = shape.heads.head_dim;
    assert!(rotary > 0 && shape.query_width() >= shape.key_width(), "{shape:?}");
});
