//! What a driver tells of a card, as two lines and as JSON.

use serde::Serialize;

/// A card, its driver and its libraries. What the driver does not report is left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CardIdentity {
    /// Its name.
    pub name: Option<String>,
    /// Compute capability, as `9.0`.
    pub capability: Option<String>,
    /// Processors (SMs).
    pub processors: Option<i32>,
    /// Size of the cache that they share, MiB.
    pub l2_mib: Option<f64>,
    /// Shared memory that a block may ask for, KiB.
    pub shared_kib_per_block: Option<f64>,
    /// Shared memory of a processor, KiB.
    pub shared_kib_per_processor: Option<f64>,
    /// Highest clock of the processors, MHz.
    pub clock_mhz: Option<f64>,
    /// What the memory's clock and width allow, GB/s.
    pub memory_gb_per_s: Option<f64>,
    /// Whether error correction is on.
    pub ecc: Option<bool>,
    /// Whether the driver keeps freed memory in pools.
    pub pools: Option<bool>,
    /// The link to the host, as `32.0 GT/s PCIe x16`.
    pub link: Option<String>,
    /// The newest CUDA that the driver knows, as `13.0`.
    pub driver_cuda: Option<String>,
    /// The driver's own version, as `580.65.06`.
    pub driver: Option<String>,
    /// Release of the compiler of the kernels, as `13.0`.
    pub nvcc: String,
    /// Version of the kernels' PTX, as `9.0`.
    pub ptx: Option<String>,
    /// Version of cuBLAS, as `13.1.0`.
    pub cublas: Option<String>,
    /// Arithmetic of its products.
    pub math_mode: Option<String>,
}

impl CardIdentity {
    /// Two lines: the card, then its driver and libraries.
    pub(super) fn lines(&self) -> [String; 2] {
        fn join<const N: usize>(parts: [Option<String>; N]) -> String {
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
        let named = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{name} {value}"))
        };
        let kib = |kib: Option<f64>, of: &str| kib.map(|kib| format!("{kib:.0} KiB {of}"));
        let is = |is: Option<bool>, yes: &str, no: &str| {
            is.map(|is| if is { yes.to_owned() } else { no.to_owned() })
        };
        let first = join([
            self.processors.map(|count| format!("{count} processors")),
            self.clock_mhz.map(|mhz| format!("{mhz:.0} MHz")),
            self.l2_mib.map(|mib| format!("L2 {mib:.0} MiB")),
            kib(self.shared_kib_per_block, "shared in a block"),
            kib(self.shared_kib_per_processor, "in a processor"),
            self.memory_gb_per_s.map(|rate| format!("memory {rate:.0} GB/s")),
            is(self.ecc, "ECC on", "ECC off"),
            is(self.pools, "pools", "no pools"),
            self.link.clone(),
        ]);
        let second = join([
            named("driver", &self.driver),
            Some(format!("nvcc {}", self.nvcc)),
            named("PTX", &self.ptx),
            named("cuBLAS", &self.cublas),
            self.math_mode.clone(),
        ]);
        [first, second]
    }
}

/// The version in what `/proc/driver/nvidia/version` says.
#[cfg(any(feature = "cuda", test))]
pub(super) fn driver_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    let is_version = |word: &&str| {
        word.split('.').count() >= 2 && word.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_read_from_what_the_system_says() {
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\nGCC version: 12.3.0\n";
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n";
        assert_eq!(driver_version(open).as_deref(), Some("580.65.06"));
        assert_eq!(driver_version(closed).as_deref(), Some("535.129.03"));
        assert_eq!(driver_version("nothing 1.2"), None);
    }
}
