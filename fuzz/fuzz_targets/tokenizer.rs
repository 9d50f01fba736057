//! The files of a tokenizer: `tokenizer.json`, a zero byte, `tokenizer_config.json`, a zero byte, a text that it must take.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mvpbench::config::TokenizerRules;
use mvpbench::data::tokenizer::{Tokenizer, TokenizerFiles};
use mvpbench_fuzz::{halves, tame};

const NAME: &str = "fuzz-model";

fuzz_target!(|data: &[u8]| {
    let (model, rest) = halves(data);
    let (config, text) = halves(rest);
    let text = String::from_utf8_lossy(text);
    for rules in TokenizerRules::ALL {
        let files = TokenizerFiles {
            tokenizer: model,
            tokenizer_config: Some(config),
            rules,
            ..TokenizerFiles::default()
        };
        let Some(tokenizer) = tame(NAME, Tokenizer::from_bytes(&files, NAME)) else { continue };
        for special in [false, true] {
            let ids = tame(NAME, tokenizer.encode(&text, special));
            let cached = tame(NAME, tokenizer.encoder().encode(&text, special));
            assert_eq!(ids, cached, "word by word, other ids");
            tame(NAME, tokenizer.decode(&ids.unwrap_or_default(), special));
        }
        tame(NAME, tokenizer.decode(&[0, 5, 511, u32::MAX], true));
        tame(NAME, tokenizer.differs_from_transformers5(&text));
    }
});
