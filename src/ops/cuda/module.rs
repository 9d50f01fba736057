//! The kernels of one `.cu` file as build.rs made them: code of some cards, and PTX for all others. Out comes a loaded kernel.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaFunction, CudaModule};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, WrapErr};

/// The kernels of one `.cu` file, compiled.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Module {
    /// File name without `.cu`.
    pub(in crate::ops) name: &'static str,
    /// Code by compute capability.
    pub(in crate::ops) cubins: &'static [((i32, i32), &'static [u8])],
    /// What a driver compiles for any card from 8.0 on.
    pub(in crate::ops) ptx: &'static str,
}

/// The [`Module`] of `src/ops/NAME.cu`.
macro_rules! module {
    ($name:literal) => {{
        const CUBINS: &[((i32, i32), &[u8])] =
            include!(concat!(env!("OUT_DIR"), "/", $name, ".cubins.rs"));
        let ptx = include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx"));
        crate::ops::cuda::Module { name: $name, cubins: CUBINS, ptx }
    }};
}
pub(in crate::ops) use module;

/// What a driver is given of a [`Module`].
#[derive(Debug, PartialEq)]
enum Image {
    Cubin(&'static [u8]),
    Ptx(&'static str),
}

/// Modules that are loaded, by name, each on its card.
static LOADED: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());
type Loaded = (Arc<CudaContext>, &'static str, Arc<CudaModule>);

impl Module {
    /// Code of exactly this capability, or PTX. Code of an earlier card of the generation would run too, but not on every kind of board.
    fn image(&self, capability: (i32, i32)) -> Image {
        let cubin = self.cubins.iter().find(|(of, _)| *of == capability);
        cubin.map_or(Image::Ptx(self.ptx), |(_, cubin)| Image::Cubin(cubin))
    }

    /// The module, loaded anew.
    pub(super) fn load(&self, context: &Arc<CudaContext>) -> Result<Arc<CudaModule>> {
        let image = match self.image(context.compute_capability().w()?) {
            Image::Cubin(code) => Ptx::from_binary(code.to_vec()),
            Image::Ptx(text) => Ptx::from_src(text),
        };
        context.load_module(image).w()
    }

    /// A kernel of this module on `device`, where the module is loaded once.
    pub(super) fn kernel(&self, name: &str, device: &CudaDevice) -> Result<CudaFunction> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = loaded.iter().find(|(on, module, _)| *module == self.name && on == context);
        let module = match found {
            Some((_, _, module)) => module.clone(),
            None => {
                let module = self.load(context)?;
                loaded.push((context.clone(), self.name, module.clone()));
                module
            }
        };
        module.load_function(name).w()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Module =
        Module { name: "two", cubins: &[((8, 0), b"ampere"), ((9, 0), b"hopper")], ptx: "text" };

    #[test]
    fn a_card_runs_code_of_its_own_capability_and_any_other_the_ptx() {
        assert_eq!(TWO.image((8, 0)), Image::Cubin(b"ampere"));
        assert_eq!(TWO.image((9, 0)), Image::Cubin(b"hopper"));
        for other in [(7, 5), (8, 6), (8, 7), (9, 1), (10, 0), (12, 1)] {
            assert_eq!(TWO.image(other), Image::Ptx("text"), "{other:?}");
        }
    }

    #[test]
    fn code_is_embedded_under_the_capability_that_it_is_of() {
        let module = module!("adamw");
        assert!(module.cubins.iter().any(|(of, _)| *of == (8, 0)));
        for ((major, minor), code) in module.cubins {
            assert_eq!(&code[..4], b"\x7fELF");
            // The second byte of the flags of a cubin's header, in the layout that nvcc writes from 13.0 on.
            if code[8] >= 8 {
                assert_eq!(i32::from(code[49]), 10 * major + minor);
            }
        }
    }
}
