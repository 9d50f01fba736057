//! Gradients between two ranks: tensors on their devices in, those of another rank out.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

use super::link::Link;

/// A rank's way to the others for gradients.
pub trait Wire {
    /// Sends `values` to the rank `to` while `length` elements of `from` come in; all ranks do so at once.
    ///
    /// - `values`: `[elements]` f32, contiguous; none for no elements.
    /// - `length`: how many elements `from` sends.
    ///
    /// Returns `[length]` f32; none for no elements.
    fn swap(
        &self,
        to: usize,
        values: Option<&Tensor>,
        from: usize,
        length: usize,
    ) -> Result<Option<Tensor>>;
}

/// Through the memory of the host and the link of the ranks.
pub struct Host<'a> {
    /// Carries the bytes.
    pub link: &'a dyn Link,
    /// Where the tensors are.
    pub device: Device,
}

impl Wire for Host<'_> {
    fn swap(
        &self,
        to: usize,
        values: Option<&Tensor>,
        from: usize,
        length: usize,
    ) -> Result<Option<Tensor>> {
        let values = values.map(|values| values.to_vec1::<f32>()).transpose()?.unwrap_or_default();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let bytes = self.link.swap(to, &bytes, from)?;
        let (found, rest) = bytes.as_chunks();
        ensure!(
            rest.is_empty() && found.len() == length,
            "rank {from} sent {} bytes of gradients, expected {}",
            bytes.len(),
            4 * length
        );
        let found: Vec<f32> = found.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (length > 0).then(|| Ok(Tensor::from_vec(found, length, &self.device)?)).transpose()
    }
}
