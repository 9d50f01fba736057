//! The launches of one decoder layer, as `model/layer.rs` and `model/lora.rs` make them.

use candle_core::DType;

use super::kernel::{AttentionPass, Kernel};
use super::launches::{Group, Launches};
use super::product::Product;
use super::tiles::Tiles;
use crate::config::Projection::{self, DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
use crate::model::plan::{ModulePlan, PerProjection};
use crate::model::shape::Shape;

/// A layer with what is adapted in it, on one pack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) shape: &'a Shape,
    pub(super) dtype: DType,
    /// None computes the base model.
    pub(super) modules: Option<&'a PerProjection<ModulePlan>>,
    pub(super) dropout: bool,
    pub(super) tiles: &'a Tiles,
    /// Rows computed after the attention where these are fewer than all: the last layer's.
    pub(super) kept: Option<usize>,
}

impl Layer<'_> {
    fn rank(&self, projection: Projection) -> Option<usize> {
        Some(self.modules?.get(projection)?.rank)
    }

    fn adapts(&self, projections: &[Projection]) -> bool {
        projections.iter().any(|&projection| self.rank(projection).is_some())
    }

    /// Rows computed after the attention.
    fn rows(&self) -> usize {
        self.kept.unwrap_or(self.tiles.tokens)
    }

    fn half(&self) -> usize {
        self.shape.rope.turned(self.shape.heads.head_dim) / 2
    }

    fn project(&self, list: &mut Launches, projection: Projection, rows: usize) {
        let (dtype, (to, from)) = (self.dtype, self.shape.projection(projection));
        list.add(Group::Base, Product::forward(dtype, rows, to, from));
        if self.shape.has_bias(projection) {
            list.add(Group::Bias, Kernel::bias_add(dtype, rows, to));
        }
        let Some(rank) = self.rank(projection) else { return };
        if self.dropout {
            list.add(Group::Dropout, Kernel::dropout_apply(dtype, rows, from));
        }
        list.add(Group::Adapter, Product::forward(dtype, rows, rank, from));
        list.add(Group::Adapter, Product::forward(dtype, rows, to, rank).added());
    }

    /// `before`: whether another projection has begun the gradient of the input. `wanted`: whether anybody reads it.
    fn project_back(
        &self,
        list: &mut Launches,
        projection: Projection,
        rows: usize,
        before: bool,
        wanted: bool,
    ) {
        let (dtype, (to, from)) = (self.dtype, self.shape.projection(projection));
        if wanted {
            let product = Product::backward(dtype, rows, to, from);
            list.add(Group::Base, if before { product.added() } else { product });
        }
        let Some(rank) = self.rank(projection) else { return };
        list.add(Group::Adapter, Product::backward(dtype, rows, to, rank));
        if self.dropout {
            list.add(Group::Dropout, Kernel::dropout_apply(dtype, rows, from));
        }
        list.add(Group::Adapter, Product::weight_gradient(dtype, rows, rank, from));
        list.add(Group::Adapter, Product::weight_gradient(dtype, rows, to, rank));
        if !wanted {
            return;
        }
        let product = Product::backward(dtype, rows, rank, from);
        if self.dropout {
            list.add(Group::Adapter, product);
            list.add(Group::Dropout, Kernel::dropout_add(dtype, rows, from));
        } else {
            list.add(Group::Adapter, product.added());
        }
    }

    fn turn(&self, list: &mut Launches) {
        for width in [self.shape.query_width(), self.shape.key_width()] {
            let kernel = Kernel::rope_turn(self.dtype, self.tiles.tokens, width, self.half());
            list.add(Group::Rope, kernel);
        }
    }

    fn attend(&self, list: &mut Launches, pass: AttentionPass) {
        let kernel = Kernel::attention(self.dtype, pass, self.shape.heads, self.tiles);
        list.add(Group::Attention, kernel);
    }

    /// The forward pass; `delta`: whether the input is in two parts, as it is above the first layer.
    pub(super) fn forward(&self, list: &mut Launches, delta: bool) {
        let Self { shape, dtype, .. } = *self;
        let (tokens, rows) = (self.tiles.tokens, self.rows());
        let (hidden, intermediate) = (shape.hidden, shape.intermediate);
        list.add(Group::RmsNorm, Kernel::rms_norm_forward(dtype, tokens, hidden, delta));
        for projection in [QProj, KProj, VProj] {
            self.project(list, projection, tokens);
        }
        self.turn(list);
        self.attend(list, AttentionPass::Forward);
        if self.kept.is_some() {
            for width in [shape.query_width(), hidden] {
                list.add(Group::Moves, Kernel::rows_gather(dtype, tokens, rows, width));
            }
        }
        self.project(list, OProj, rows);
        list.add(Group::RmsNorm, Kernel::rms_norm_forward(dtype, rows, hidden, true));
        self.project(list, GateProj, rows);
        self.project(list, UpProj, rows);
        list.add(Group::Swiglu, Kernel::swiglu_forward(dtype, rows, intermediate));
        self.project(list, DownProj, rows);
    }

    /// The backward pass; `wanted`: whether the gradient of the input is read.
    pub(super) fn backward(&self, list: &mut Launches, wanted: bool) {
        let Self { shape, dtype, .. } = *self;
        let (tokens, rows) = (self.tiles.tokens, self.rows());
        let (hidden, intermediate) = (shape.hidden, shape.intermediate);
        if self.adapts(&[DownProj]) {
            list.add(Group::Swiglu, Kernel::swiglu_forward(dtype, rows, intermediate));
        }
        self.project_back(list, DownProj, rows, false, true);
        list.add(Group::Swiglu, Kernel::swiglu_backward(dtype, rows, intermediate));
        if self.adapts(&[GateProj, UpProj]) {
            list.add(Group::RmsNorm, Kernel::rms_norm_apply(dtype, rows, hidden));
        }
        self.project_back(list, GateProj, rows, false, true);
        self.project_back(list, UpProj, rows, true, true);
        list.add(Group::RmsNorm, Kernel::rms_norm_backward(dtype, rows, hidden, true));
        self.project_back(list, OProj, rows, false, true);
        if self.kept.is_some() {
            for width in [hidden, shape.query_width()] {
                list.add(Group::Moves, Kernel::rows_spread(dtype, rows, tokens, width));
            }
        }
        list.add(Group::Attention, Kernel::attention_delta(dtype, tokens, shape.heads));
        self.attend(list, AttentionPass::Queries);
        self.attend(list, AttentionPass::Keys);
        self.turn(list);
        if self.adapts(&[QProj, KProj, VProj]) {
            list.add(Group::RmsNorm, Kernel::rms_norm_apply(dtype, tokens, hidden));
        }
        for (place, projection) in [QProj, KProj, VProj].into_iter().enumerate() {
            self.project_back(list, projection, tokens, place > 0, wanted);
        }
        if wanted {
            list.add(Group::RmsNorm, Kernel::rms_norm_backward(dtype, tokens, hidden, true));
        }
    }
    /// One token of each sequence, whose attention reads `context` keys in all of a cache of that many bytes.
    pub(super) fn decode(&self, list: &mut Launches, delta: bool, context: usize, cache: usize) {
        let Self { shape, dtype, .. } = *self;
        let (rows, hidden) = (self.tiles.tokens, shape.hidden);
        list.add(Group::RmsNorm, Kernel::rms_norm_forward(dtype, rows, hidden, delta));
        for projection in [QProj, KProj, VProj] {
            self.project(list, projection, rows);
        }
        self.turn(list);
        list.add(Group::Attention, Kernel::decode_store(dtype, rows, shape.heads, cache));
        let attend = Kernel::decode_forward(dtype, rows, context, shape.heads, cache);
        list.add(Group::Attention, attend);
        self.project(list, OProj, rows);
        list.add(Group::RmsNorm, Kernel::rms_norm_forward(dtype, rows, hidden, true));
        self.project(list, GateProj, rows);
        self.project(list, UpProj, rows);
        list.add(Group::Swiglu, Kernel::swiglu_forward(dtype, rows, shape.intermediate));
        self.project(list, DownProj, rows);
    }
}
