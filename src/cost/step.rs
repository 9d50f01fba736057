//! The launches of a forward pass and of an optimizer step, as `model/decoder.rs`, `model/batch.rs`, `ops/logps.rs` and `train/run.rs`
//! make them.

use candle_core::DType;

use super::kernel::Kernel;
use super::launches::{Group, Launches};
use super::layer::Layer;
use super::product::Product;
use super::tiles::Tiles;
use crate::data::pack::Pack;
use crate::model::decoder::Keep;
use crate::model::plan::{AdapterPlan, ModulePlan, PerProjection};
use crate::model::shape::Shape;
use crate::ops::logps::MAX_CHUNK_ROWS;

/// Bytes of a 32-bit number.
const WORD: usize = 4;

/// What a pack's launches depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSizes {
    /// Its tiles of attention, and its tokens.
    pub tiles: Tiles,
    /// Tokens whose log-probability is read.
    pub scored: usize,
    /// Rows that predict one.
    pub kept: usize,
    /// Rows of the table of angles that its positions need; none where each token's angles are its own.
    pub positions: Option<usize>,
}

impl PackSizes {
    /// Those of `pack` for a model of `shape`.
    pub fn of(pack: &Pack, shape: &Shape) -> Self {
        let mut kept = pack.rows.clone();
        kept.sort_unstable();
        kept.dedup();
        let lengths = std::iter::once(0).chain(pack.lengths.iter().copied());
        let last = pack.positions.iter().max().map_or(0, |&last| last as usize + 1);
        Self {
            tiles: Tiles::of(pack),
            scored: pack.targets.len(),
            kept: kept.len().max(1),
            positions: shape.rope.are_alike(lengths).then_some(last),
        }
    }
}

/// How a model is computed.
#[derive(Debug, Clone, Copy)]
pub struct Engine<'a> {
    /// The model.
    pub shape: &'a Shape,
    /// Its adapter.
    pub plan: &'a AdapterPlan,
    /// Of weights and activations: bf16 or f32.
    pub dtype: DType,
    /// What a layer keeps for the backward pass.
    pub keep: Keep,
    /// Whether dropout is on in training.
    pub dropout: bool,
    /// Rows of the table of angles, which grows with the longest sequence so far.
    pub angle_rows: usize,
}

/// Fewest rows of the table of angles.
const FEWEST_ANGLE_ROWS: usize = 1024;

/// What is wanted of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Log-probabilities of the base model.
    Base,
    /// Log-probabilities under the adapter.
    Adapted,
    /// The same and their slopes.
    Training,
}

impl Engine<'_> {
    /// [`Self::angle_rows`] once sequences of `longest` tokens were computed.
    pub fn angle_rows_of(longest: usize) -> usize {
        longest.next_power_of_two().max(FEWEST_ANGLE_ROWS)
    }

    /// One optimizer step over `packs`, its micro-batches.
    pub fn step(&self, packs: &[PackSizes]) -> Launches {
        let mut list = Launches::default();
        let elements = self.elements();
        if self.dtype != DType::F32 {
            for &elements in &elements {
                list.add(Group::Moves, Kernel::cast(DType::F32, self.dtype, elements));
            }
        }
        for (place, pack) in packs.iter().enumerate() {
            self.upload(&mut list, pack);
            self.layers(&mut list, pack, Pass::Training);
            self.head(&mut list, pack, true);
            self.sums(&mut list, pack);
            list.copy(pack.scored * WORD); // their slopes
            list.waits += 1;
            self.backward(&mut list, pack);
            if place > 0 {
                for &elements in &elements {
                    list.add(Group::Moves, Kernel::add_f32(elements));
                }
            }
        }
        for kernel in Kernel::adamw(&elements) {
            list.add(Group::Optimizer, kernel);
        }
        // A table of the tensors for the norm, and one for the update.
        list.copy(48 * elements.len());
        list.copy(48 * elements.len());
        list
    }

    /// The log-probabilities of a pack, under the base model or with the adapter.
    pub fn score(&self, pack: &PackSizes, adapted: bool) -> Launches {
        let mut list = Launches::default();
        self.read(&mut list, pack, adapted);
        self.head(&mut list, pack, false);
        self.sums(&mut list, pack);
        list.waits += 1;
        list
    }

    /// The divergence of the adapted model from the base over a pack.
    pub fn divergence(&self, pack: &PackSizes) -> Launches {
        let mut list = Launches::default();
        let Self { shape, dtype, .. } = *self;
        self.upload(&mut list, pack);
        for pass in [Pass::Adapted, Pass::Base] {
            self.layers(&mut list, pack, pass);
            list.add(
                Group::Moves,
                Kernel::rows_gather(dtype, pack.kept, pack.scored, shape.hidden),
            );
        }
        for [rows, chunk, rest] in chunks(pack.scored, MAX_CHUNK_ROWS / 2) {
            for _ in 0..2 {
                let product = Product::forward(dtype, rows, shape.vocab, shape.hidden);
                list.add(Group::Head, product.to_f32());
            }
            list.add(Group::Head, Kernel::kl_forward([rows, chunk, rest], shape.vocab));
        }
        self.sums(&mut list, pack);
        list.waits += 1;
        list
    }

    /// Elements of A and B of each module, in order.
    fn elements(&self) -> Vec<usize> {
        let of = |(_, projection, module): (usize, _, &ModulePlan)| {
            let (to, from) = self.shape.projection(projection);
            [module.rank * from, to * module.rank]
        };
        self.plan.iter().flat_map(of).collect()
    }

    /// The pack on the device, and the angles of its tokens.
    fn upload(&self, list: &mut Launches, pack: &PackSizes) {
        let half = self.shape.rope.turned(self.shape.heads.head_dim) / 2;
        let (tokens, kept) = (pack.tiles.tokens, pack.kept);
        // Ids, pair and offset of each token; pair and offset of the kept rows, and these; rows and targets of the scored ones.
        for numbers in [tokens; 3].into_iter().chain([kept; 3]).chain([pack.scored; 2]) {
            list.copy(numbers * WORD);
        }
        if pack.positions.is_some() {
            self.angles(list, tokens);
        } else {
            list.copy(tokens * half * WORD);
            list.copy(tokens * half * WORD);
        }
        for place in 0..3 {
            list.copy(tokens * WORD);
            list.add(Group::Moves, Kernel::stack(tokens, place));
        }
    }

    /// The angles of `tokens` positions, from the table.
    pub(super) fn angles(&self, list: &mut Launches, tokens: usize) {
        let half = self.shape.rope.turned(self.shape.heads.head_dim) / 2;
        list.copy(tokens * WORD);
        for _ in 0..2 {
            list.add(Group::Moves, Kernel::rows_gather(DType::F32, self.angle_rows, tokens, half));
        }
    }

    /// A pack through all layers without dropout, up to the final norm.
    pub(super) fn read(&self, list: &mut Launches, pack: &PackSizes, adapted: bool) {
        self.upload(list, pack);
        self.layers(list, pack, if adapted { Pass::Adapted } else { Pass::Base });
    }

    /// The forward pass up to the final norm's rows that predict.
    fn layers(&self, list: &mut Launches, pack: &PackSizes, pass: Pass) {
        let Self { shape, dtype, .. } = *self;
        let embed = Kernel::rows_gather(dtype, shape.vocab, pack.tiles.tokens, shape.hidden);
        list.add(Group::Moves, embed);
        self.each_layer(list, pack, pass, |layer, list, delta| layer.forward(list, delta));
        list.add(Group::RmsNorm, Kernel::rms_norm_forward(dtype, pack.kept, shape.hidden, true));
    }

    /// What `make` launches for every layer; it is told whether the layer's input is in two parts.
    pub(super) fn each_layer(
        &self,
        list: &mut Launches,
        pack: &PackSizes,
        pass: Pass,
        make: impl Fn(&Layer<'_>, &mut Launches, bool),
    ) {
        let mut known = Vec::new();
        for i in 0..self.shape.layers {
            let layer = self.layer(i, pack, pass);
            once_for_all(&mut known, (layer.modules, layer.kept, i > 0), |list| {
                make(&layer, list, i > 0);
            });
        }
        known.iter().for_each(|(_, launches, times)| list.extend(launches, *times));
    }

    fn layer<'a>(&'a self, i: usize, pack: &'a PackSizes, pass: Pass) -> Layer<'a> {
        Layer {
            shape: self.shape,
            dtype: self.dtype,
            modules: self.plan.layers.get(i).filter(|_| pass != Pass::Base),
            dropout: self.dropout && pass == Pass::Training,
            tiles: &pack.tiles,
            kept: (i + 1 == self.shape.layers).then_some(pack.kept),
        }
    }

    /// Log-probabilities, with the `gradient` of each or without.
    fn head(&self, list: &mut Launches, pack: &PackSizes, gradient: bool) {
        let Self { shape, dtype, .. } = *self;
        let (vocab, hidden) = (shape.vocab, shape.hidden);
        list.add(Group::Moves, Kernel::rows_gather(dtype, pack.kept, pack.scored, hidden));
        for [rows, chunk, rest] in chunks(pack.scored, MAX_CHUNK_ROWS) {
            list.add(Group::Head, Product::forward(dtype, rows, vocab, hidden).to_f32());
            let kernel = Kernel::logps_forward(dtype, [rows, chunk, rest], vocab, gradient);
            list.add(Group::Head, kernel);
            if gradient {
                list.add(Group::Head, Product::backward(dtype, rows, vocab, hidden));
            }
        }
    }

    /// The log-probabilities in f64, for the host.
    fn sums(&self, list: &mut Launches, pack: &PackSizes) {
        list.add(Group::Moves, Kernel::cast(DType::F32, DType::F64, pack.scored));
    }

    fn backward(&self, list: &mut Launches, pack: &PackSizes) {
        let Self { shape, dtype, .. } = *self;
        let (scored, kept, hidden) = (pack.scored, pack.kept, shape.hidden);
        list.add(Group::Head, Kernel::logps_backward(dtype, scored, hidden));
        list.add(Group::Moves, Kernel::rows_spread(dtype, scored, kept, hidden));
        list.add(Group::RmsNorm, Kernel::rms_norm_backward(dtype, kept, hidden, false));
        let is_adapted = |modules: &PerProjection<ModulePlan>| modules.iter().next().is_some();
        let lowest = self.plan.layers.iter().position(is_adapted).unwrap_or(0);
        let mut known = Vec::new();
        for i in lowest..shape.layers {
            let layer = self.layer(i, pack, Pass::Training);
            once_for_all(&mut known, (layer.modules, layer.kept, i > lowest), |list| {
                if self.keep == Keep::Inputs {
                    layer.forward(list, false); // what was kept is the sum
                }
                layer.backward(list, i > lowest);
            });
        }
        known.iter().for_each(|(_, launches, times)| list.extend(launches, *times));
    }
}

/// Launches of a kind of layer, made once and counted for each layer of the kind.
fn once_for_all<K: PartialEq>(
    known: &mut Vec<(K, Launches, usize)>,
    kind: K,
    make: impl FnOnce(&mut Launches),
) {
    if let Some((_, _, times)) = known.iter_mut().find(|(other, ..)| *other == kind) {
        *times += 1;
        return;
    }
    let mut launches = Launches::default();
    make(&mut launches);
    known.push((kind, launches, 1));
}

/// Rows, those of the first chunk and all that are left of each chunk of at most `most` of `scored` rows.
fn chunks(scored: usize, most: usize) -> impl Iterator<Item = [usize; 3]> {
    let chunk = scored.min(most);
    (0..scored).step_by(most).map(move |from| [chunk.min(scored - from), chunk, scored - from])
}
