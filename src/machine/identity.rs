//! The program, the processor and the card that a measurement belongs to.

use std::fs;

use candle_core::Device;
use serde::Serialize;

/// What a measurement belongs to.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// Version of the program.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
    /// Name of the processor; none if the system does not report it.
    pub processor: Option<String>,
    /// Its threads.
    pub threads: usize,
    /// The card; none on a CPU.
    pub card: Option<CardIdentity>,
}

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

impl Identity {
    /// Of this program on this machine, with `device`.
    pub fn of(device: &Device) -> Self {
        let card = match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => {
                crate::machine::gpu::Gpu::of(device).ok().map(|gpu| gpu.identity(device))
            }
            _ => None,
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("MVPBENCH_COMMIT"),
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            card,
        }
    }

    /// A line about the program and the processor, and two about a card.
    pub fn lines(&self) -> Vec<String> {
        let processor = self.processor.as_deref().unwrap_or("an unknown processor");
        let mut lines = vec![format!(
            "mvpbench {}, commit {}; {processor}, {} threads",
            self.version, self.commit, self.threads
        )];
        let Some(card) = &self.card else { return lines };
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
        lines.push(join([
            card.processors.map(|count| format!("{count} processors")),
            card.clock_mhz.map(|mhz| format!("{mhz:.0} MHz")),
            card.l2_mib.map(|mib| format!("L2 {mib:.0} MiB")),
            kib(card.shared_kib_per_block, "shared in a block"),
            kib(card.shared_kib_per_processor, "in a processor"),
            card.memory_gb_per_s.map(|rate| format!("memory {rate:.0} GB/s")),
            is(card.ecc, "ECC on", "ECC off"),
            is(card.pools, "pools", "no pools"),
            card.link.clone(),
        ]));
        lines.push(join([
            named("driver", &card.driver),
            Some(format!("nvcc {}", card.nvcc)),
            named("PTX", &card.ptx),
            named("cuBLAS", &card.cublas),
            card.math_mode.clone(),
        ]));
        lines
    }
}

/// The name of the processor in what `/proc/cpuinfo` says.
fn processor(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
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
    fn the_driver_and_the_processor_are_read_from_what_the_system_says() {
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\nGCC version: 12.3.0\n";
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n";
        assert_eq!(driver_version(open).as_deref(), Some("580.65.06"));
        assert_eq!(driver_version(closed).as_deref(), Some("535.129.03"));
        assert_eq!(driver_version("nothing 1.2"), None);
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n";
        assert_eq!(processor(text).as_deref(), Some("Some CPU @ 2.00GHz"));
    }

    #[test]
    fn what_a_card_does_not_report_is_left_out_of_its_lines() {
        let mut identity = Identity::of(&Device::Cpu);
        assert_eq!(identity.lines().len(), 1);
        let nvcc = "13.0".to_owned();
        identity.card = Some(CardIdentity { nvcc, processors: Some(132), ..Default::default() });
        assert_eq!(identity.lines()[1..], ["132 processors", "nvcc 13.0"]);
    }
}
