//! Autoencoders in bands of rows: the same numbers as the whole picture's, and diffusers', whatever the
//! plan.

mod tiny;

use std::rc::Rc;

use burn::tensor::Tensor;
use lorakeet::kernels::{self, Choice};
use lorakeet::models::bands::{Limits, Plan, Program, Stages, Walk};
use lorakeet::models::{
    AutoencoderKL, AutoencoderKLConfig, AutoencoderTiny, AutoencoderTinyConfig,
};
use lorakeet::noise::TorchGenerator;
use lorakeet::weights::{Component, Source};
use serde_json::{Value, json};
use tiny::{Case, Host, Values, cases, distance, draw, host, load, source, tensor};

/// Of the whole picture's values. Only norms differ, whose sums are put together from bands.
const TOLERANCE: f64 = 1e-5;

/// Plans from the whole picture down to the least memory there is.
fn plans(program: &Program) -> Vec<Plan> {
    let whole = program.clone().plan(Limits::NONE, "a test").unwrap();
    assert!(whole.is_whole() && whole.work == 1.0);
    let mut plans = vec![whole.clone()];
    let part = |bytes: u64, percent: u64| Some(bytes * percent / 100);
    for percent in [95, 80, 65, 50, 40, 30, 20, 10] {
        let bytes = Limits { bytes: part(whole.peak, percent), buffer: None };
        let buffer = Limits { bytes: None, buffer: part(whole.largest, percent) };
        for limits in [bytes, buffer] {
            let Ok(plan) = program.clone().plan(limits, "a test") else { continue };
            assert!(!plan.is_whole() && plan.work >= 1.0);
            assert!(plan.peak <= limits.bytes.unwrap_or(u64::MAX), "{limits:?}");
            assert!(plan.largest <= limits.buffer.unwrap_or(u64::MAX), "{limits:?}");
            if plans.iter().all(|other| (other.peak, other.tile) != (plan.peak, plan.tile)) {
                plans.push(plan);
            }
        }
    }
    plans
}

fn walk(plan: &Plan, stages: &Stages<'_>, input: Tensor<4>) -> Host {
    let mut walk: Walk<_, _> = plan.walk(input);
    for _ in 1..plan.pieces() {
        assert!(walk.advance(stages).is_none());
    }
    host(walk.advance(stages).unwrap())
}

/// Every plan's output against the one that is expected.
fn agree(what: &str, program: Program, stages: &Stages<'_>, input: &Tensor<4>, expected: &Host) {
    let plans = plans(&program);
    let most = plans.iter().map(|plan| {
        let off = distance(&walk(plan, stages, input.clone()), expected);
        let Plan { peak, tile, work, .. } = plan;
        assert!(off < TOLERANCE, "{what}, {peak} bytes, {tile} rows, {work:.2} times: {off:e}");
        off
    });
    let most = most.fold(0.0, f64::max);
    println!("{what}: {} plans, {most:.1e}", plans.len());
    let banded = plans.iter().filter(|plan| !plan.is_whole()).count();
    assert!(banded >= 2 || expected.shape[2] < 10, "{what}: {banded} plans in bands");
}

/// Random weights for whatever a network asks for.
fn weights(build: impl FnOnce(&lorakeet::layers::Parameters)) -> Values {
    let nothing = tiny::file(&Values::new());
    let file: Rc<dyn Source> = source("nothing.safetensors", nothing);
    let component = Component::from_safetensors("vae", file.as_ref(), Value::Null).unwrap();
    let storage = lorakeet::layers::Storage::F32;
    let (_, report, _) = tiny::load_with(&component, file, storage, |parameters| build(parameters));
    let mut generator = TorchGenerator::new(5);
    let mut one = |missing: &String| {
        let (name, shape) = missing.split_once(' ').unwrap();
        let shape: Vec<usize> = serde_json::from_str(shape).unwrap();
        (name.to_string(), draw(name, &shape, &mut generator))
    };
    report.missing.iter().map(&mut one).collect()
}

fn component(config: Value) -> Component {
    let file = source("weights.safetensors", tiny::file(&Values::new()));
    Component::from_safetensors("vae", file.as_ref(), config).unwrap()
}

fn kl(config: Value) -> AutoencoderKL {
    let config = AutoencoderKLConfig::parse(&component(config)).unwrap();
    let weights = weights(|parameters| drop(AutoencoderKL::load(&config, parameters)));
    load(&weights, |parameters| AutoencoderKL::load(&config, parameters)).0
}

fn random(shape: [usize; 4]) -> Tensor<4> {
    let data = TorchGenerator::new(9).randn(shape.iter().product());
    tensor(&Host { shape: shape.to_vec(), data })
}

fn agree_kl(what: &str, vae: &AutoencoderKL, pixels: &Tensor<4>, latents: &Tensor<4>) {
    let size = |x: &Tensor<4>| [x.dims()[2], x.dims()[3]];
    let expected = host(vae.decode(latents.clone()));
    let program = vae.config().decoder_program(size(latents));
    agree(&format!("{what}, decoded"), program, &vae.decoder_stages(), latents, &expected);
    let whole = vae.encode(pixels.clone());
    let mean = host(whole.mean);
    let program = vae.config().encoder_program(size(pixels));
    for plan in plans(&program) {
        let encoded = walk(&plan, &vae.encoder_stages(), pixels.clone());
        let posterior = vae.posterior(tensor(&encoded));
        let off = distance(&host(posterior.mean), &mean);
        let off = off.max(distance(&host(posterior.logvar), &host(whole.logvar.clone())));
        assert!(off < TOLERANCE, "{what}, encoded, {} bytes: {off:e}", plan.peak);
    }
}

#[test]
fn autoencoders_in_bands_are_the_whole() {
    for choice in [Choice::None, Choice::All] {
        kernels::choose(choice);
        let config = json!({
            "block_out_channels": [8, 16, 16], "norm_num_groups": 4, "layers_per_block": 2,
            "down_block_types": vec!["DownEncoderBlock2D"; 3],
            "up_block_types": vec!["UpDecoderBlock2D"; 3],
        });
        let vae = kl(config.clone());
        for [h, w] in [[16, 12], [13, 7], [9, 20]] {
            let latents = random([1, 4, h, w]);
            agree_kl(
                &format!("{choice:?} {h} x {w}"),
                &vae,
                &random([1, 3, 4 * h, 4 * w]),
                &latents,
            );
        }
        // A single level, no attention, no blocks in the encoder, odd pictures.
        let mut bare = config;
        for (field, value) in [
            ("block_out_channels", json!([8])),
            ("down_block_types", json!(["DownEncoderBlock2D"])),
            ("up_block_types", json!(["UpDecoderBlock2D"])),
            ("layers_per_block", json!(1)),
            ("mid_block_add_attention", json!(false)),
            ("use_quant_conv", json!(false)),
            ("use_post_quant_conv", json!(false)),
        ] {
            bare[field] = value;
        }
        agree_kl("bare", &kl(bare), &random([1, 3, 31, 17]), &random([1, 4, 31, 17]));
    }
    kernels::choose(Choice::Best);
}

#[test]
fn taesd_in_bands_is_the_whole() {
    let config = json!({
        "encoder_block_out_channels": [8, 8, 8], "decoder_block_out_channels": [8, 8, 8],
        "num_encoder_blocks": [1, 2, 2], "num_decoder_blocks": [2, 2, 1],
    });
    let config = AutoencoderTinyConfig::parse(&component(config)).unwrap();
    let weights = weights(|parameters| drop(AutoencoderTiny::load(&config, parameters)));
    let (vae, _) = load(&weights, |parameters| AutoencoderTiny::load(&config, parameters));
    for [h, w] in [[16, 12], [13, 7], [31, 3]] {
        let (latents, pixels) = (random([1, 4, h, w]), random([1, 3, 4 * h, 4 * w]));
        let expected = host(vae.decode(latents.clone()));
        let program = config.decoder_program([h, w]);
        agree("TAESD, decoded", program, &vae.decoder_stages(), &latents, &expected);
        let expected = host(vae.encode(pixels.clone()));
        let program = config.encoder_program([4 * h, 4 * w]);
        agree("TAESD, encoded", program, &vae.encoder_stages(), &pixels, &expected);
    }
}

/// The numbers that diffusers gave (`fixtures/models/generate.py`), one picture at a time.
#[test]
fn bands_give_diffusers_numbers() {
    let expected = tiny::read_values("models/outputs.safetensors");
    let picture = |host: &Host, i: usize| tensor::<4>(host).narrow(0, i, 1);
    let check = |name: &str, case: &Case| {
        let given = case.inputs();
        let size = |x: &Tensor<4>| [x.dims()[2], x.dims()[3]];
        for i in 0..given["latents"].shape[0] {
            let (latents, pixels) = (picture(&given["latents"], i), picture(&given["pixels"], i));
            let decoded = host(picture(&expected[&format!("{name}.pixels")], i));
            if case.class == "AutoencoderTiny" {
                let config = AutoencoderTinyConfig::parse(&component(case.config.clone())).unwrap();
                let (vae, _) =
                    load(&case.weights(), |parameters| AutoencoderTiny::load(&config, parameters));
                let program = config.decoder_program(size(&latents));
                agree(name, program, &vae.decoder_stages(), &latents, &decoded);
                let encoded = host(picture(&expected[&format!("{name}.latents")], i));
                let program = config.encoder_program(size(&pixels));
                agree(name, program, &vae.encoder_stages(), &pixels, &encoded);
                continue;
            }
            let config = AutoencoderKLConfig::parse(&component(case.config.clone())).unwrap();
            let (vae, _) =
                load(&case.weights(), |parameters| AutoencoderKL::load(&config, parameters));
            let program = config.decoder_program(size(&latents));
            agree(name, program, &vae.decoder_stages(), &latents, &decoded);
            let mean = host(picture(&expected[&format!("{name}.mean")], i));
            for plan in plans(&config.encoder_program(size(&pixels))) {
                let encoded = walk(&plan, &vae.encoder_stages(), pixels.clone());
                let off = distance(&host(vae.posterior(tensor(&encoded)).mean), &mean);
                assert!(off < TOLERANCE, "{name}: {off:e}");
            }
        }
    };
    let cases = cases();
    let vaes: Vec<_> = cases.iter().filter(|(name, _)| name.starts_with("vae.")).collect();
    assert!(vaes.len() >= 4);
    vaes.into_iter().for_each(|(name, case)| check(name, case));
}

/// What Stable Diffusion 1 and 2's decoder takes: `cargo test --test bands -- --nocapture` prints the
/// table of docs/performance.md.
#[test]
fn stable_diffusions_own_size() {
    let config = AutoencoderKLConfig::default();
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    println!(
        "| picture | whole | within buffers of 128 MiB | work | in half the memory | work | in a third \
         | work |\n|---|---|---|---|---|---|---|---|"
    );
    let mut before = 0;
    for side in [256, 512, 768, 1024, 2048] {
        let program = config.decoder_program([side / 8; 2]);
        let whole = program.clone().plan(Limits::NONE, "").unwrap();
        let buffers = Limits { bytes: None, buffer: Some(128 << 20) };
        let buffered = program.clone().plan(buffers, "").unwrap();
        let usual = program.clone().usual_plan();
        let part = |percent| {
            let limits = Limits { bytes: Some(whole.peak * percent / 100), buffer: None };
            program.clone().plan(limits, "").unwrap()
        };
        let parts = [buffered.clone(), part(50), part(33)];
        let parts = parts.map(|plan| format!("{} MiB | {:.2}", mib(plan.peak), plan.work));
        println!("| {side} x {side} | {} MiB | {} |", mib(whole.peak), parts.join(" | "));
        assert!(buffered.largest <= 128 << 20 && buffered.peak <= whole.peak);
        assert!(buffered.work < 1.06, "{side}: hardly anything is done twice");
        assert!(part(50).work < 1.5, "{side}: half the memory costs less than half the time");
        assert!(whole.peak > before, "larger pictures take more");
        assert_eq!(usual.is_whole(), side == 256);
        assert!(side > 1024 || usual.peak <= 1 << 30);
        before = whole.peak;
    }
}

#[test]
fn what_never_fits_is_refused() {
    let config = AutoencoderKLConfig::default();
    let plan = |bytes, buffer| {
        config.decoder_program([64, 64]).plan(Limits { bytes, buffer }, "decoding 512 x 512 pixels")
    };
    let error = plan(Some(40 << 20), None).unwrap_err().to_string();
    let start = "size: decoding 512 x 512 pixels takes ";
    assert!(error.starts_with(start), "{error}");
    assert!(error.contains("MiB of memory at least, and there are 40 MiB"), "{error}");
    let error = plan(None, Some(1 << 20)).unwrap_err().to_string();
    assert!(error.contains("the device has 1 MiB"), "{error}");
}
