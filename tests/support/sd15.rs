//! SD 1.5's tensors by name, whole or with few channels: a checkpoint that a test can make.
#![allow(dead_code, reason = "each user takes its own part of this")]

use serde::Deserialize;

/// diffusers name and shape, ldm name and shape.
pub type Row = (String, Vec<usize>, String, Vec<usize>);

/// `fixtures/sd15-keys/keys.json`.
#[derive(Deserialize)]
pub struct Tables {
    pub unet: Vec<Row>,
    pub vae: Vec<Row>,
    pub text_encoder: Vec<Row>,
    pub open_clip_ldm: Vec<(String, Vec<usize>)>,
}

/// All tensors as SD 1.5 has them.
pub fn full() -> Tables {
    serde_json::from_str(include_str!("../fixtures/sd15-keys/keys.json")).unwrap()
}

/// A tenth of the UNet's channels, a quarter of the VAE's, 128 text channels, and a text encoder of
/// this many tokens (SD 1.5's has 49408).
pub fn small(tokens: usize) -> Tables {
    let mut tables = full();
    let text = |dim: &mut usize| {
        *dim = match *dim {
            49408 => tokens,
            768 | 1024 => 128,
            3072 => 384,
            4096 => 512,
            other => other,
        }
    };
    for row in &mut tables.unet {
        for dim in row.1.iter_mut().chain(&mut row.3) {
            if *dim % 320 == 0 { *dim /= 10 } else { text(dim) }
        }
    }
    for row in &mut tables.vae {
        for dim in row.1.iter_mut().chain(&mut row.3) {
            *dim = if *dim % 128 == 0 { *dim / 4 } else { *dim };
        }
    }
    for row in &mut tables.text_encoder {
        row.1.iter_mut().chain(&mut row.3).for_each(text);
    }
    for (_, shape) in &mut tables.open_clip_ldm {
        shape.iter_mut().for_each(|dim| match *dim % 1024 {
            0 => *dim /= 8,
            _ => text(dim),
        });
    }
    tables
}
