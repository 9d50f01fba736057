//! The program, the processor and the card that a measurement belongs to.

use std::fs;

use candle_core::Device;
use serde::Serialize;

use crate::machine::card_identity::CardIdentity;

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
        lines.extend(self.card.iter().flat_map(CardIdentity::lines));
        lines
    }
}

/// The name of the processor in what `/proc/cpuinfo` says.
fn processor(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_from_what_the_system_says() {
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
