//! The adapter that is trained: its modules, and all their numbers in one flat vector on the host.
//! For a forward pass the vector goes to the device once; each factor is a slice of it.

use std::ops::Range;

use burn::tensor::Tensor;

use super::init::{self, LokrShape};
use super::regularisation::product_norm_squared;
use crate::adapters::kinds::{DoRA, Factors, KroneckerFactor, LoHa, LoKr, LowRank};
use crate::error::{Error, Result};
use crate::layers::Site;
use crate::noise::TorchGenerator;
use crate::training::numbers::random::{Stream, generator};
use crate::training::settings::config::{Config, Kind};
use crate::training::settings::targets::{is_chosen, stage};

/// One factor of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Its name in a file: `lora_down.weight`, `hada_w1_a` ...
    pub name: &'static str,
    /// Rows and columns; a convolution's kernel lies in the columns.
    pub shape: [usize; 2],
    /// Where it lies in the flat vector, row by row.
    pub range: Range<usize>,
}

/// The part of the adapter that sits on one layer.
#[derive(Debug, Clone)]
pub struct Module {
    /// The layer's path in diffusers' names.
    pub path: String,
    /// The layer's weight: `[out, in]` or `[out, in, kh, kw]`.
    pub shape: Vec<usize>,
    /// Low rank.
    pub rank: usize,
    /// alpha / rank, or what the kind makes of them.
    pub scale: f32,
    /// Its factors.
    pub pieces: Vec<Piece>,
    /// What they are, by their places among the pieces.
    pub factors: Factors<usize>,
    /// PiSSA: down `[r, in]` and up `[out, r]` as they started; their product is taken away again.
    pub frozen: Option<(Vec<f32>, Vec<f32>)>,
    /// Frobenius norm of the layer's weight.
    pub weight_norm: f64,
    /// The stage of the UNet's forward pass that the layer belongs to.
    pub stage: usize,
    pub(super) site: Site,
}

impl Module {
    /// The factor of this name, row by row.
    pub fn piece<'a>(&self, parameters: &'a [f32], name: &str) -> Option<&'a [f32]> {
        let piece = self.pieces.iter().find(|piece| piece.name == name)?;
        Some(&parameters[piece.range.clone()])
    }

    /// Squared Frobenius norm of what it adds, by small matrices; none for the kinds that only the
    /// device can tell ([`crate::layers::Dense`]).
    pub fn product_norm_squared(&self, parameters: &[f32]) -> Option<f64> {
        let [down, up] = &self.pieces[..] else { return None };
        if down.name != DOWN {
            return None;
        }
        let (down, up) = (&parameters[down.range.clone()], &parameters[up.range.clone()]);
        let scale = f64::from(self.scale * self.scale);
        match &self.frozen {
            None => Some(scale * product_norm_squared(down, up, self.rank)),
            Some((down0, up0)) => {
                let (down, up) = with_frozen(down, up, down0, up0, self.rank);
                Some(scale * product_norm_squared(&down, &up, 2 * self.rank))
            }
        }
    }
}

/// `[A; A0]` and `[B, -B0]`: the rank 2r form of `B A - B0 A0`.
pub fn with_frozen(
    down: &[f32],
    up: &[f32],
    down0: &[f32],
    up0: &[f32],
    rank: usize,
) -> (Vec<f32>, Vec<f32>) {
    let down = [down, down0].concat();
    let rows = up.chunks_exact(rank).zip(up0.chunks_exact(rank));
    let up = rows.flat_map(|(row, row0)| row.iter().copied().chain(row0.iter().map(|x| -x)));
    (down, up.collect())
}

/// Names of factors in files.
pub const DOWN: &str = "lora_down.weight";
/// As above.
pub const UP: &str = "lora_up.weight";
/// As above.
pub const MAGNITUDE: &str = "dora_scale";

/// Every module, and the numbers that are trained.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// In the order of the model's layers.
    pub modules: Vec<Module>,
    /// All factors' numbers.
    pub parameters: Vec<f32>,
    pub(super) kind: Kind,
}

impl Adapter {
    /// The layers that a configuration means, in the model's order.
    ///
    /// # Errors
    /// When there are none.
    pub fn targets<'a>(sites: &'a [Site], config: &Config) -> Result<Vec<&'a Site>> {
        let found: Vec<&Site> = sites.iter().filter(|site| is_chosen(&site.path, config)).collect();
        if found.is_empty() {
            return Err(Self::nothing_to_train(config));
        }
        Ok(found)
    }

    /// What to say where a configuration means no layer.
    pub fn nothing_to_train(config: &Config) -> Error {
        Error::setting(
            if config.only.is_empty() { "blocks" } else { "only" },
            "no layer of the model is left to train",
            "Choose at least one of down, mid and up, and targets that the model has there; leave \
             `only` empty",
        )
    }

    /// Lays out the factors and draws their first values. `norms`: of each row of each target's
    /// weight, as [`row_norms`] lists them. `ready`: each target's low-rank factors, where they have
    /// been made already (PiSSA's, from the weights); else empty.
    ///
    /// # Errors
    /// Names the setting that doesn't fit a layer.
    pub fn new(
        sites: &[&Site],
        config: &Config,
        down_levels: usize,
        norms: &[f32],
        ready: Vec<init::Factors>,
    ) -> Result<Self> {
        let mut ready = ready.into_iter();
        let mut adapter = Self { modules: Vec::new(), parameters: Vec::new(), kind: config.kind };
        let mut norms = norms;
        for (i, site) in sites.iter().enumerate() {
            let [output, _] = site.matrix();
            let (own, rest) = norms.split_at(output.min(norms.len()));
            norms = rest;
            let mut random = generator(config.seed, Stream::Init, i as u64);
            let mut module = Module {
                path: site.path.clone(),
                shape: site.shape.clone(),
                rank: config.rank,
                scale: scale(config),
                pieces: Vec::new(),
                factors: Factors::LowRank(LowRank { down: 0, mid: None, up: 1 }),
                frozen: None,
                weight_norm: own.iter().map(|&x| f64::from(x * x)).sum::<f64>().sqrt(),
                stage: stage(&site.path, down_levels),
                site: (*site).clone(),
            };
            match config.kind {
                Kind::Lora | Kind::Dora => {
                    adapter.start_low_rank(&mut module, config, ready.next(), own, &mut random)?;
                }
                Kind::Loha => adapter.start_loha(&mut module, config.rank, &mut random),
                Kind::Lokr => adapter.start_lokr(&mut module, config, &mut random),
            }
            adapter.modules.push(module);
        }
        Ok(adapter)
    }

    /// The same with other stages of the UNet: those of one whose blocks go in pieces.
    pub fn with_stages(mut self, stage: impl Fn(&str) -> usize) -> Self {
        for module in &mut self.modules {
            module.stage = stage(&module.path);
        }
        self
    }

    /// LoRA's factors, those that are `ready` or drawn; DoRA's with the lengths of the weight's rows.
    fn start_low_rank(
        &mut self,
        module: &mut Module,
        config: &Config,
        ready: Option<init::Factors>,
        lengths: &[f32],
        random: &mut TorchGenerator,
    ) -> Result<()> {
        let ([output, input], rank) = (module.site.matrix(), config.rank);
        let scale = f64::from(module.scale);
        let factors = match ready {
            Some(factors) => factors,
            None => init::factors(config.init, output, input, rank, scale, None, random)?,
        };
        let down = self.push(module, DOWN, [rank, input], &factors.down);
        let up = self.push(module, UP, [output, rank], &factors.up);
        module.frozen = factors.frozen;
        if config.kind == Kind::Dora {
            let magnitude = self.push(module, MAGNITUDE, [output, 1], lengths);
            module.factors = Factors::DoRA(DoRA { down, up, magnitude });
        } else {
            module.factors = Factors::LowRank(LowRank { down, mid: None, up });
        }
        Ok(())
    }

    fn start_loha(&mut self, module: &mut Module, rank: usize, random: &mut TorchGenerator) {
        let [output, input] = module.site.matrix();
        let start = init::loha(output, input, rank, random);
        let w1_a = self.push(module, "hada_w1_a", [output, rank], &start.w1_a);
        let w1_b = self.push(module, "hada_w1_b", [rank, input], &start.w1_b);
        let w2_a = self.push(module, "hada_w2_a", [output, rank], &start.w2_a);
        let w2_b = self.push(module, "hada_w2_b", [rank, input], &start.w2_b);
        module.factors = Factors::LoHa(LoHa { w1_a, w1_b, w2_a, w2_b });
    }

    fn start_lokr(&mut self, module: &mut Module, config: &Config, random: &mut TorchGenerator) {
        let shape = lokr_shape(&module.shape, config);
        let start = init::lokr(shape, random);
        let columns = shape.in_.1 * shape.kernel;
        if shape.rank.is_none() {
            // Both factors whole: no rank, so no alpha / rank either.
            module.scale = 1.0;
        }
        let w1 = self.push(module, "lokr_w1", [shape.out.0, shape.in_.0], &start.w1);
        let w2 = match start.w2 {
            init::LokrW2::Whole(w2) => {
                let size = [shape.out.1, columns];
                KroneckerFactor::Full(self.push(module, "lokr_w2", size, &w2))
            }
            init::LokrW2::Product(w2_a, w2_b) => {
                let rank = config.rank;
                let a = self.push(module, "lokr_w2_a", [shape.out.1, rank], &w2_a);
                let b = self.push(module, "lokr_w2_b", [rank, columns], &w2_b);
                KroneckerFactor::Product(a, b)
            }
        };
        module.factors = Factors::LoKr(LoKr { w1: KroneckerFactor::Full(w1), w2 });
    }

    /// How many numbers an adapter on layers of these shapes has.
    pub fn parameters_of<'a>(shapes: impl Iterator<Item = &'a [usize]>, config: &Config) -> usize {
        let rank = config.rank;
        let of_layer = |layer: &'a [usize]| {
            let (output, input) = (layer[0], layer[1..].iter().product::<usize>());
            match config.kind {
                Kind::Lora => rank * (input + output),
                Kind::Dora => rank * (input + output) + output,
                Kind::Loha => 2 * rank * (input + output),
                Kind::Lokr => {
                    let shape = lokr_shape(layer, config);
                    let columns = shape.in_.1 * shape.kernel;
                    let w2 = match shape.rank {
                        None => shape.out.1 * columns,
                        Some(rank) => rank * (shape.out.1 + columns),
                    };
                    shape.out.0 * shape.in_.0 + w2
                }
            }
        };
        shapes.map(of_layer).sum()
    }

    /// Adds a piece to a module; gives its place there.
    fn push(
        &mut self,
        module: &mut Module,
        name: &'static str,
        shape: [usize; 2],
        values: &[f32],
    ) -> usize {
        let start = self.parameters.len();
        self.parameters.extend_from_slice(values);
        module.pieces.push(Piece { name, shape, range: start..self.parameters.len() });
        module.pieces.len() - 1
    }

    /// Learning-rate factors over the flat vector: `up` for the factors next to the output, 1 else.
    pub fn groups(&self, up: f64) -> Vec<(Range<usize>, f64)> {
        let pieces = self.modules.iter().flat_map(|module| &module.pieces);
        pieces.map(|piece| (piece.range.clone(), if piece.name == UP { up } else { 1.0 })).collect()
    }

    /// The first stage of the UNet that holds a module.
    pub fn first_stage(&self) -> usize {
        self.modules.iter().map(|module| module.stage).min().unwrap_or(0)
    }

    /// What the rule for the learning rate needs of the start, averaged over the modules: the scale
    /// and the deviation of the factors that move, so that the product grows by
    /// `scale * sqrt(rank) * L * (sigma + L)` with L the sum of the learning rates.
    ///
    /// Derived as in `docs/specs/tuning-sweep.md`, where only down starts with numbers (else both
    /// deviations add up: `B A` moves by `L (sigma_A + sigma_B) + L^2`), and for the other kinds: of
    /// LoHa the product
    /// w1 stands still at first, with an RMS of `0.1 sqrt(r)`, and w2 grows like a LoRA's product of
    /// sigma 1; of LoKr w1 does, with an RMS of `1 / sqrt(3 c)`, while w2 grows like a LoRA's product
    /// or, if it is whole, entry by entry.
    pub fn start(&self) -> (f64, usize, f64) {
        let rms = |values: &[f32]| {
            let squares: f64 = values.iter().map(|&x| f64::from(x * x)).sum();
            (squares / values.len().max(1) as f64).sqrt()
        };
        let mut sums = [0.0; 2];
        let mut rank = 1;
        for module in &self.modules {
            let piece = |i: usize| rms(&self.parameters[module.pieces[i].range.clone()]);
            let (scale, sigma) = match (self.kind, module.pieces.len()) {
                (Kind::Lora | Kind::Dora, _) => (1.0, piece(0) + piece(1)),
                (Kind::Loha, _) => (piece(0) * piece(1) * (module.rank as f64).sqrt(), piece(3)),
                (Kind::Lokr, 2) => (piece(0) / (module.rank as f64).sqrt(), piece(0)),
                (Kind::Lokr, _) => (piece(0), piece(1)),
            };
            rank = module.rank;
            sums[0] += scale * f64::from(module.scale);
            sums[1] += sigma;
        }
        let count = self.modules.len().max(1) as f64;
        (sums[0] / count, rank, sums[1] / count)
    }

    /// Root mean square of all weights that are adapted.
    pub fn weight_rms(&self) -> f64 {
        let count: usize =
            self.modules.iter().map(|module| module.shape.iter().product::<usize>()).sum();
        let squares: f64 = self.modules.iter().map(|module| module.weight_norm.powi(2)).sum();
        (squares / count.max(1) as f64).sqrt()
    }
}

/// alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA.
pub fn scale(config: &Config) -> f32 {
    let rank = config.rank as f64;
    (if config.rank_stabilised { config.alpha / rank.sqrt() } else { config.alpha / rank }) as f32
}

/// Norm of every row of every target's weight, one after another, on the device.
///
/// # Errors
/// When a layer's weight isn't at hand.
pub fn row_norms(sites: &[&Site]) -> Result<Tensor<1>> {
    let norms =
        sites.iter().map(|site| Ok(site.weight()?.square().sum_dim(1).sqrt().flatten::<1>(0, 1)));
    Ok(Tensor::cat(norms.collect::<Result<_>>()?, 0))
}

/// The factors that LyCORIS would choose for a layer.
fn lokr_shape(layer: &[usize], config: &Config) -> LokrShape {
    let kernel: usize = layer[2..].iter().product();
    let (output, input) = (layer[0], layer[1]);
    LokrShape::new(output, input, kernel, config.rank, config.lokr_factor)
}
