//! Graphics cards by name, for plans on a machine that has none of them.

use crate::error::InputError;

/// A card as NVIDIA's data sheets describe it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    /// The name that `--card` takes.
    pub name: &'static str,
    /// Its full name.
    pub model: &'static str,
    /// Dense bf16 rate of the tensor cores with sums in f32, in TFLOP/s.
    pub bf16_tflops: f64,
    /// Rate of the vector units in f32, in TFLOP/s.
    pub f32_tflops: f64,
    /// Bandwidth of its memory, in GB/s.
    pub bandwidth_gb_s: f64,
    /// Memory that a program finds, in MiB: less than the data sheet's where error correction takes some.
    pub memory_mib: f64,
    /// Its multiprocessors.
    pub sms: usize,
    /// Compute capability: 90 for 9.0.
    pub capability: u32,
}

const fn card(
    name: &'static str,
    model: &'static str,
    [bf16_tflops, f32_tflops]: [f64; 2],
    bandwidth_gb_s: f64,
    memory_mib: f64,
    sms: usize,
    capability: u32,
) -> Card {
    Card { name, model, bf16_tflops, f32_tflops, bandwidth_gb_s, memory_mib, sms, capability }
}

/// Rates, bandwidths and multiprocessors of NVIDIA's data sheets (architecture white papers for the GeForce cards), rates without
/// sparsity; memory as `nvidia-smi` reports it; capabilities of CUDA's list.
pub const CARDS: &[Card] = &[
    card("b200", "B200", [2250.0, 75.0], 7700.0, 183_359.0, 148, 100),
    card("h200", "H200 SXM", [989.0, 67.0], 4800.0, 143_771.0, 132, 90),
    card("h100", "H100 SXM", [989.0, 67.0], 3350.0, 81_559.0, 132, 90),
    card("h100-nvl", "H100 NVL", [835.0, 60.0], 3900.0, 95_830.0, 132, 90),
    card("h100-pcie", "H100 PCIe", [756.0, 51.0], 2000.0, 81_559.0, 114, 90),
    card("a100-80", "A100 80 GB", [312.0, 19.5], 1935.0, 81_920.0, 108, 80),
    card("a100-40", "A100 40 GB", [312.0, 19.5], 1555.0, 40_960.0, 108, 80),
    card("a40", "A40", [149.7, 37.4], 696.0, 46_068.0, 84, 86),
    card("a30", "A30", [165.0, 10.3], 933.0, 24_576.0, 56, 80),
    card("a10", "A10", [125.0, 31.2], 600.0, 23_028.0, 72, 86),
    card("l40s", "L40S", [362.0, 91.6], 864.0, 46_068.0, 142, 89),
    card("l40", "L40", [181.0, 90.5], 864.0, 46_068.0, 142, 89),
    card("l4", "L4", [121.0, 30.3], 300.0, 23_034.0, 58, 89),
    card("a6000", "RTX A6000", [154.8, 38.7], 768.0, 49_140.0, 84, 86),
    card("5090", "GeForce RTX 5090", [209.5, 104.8], 1792.0, 32_607.0, 170, 120),
    card("4090", "GeForce RTX 4090", [165.2, 82.6], 1008.0, 24_564.0, 128, 89),
    card("3090", "GeForce RTX 3090", [71.0, 35.6], 936.0, 24_576.0, 82, 86),
];

/// The card of that name, whatever the case and with or without `rtx`.
pub fn named(text: &str) -> Result<&'static Card, InputError> {
    let typed = text.to_lowercase().replace(['_', ' '], "-");
    let typed = typed.trim_start_matches("rtx").trim_start_matches('-');
    CARDS.iter().find(|card| card.name == typed).ok_or_else(|| {
        let listed = |is_like: &dyn Fn(&str) -> bool| -> Option<String> {
            let like = CARDS.iter().map(|card| card.name).filter(|name| is_like(name));
            like.map(|name| format!("`{name}`")).reduce(|all, name| all + ", " + &name)
        };
        let like = listed(&|name| !typed.is_empty() && name.starts_with(typed));
        let which = like.or_else(|| listed(&|_| true)).unwrap_or_default();
        InputError::new(format!("`--card {text}`: no card of that name is known"))
            .hint(format!("take one of {which}; `--tflops` takes any rate"))
    })
}

/// The card that a driver calls `name`, as `NVIDIA H100 80GB HBM3`; none if it is none of [`CARDS`] or a part of one.
pub fn of_device(name: &str) -> Option<&'static Card> {
    let name = name.to_lowercase();
    let has = |word: &str| name.split([' ', '-']).any(|found| found == word);
    // A virtual card ends in the memory of its profile and the profile's letter, as `A10-24Q` and `A100-4-20C`.
    let profile = name.rsplit_once('-').and_then(|(_, end)| end.strip_suffix(['a', 'b', 'c', 'q']));
    if profile.is_some_and(|size| size.parse::<u32>().is_ok()) {
        return None;
    }
    let named = match () {
        // A part of a card, and others of the same number.
        () if ["mig", "laptop", "ti", "d"].into_iter().any(has) => return None,
        () if has("h100") && has("nvl") => "h100-nvl",
        () if has("h100") && has("pcie") => "h100-pcie",
        () if has("h100") && has("hbm3") => "h100",
        () if has("a100") && has("80gb") => "a100-80",
        () if has("a100") && has("40gb") => "a100-40",
        () if has("h100") || has("h200") && has("nvl") => return None,
        () => CARDS.iter().map(|card| card.name).find(|name| has(name))?,
    };
    CARDS.iter().find(|card| card.name == named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_found_by_its_name_and_an_unknown_one_refused_with_the_names() {
        for (text, model) in
            [("h100", "H100 SXM"), ("A100-40", "A100 40 GB"), ("RTX 4090", "GeForce RTX 4090")]
        {
            assert_eq!(named(text).unwrap().model, model);
        }
        let error = named("a100").unwrap_err();
        let remedy = error.remedy().unwrap();
        assert!(remedy.starts_with("take one of `a100-80`, `a100-40`; "), "{remedy}");
        let error = named("abacus").unwrap_err();
        assert!(error.remedy().unwrap().contains("`b200`, `h200`"), "{error}");
    }

    #[test]
    fn a_card_is_known_by_the_name_that_its_driver_has_for_it_and_a_like_one_is_not() {
        for (name, known) in [
            ("NVIDIA H100 80GB HBM3", "h100"),
            ("NVIDIA H100 PCIe", "h100-pcie"),
            ("NVIDIA H100 NVL", "h100-nvl"),
            ("NVIDIA H200", "h200"),
            ("NVIDIA B200", "b200"),
            ("NVIDIA A100-SXM4-80GB", "a100-80"),
            ("NVIDIA A100 80GB PCIe", "a100-80"),
            ("NVIDIA A100-PCIE-40GB", "a100-40"),
            ("NVIDIA A10", "a10"),
            ("NVIDIA L40S", "l40s"),
            ("NVIDIA RTX A6000", "a6000"),
            ("NVIDIA GeForce RTX 4090", "4090"),
        ] {
            assert_eq!(of_device(name).map(|card| card.name), Some(known), "{name}");
        }
        for name in [
            "emulated GPU",
            "NVIDIA GeForce RTX 3090 Ti",
            "NVIDIA GeForce RTX 4090 D",
            "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "Tesla T4",
            "NVIDIA H100",
            "NVIDIA GH200",
            "NVIDIA A10-24Q",
            "GRID A100-4-20C",
            "NVIDIA L40S-48C",
        ] {
            assert_eq!(of_device(name), None, "{name}");
        }
    }

    #[test]
    fn no_two_cards_have_one_name_and_every_figure_is_one_of_a_card() {
        for (at, card) in CARDS.iter().enumerate() {
            assert!(CARDS[..at].iter().all(|other| other.name != card.name), "{}", card.name);
            assert!((50.0..3000.0).contains(&card.bf16_tflops), "{}", card.name);
            assert!((250.0..9000.0).contains(&card.bandwidth_gb_s), "{}", card.name);
            assert!((20_000.0..200_000.0).contains(&card.memory_mib), "{}", card.name);
            assert!((10.0..120.0).contains(&card.f32_tflops), "{}", card.name);
            assert!((50..200).contains(&card.sms), "{}", card.name);
            assert!([80, 86, 89, 90, 100, 120].contains(&card.capability), "{}", card.name);
        }
    }
}
