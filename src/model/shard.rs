//! One safetensors file, whose tensors are read one by one, so that memory never holds the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::DType;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::bail_input;
use crate::disk::{atomic, read};
use crate::error::InputError;

/// Longest header that is read, in bytes; safetensors' own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the checkpoint.
    pub name: String,
    /// Dtype in the file.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    begin: u64,
    bytes: usize,
}

impl Entry {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its dtype. Refuses those that no weight has.
    pub fn float(&self) -> Result<DType> {
        match self.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::F16 => Ok(DType::F16),
            Dtype::BF16 => Ok(DType::BF16),
            Dtype::F64 => Ok(DType::F64),
            other => bail_input!(
                "`{}` is stored as {other:?}, expected F32, F16, BF16 or F64",
                self.name
            ),
        }
    }

    /// Bytes of its elements in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// An open safetensors file.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    file: File,
    header: Vec<u8>,
    metadata: Option<HashMap<String, String>>,
    entries: Vec<Entry>,
}

impl Shard {
    /// Reads the header of `path`. Refuses a file that is not exactly as long as its header says.
    pub fn open(path: &Path) -> Result<Self> {
        let context = || format!("cannot read `{}`", path.display());
        let broken = |why: String| {
            InputError::new(format!("`{}` is not a whole safetensors file: {why}", path.display()))
                .hint("the download is incomplete or broken; fetch it again")
        };
        let mut file = read::open(path).with_context(context)?;
        let length = file.metadata().with_context(context)?.len();
        let mut prefix = [0; 8];
        if length < 8 {
            return Err(broken("it has no header".into()).into());
        }
        file.read_exact(&mut prefix).with_context(context)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > LONGEST_HEADER || header_length > length - 8 {
            return Err(broken(format!("its header would have {header_length} bytes")).into());
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).with_context(context)?;
        let parsed: Metadata =
            serde_json::from_slice(&header).map_err(|error| broken(error.to_string()))?;
        let expected = 8 + header_length + parsed.data_len() as u64;
        if expected != length {
            return Err(broken(format!("it has {length} bytes, its header says {expected}")).into());
        }
        let entries = parsed.offset_keys().into_iter().filter_map(|name| {
            let TensorInfo { dtype, shape, data_offsets: (from, to) } = parsed.info(&name)?.clone();
            let begin = 8 + header_length + from as u64;
            Some(Entry { name, dtype, shape, begin, bytes: to - from })
        });
        Ok(Self {
            path: path.to_owned(),
            file,
            metadata: parsed.metadata().clone(),
            entries: entries.collect(),
            header,
        })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its tensors, in the order of their bytes.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The bytes of one of its tensors.
    pub fn read(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut bytes = vec![0; entry.bytes];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(entry.begin))
            .and_then(|_| file.read_exact(&mut bytes))
            .with_context(|| {
                format!("cannot read `{}` of `{}`", entry.name, self.path.display())
            })?;
        Ok(bytes)
    }

    /// Writes `path` with this file's names, order and metadata; `dtype` and `tensor` give the dtype and the bytes of each tensor.
    /// If no dtype changes, the header is this file's own, byte for byte.
    pub fn rewrite(
        &self,
        path: &Path,
        dtype: impl Fn(&Entry) -> Dtype,
        mut tensor: impl FnMut(&Entry) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let mut header = self.header.clone();
        if self.entries.iter().any(|entry| dtype(entry) != entry.dtype) {
            let mut at = 0;
            let infos = self.entries.iter().map(|entry| {
                let dtype = dtype(entry);
                let from = at;
                at += entry.elements() * dtype.bitsize() / 8;
                let shape = entry.shape.clone();
                (entry.name.clone(), TensorInfo { dtype, shape, data_offsets: (from, at) })
            });
            let metadata = Metadata::new(self.metadata.clone(), infos.collect())?;
            header = serde_json::to_vec(&metadata)?;
            header.resize(header.len().next_multiple_of(8), b' ');
        }
        atomic::write(path, |out: &mut dyn Write| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            for entry in &self.entries {
                let bytes = tensor(entry)?;
                let expected = entry.elements() * dtype(entry).bitsize() / 8;
                anyhow::ensure!(
                    bytes.len() == expected,
                    "`{}`: {} bytes, expected {expected}",
                    entry.name,
                    bytes.len()
                );
                out.write_all(&bytes)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    fn file(folder: &Path) -> PathBuf {
        let path = folder.join("a.safetensors");
        let tensors: HashMap<_, _> = [("x", DType::F32), ("y", DType::BF16)]
            .map(|(name, dtype)| (name, Tensor::ones((2, 3), dtype, &Device::Cpu).unwrap()))
            .into();
        candle_core::safetensors::save(&tensors, &path).unwrap();
        path
    }

    #[test]
    fn a_file_rewritten_as_it_was_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let shard = Shard::open(&path).unwrap();
        let copy = folder.path().join("b.safetensors");
        shard.rewrite(&copy, |entry| entry.dtype, |entry| shard.read(entry)).unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
    }

    #[test]
    fn another_dtype_moves_what_follows_and_short_bytes_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let shard = Shard::open(&file(folder.path())).unwrap();
        let copy = folder.path().join("b.safetensors");
        let bytes = |entry: &Entry| Ok(vec![0; entry.elements() * 8]);
        shard.rewrite(&copy, |_| Dtype::F64, bytes).unwrap();
        let wide = Shard::open(&copy).unwrap();
        let names = |shard: &Shard| {
            shard.entries().iter().map(|entry| entry.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&wide), names(&shard));
        assert!(wide.entries().iter().all(|entry| entry.bytes() == 48));
        assert!(shard.rewrite(&copy, |_| Dtype::F64, |entry| shard.read(entry)).is_err());
    }

    #[test]
    fn a_truncated_file_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 4, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = Shard::open(&path).unwrap_err();
            assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("fetch it again"));
        }
    }
}
