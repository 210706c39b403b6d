//! `cargo xtask shaders OUT`: the WGSL of every kernel as a real GPU gets it for SD 1.5 at 512 x 512,
//! batch 2, so that shader compilers can judge it where there is no GPU.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::shell::Result;
use gpu::attention::{self, Attention, Pass};
use gpu::conv::{Conv, Convolution, Mode, Sizes};
use gpu::matmul::{Bias, Form, LowRank, Matmul, Product};
use gpu::norm::{Elementwise, Norm, Operation, Rows};
use gpu::stored::Stored;
use gpu::weight_gradient::WeightGradient;

/// The page's generators; they need nothing but std.
#[path = "../../src/kernels/gpu/mod.rs"]
#[allow(dead_code, reason = "the rest serves the page")]
mod gpu;

/// Pictures in a batch.
const N: u32 = 2;

/// How weights lie, by the name that it has in a file's.
const STORED: [(&str, Stored); 4] = [
    ("f32", Stored::F32),
    ("halves", Stored::Halves),
    ("f16", Stored::Native),
    ("8-bit", Stored::Blocks),
];

/// A kernel's name, its source, and its workgroups.
type Shader = (String, String, [u32; 3]);

/// A kernel for some shape.
pub struct Row {
    pub name: String,
    /// Its source, which others may share.
    pub file: String,
    pub workgroups: [u32; 3],
}

/// Writes the shaders into a folder, and prints for which shapes each is and how many workgroups they
/// have.
pub fn write(out: &Path) -> Result<()> {
    println!("{:<44} {:<44} workgroups", "shape", "file");
    for Row { name, file, workgroups: [x, y, z] } in files(out)? {
        println!("{name:<44} {file:<44} {x} x {y} x {z}");
    }
    Ok(())
}

/// Writes the shaders into a folder, one file for each distinct source.
pub fn files(out: &Path) -> Result<Vec<Row>> {
    let failed = |e: std::io::Error| format!("{}: {e}", out.display());
    fs::create_dir_all(out).map_err(failed)?;
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut rows = Vec::new();
    for (name, source, workgroups) in all() {
        let file = files.entry(source.clone()).or_insert_with(|| format!("{name}.wgsl")).clone();
        fs::write(out.join(&file), source).map_err(failed)?;
        rows.push(Row { name, file, workgroups });
    }
    Ok(rows)
}

fn all() -> impl Iterator<Item = Shader> {
    linear().into_iter().chain(convolutions()).chain(attentions()).chain(rest())
}

fn linear() -> Vec<Shader> {
    // Tokens, width out, width in.
    const LAYERS: [[u32; 3]; 14] = [
        [8192, 320, 320],
        [8192, 2560, 320],
        [8192, 320, 1280],
        [2048, 640, 640],
        [2048, 5120, 640],
        [2048, 640, 2560],
        [512, 1280, 1280],
        [512, 10240, 1280],
        [512, 1280, 5120],
        [128, 1280, 1280],
        [154, 320, 768],
        [154, 640, 768],
        [154, 1280, 768],
        [2, 1280, 1280],
    ];
    let mut all = Vec::new();
    for (name, weights) in STORED {
        let product = |form, bias, [a, b]: [Stored; 2], low_rank| Product {
            form,
            bias,
            residual: false,
            low_rank,
            a,
            b,
        };
        let mut add = |kind: &str, product, [m, n, k]: [u32; 3], batch| {
            let kernel = Matmul::choose(product, [m, n, k], false);
            let name = format!("{kind}-{name}-{m}x{n}x{k}");
            all.push((name, kernel.wgsl(), kernel.grid(m, n, batch)));
        };
        for [m, n, k] in LAYERS {
            let right = [Stored::F32, weights];
            let layer = |low_rank| product(Form::Nt, Bias::Columns, right, low_rank);
            add("linear", layer(LowRank::None), [m, n, k], 1);
            add("lora", layer(LowRank::Fours), [m, n, k], 1);
            let back = product(Form::Nn, Bias::None, right, LowRank::None);
            add("linear-gradient", back, [m, k, n], 1);
        }
        for [out, input, pixels] in [[320, 320, 4096], [640, 640, 1024], [1280, 2560, 64]] {
            let left = [weights, Stored::F32];
            let point = product(Form::Nn, Bias::Rows, left, LowRank::None);
            add("point", point, [out, pixels, input], N);
            let back = product(Form::Tn, Bias::None, left, LowRank::None);
            add("point-gradient", back, [input, pixels, out], N);
        }
    }
    all
}

fn convolutions() -> Vec<Shader> {
    // Channels in and out, height of the output.
    const LAYERS: [[u32; 3]; 12] = [
        [4, 320, 64],
        [320, 320, 64],
        [960, 320, 64],
        [320, 4, 64],
        [320, 640, 32],
        [640, 640, 32],
        [1920, 640, 32],
        [1280, 1280, 16],
        [2560, 1280, 16],
        [1280, 1280, 8],
        [2560, 1280, 8],
        [3, 128, 512],
    ];
    let mut all = Vec::new();
    for (name, weights) in STORED {
        let mut add = |kind: &str, mode, stride, [input, out]: [u32; 2], [x, y]: [u32; 2]| {
            // Blocks are 32 of the numbers that lie next to each other.
            if weights == Stored::Blocks && !out.is_multiple_of(32) {
                return;
            }
            let bias = mode != Mode::Gradient;
            let before = [1, 1];
            let convolution = Convolution { mode, stride, before, bias, residual: false, weights };
            let sizes = Sizes { n: N, x_channels: input, x: [x, x], y_channels: out, y: [y, y] };
            let kernel = Conv::choose(convolution, &sizes, false);
            let name = format!("{kind}-{name}-{input}x{out}x{y}");
            all.push((name, kernel.wgsl(), kernel.grid(&sizes)));
        };
        for [input, out, height] in LAYERS {
            add("conv", Mode::Forward, 1, [input, out], [height; 2]);
            add("conv-gradient", Mode::Gradient, 1, [out, input], [height; 2]);
        }
        for [channels, height] in [[320, 32], [640, 16], [1280, 8]] {
            add("conv-down", Mode::Forward, 2, [channels; 2], [2 * height, height]);
            let larger = [height, 2 * height];
            add("conv-down-gradient", Mode::Gradient, 2, [channels; 2], larger);
            add("conv-up", Mode::Upsample, 1, [channels; 2], larger);
        }
    }
    all
}

fn attentions() -> Vec<Shader> {
    let passes = [
        ("", Pass::Forward { statistics: false }),
        ("-kept", Pass::Forward { statistics: true }),
        ("-statistics", Pass::Statistics),
        ("-dq", Pass::QueryGradient),
        ("-dkv", Pass::KeyGradient),
    ];
    // Width 64 is SD 2.1's and SDXL's, and the text encoder's, which is causal.
    let layers = [(40, 4096), (80, 1024), (160, 256), (160, 64), (64, 4096)];
    let mut all = Vec::new();
    for (pass_name, pass) in passes {
        for (width, queries) in layers {
            for keys in [queries, 77] {
                let sizes = attention::Sizes { n: N, queries, keys, heads: 8 };
                let kernel = Attention::choose(pass, width, false, &sizes, false);
                let name = format!("attention{pass_name}-{width}-{queries}x{keys}");
                all.push((name, kernel.wgsl(), kernel.grid(&sizes)));
            }
        }
        let sizes = attention::Sizes { n: N, queries: 77, keys: 77, heads: 12 };
        let kernel = Attention::choose(pass, 64, true, &sizes, false);
        let name = format!("attention{pass_name}-causal-64-77x77");
        all.push((name, kernel.wgsl(), kernel.grid(&sizes)));
    }
    all
}

fn rest() -> Vec<Shader> {
    let mut all = Vec::new();
    for (name, groups, channels, pixels, count) in [
        ("group-norm", 32, 10, 4096, 64),
        ("group-norm", 32, 40, 64, 64),
        ("layer-norm", 1, 320, 1, 8192),
        ("layer-norm", 1, 1280, 1, 512),
    ] {
        for gradient in [false, true] {
            let rows = Rows { count, groups, channels, pixels };
            let kernel = Norm::choose(&rows, groups > 1, gradient, false);
            let way = if gradient { "-gradient" } else { "" };
            let name = format!("{name}{way}-{count}x{channels}x{pixels}");
            all.push((name, kernel.wgsl(), kernel.grid(count)));
        }
    }
    let gated = Elementwise { operation: Operation::Geglu, vectors: true };
    all.push(("geglu-8192x1280".into(), gated.wgsl(), gated.grid(8192 * 1280 / 4)));
    let sizes = Sizes { n: N, x_channels: 320, x: [64, 64], y_channels: 16, y: [64, 64] };
    let kernel = WeightGradient::choose(1, [1, 1], &sizes, false);
    let grid = kernel.grid(&sizes, kernel.parts(&sizes, false));
    all.push(("conv-weight-gradient-320x16x64".into(), kernel.wgsl(), grid));
    all
}
