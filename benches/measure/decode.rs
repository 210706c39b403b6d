//! SD 1.5's autoencoder decodes a picture: whole, and in bands within less and less memory, in turns.

use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use lorakeet::layers::{Parameters, Storage};
use lorakeet::models::bands::{Limits, Plan as Bands};
use lorakeet::models::{AutoencoderKL, AutoencoderKLConfig};
use lorakeet::weights::{Bytes, Component, Source};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::block::{draw, numbers};
use super::host::{Meter, now};
use super::table::{Table, mebi, quantile, ratio, time};
use super::{Plan, print, print_table, values};

#[path = "../../tests/support/sd15.rs"]
mod sd15;

/// With random weights.
fn load(device: &Device) -> AutoencoderKL {
    let keys = include_str!("../../tests/fixtures/sd15-keys/keys.json");
    let tables: sd15::Tables = serde_json::from_str(keys).unwrap();
    let made: Vec<(String, Vec<usize>, Vec<u8>)> = tables
        .vae
        .into_iter()
        .map(|(name, shape, ..)| {
            let fan_in = shape[1..].iter().product::<usize>() as f32;
            let gain = shape.len() == 1 && name.contains("norm") && name.ends_with("weight");
            let deviation = if shape.len() == 1 { 0.1 } else { (3.0 / fan_in).sqrt() };
            let values = numbers(shape.iter().product(), deviation, f32::from(gain));
            (name, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    let views = made.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    drop(made);
    let source: Rc<dyn Source> = Rc::new(Bytes::new("vae.safetensors", file));
    let component = Component::from_safetensors("vae", source.as_ref(), Value::Null).unwrap();
    let sources = [source];
    let mut ignore = |_: lorakeet::layers::Progress<'_>| {};
    let parameters = Parameters::new(&component, &sources, device, Storage::F32, &mut ignore);
    let vae = AutoencoderKL::load(&AutoencoderKLConfig::default(), &parameters);
    parameters.finish().unwrap().0.check(&component.file).unwrap();
    vae
}

async fn run(vae: &AutoencoderKL, bands: &Bands, latents: &Tensor<4>) -> Vec<f32> {
    let stages = vae.decoder_stages();
    let mut walk = bands.walk(latents.clone());
    loop {
        if let Some(pixels) = walk.advance(&stages) {
            return values(pixels).await;
        }
    }
}

/// Pictures of `side` pixels.
pub async fn decode(device: &Device, plan: &Plan, side: usize) {
    let vae = load(device);
    let latents = draw([1, 4, side / 8, side / 8], device);
    let program = vae.config().decoder_program([side / 8; 2]);
    let whole = program.clone().plan(Limits::NONE, "decoding").unwrap();
    let within = |limits| program.clone().plan(limits, "decoding").unwrap();
    let part = |percent| Limits { bytes: Some(whole.peak * percent / 100), buffer: None };
    let buffers = Limits { bytes: None, buffer: Some(whole.largest / 4) };
    let variants = [
        ("whole", whole.clone()),
        ("a quarter of its largest buffer", within(buffers)),
        ("60 % of its memory", within(part(60))),
        ("40 %", within(part(40))),
    ];
    let mut times = vec![Vec::new(); variants.len()];
    let (mut peaks, mut off) = (vec![0; variants.len()], vec![0f32; variants.len()]);
    for _ in 0..plan.rounds {
        let mut expected = Vec::new();
        for (i, (_, bands)) in variants.iter().enumerate() {
            let meter = Meter::start(device);
            let start = now();
            let pixels = run(&vae, bands, &latents).await;
            times[i].push(now() - start);
            peaks[i] = meter.peak();
            if i == 0 {
                expected = pixels;
                continue;
            }
            let most = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            let differences = pixels.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            off[i] = differences.fold(off[i], f32::max) / most;
        }
    }
    let mut table = Table::new(&[
        "within",
        "rows",
        "time",
        "over whole",
        "work",
        "planned",
        "taken",
        "difference",
    ]);
    for (i, (name, bands)) in variants.iter().enumerate() {
        table.row([
            (*name).into(),
            bands.tile.to_string(),
            time(quantile(&times[i], 0.5)),
            ratio(&times[i], &times[0]),
            format!("{:.2}", bands.work),
            mebi(bands.peak),
            mebi(peaks[i]),
            format!("{:.1e}", off[i]),
        ]);
    }
    print(&format!(
        "\nSD 1.5's VAE decodes {side} x {side} pixels (random weights), {}",
        plan.backend
    ));
    print_table(&table);
}
