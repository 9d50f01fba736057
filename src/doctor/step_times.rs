//! The time and the memory of a step, as lines and as JSON.

use serde::Serialize;

/// A step of two layers that keeps its activations, in ms: the median step's.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StepTimes {
    /// Forward pass, on the device.
    pub forward_ms: f64,
    /// Backward pass, on the device.
    pub backward_ms: f64,
    /// Norm and update, on the device.
    pub optimizer_ms: f64,
    /// From the beginning to the end, on the device: the sum of the three.
    pub device_ms: f64,
    /// Until the host has queued all of it; as long as the step on a CPU.
    pub queued_ms: f64,
    /// Until the host has seen its end.
    pub wall_ms: f64,
    /// What a model of the card says; none on a device without one.
    pub predicted_ms: Option<f64>,
    /// Launches of this program's own kernels, products and copies not counted; none on a CPU.
    pub launches: Option<usize>,
    /// Most memory of tensors at once since the program began, GiB; of the whole program on a CPU.
    pub peak_memory_gib: Option<f64>,
    /// Most memory that the pool of a GPU held at once, GiB; none on a CPU.
    pub reserved_memory_gib: Option<f64>,
    /// Memory of a GPU beside the pool: of CUDA, cuBLAS and other programs, GiB.
    pub beside_pool_gib: Option<f64>,
    /// What the plan of `--dry-run` says the step takes beside the weights, GiB.
    pub planned_gib: f64,
}

impl StepTimes {
    /// Lines of the times on the device, of the host's on a GPU, and of the memory.
    pub(super) fn to_text(&self) -> String {
        let Self { forward_ms, backward_ms, optimizer_ms, device_ms, queued_ms, wall_ms, .. } =
            self;
        let mut text = format!(
            "step of two layers, ms: forward {forward_ms:.2}, backward {backward_ms:.2}, optimizer {optimizer_ms:.2}\n{:24}in all {device_ms:.2}",
            ""
        );
        if let Some(ms) = self.predicted_ms {
            text += &format!(", {ms:.2} predicted");
        }
        if let Some(count) = self.launches {
            text += &format!(
                "\n{:24}{count} kernels, queued after {queued_ms:.2}, seen after {wall_ms:.2}",
                ""
            );
        }
        let gib = |gib: Option<f64>, what: &str| gib.map(|gib| format!("{what} {gib:.3}"));
        let parts = [
            gib(self.peak_memory_gib, "at most"),
            gib(self.reserved_memory_gib, "pool"),
            gib(self.beside_pool_gib, "beside it"),
            gib(Some(self.planned_gib), "planned"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        text + &format!("\nmemory, GiB: {}\n", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_step_on_a_gpu_fit_a_terminal() {
        let gib = Some(10.125);
        let step = StepTimes {
            forward_ms: 1234.5,
            backward_ms: 1234.5,
            optimizer_ms: 1234.5,
            device_ms: 3703.5,
            predicted_ms: Some(3700.0),
            launches: Some(1234),
            peak_memory_gib: gib,
            reserved_memory_gib: gib,
            beside_pool_gib: gib,
            ..StepTimes::default()
        };
        let text = step.to_text();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
