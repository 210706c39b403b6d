//! The noise of PyTorch's CPU generator, bit for bit (`fixtures/noise/generate.py`).

use lorakeet::noise::{BrownianTree, Generator, Philox, Rng, TorchGenerator, varied};
use safetensors::SafeTensors;

fn read(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn bits(data: &[u8]) -> Vec<u32> {
    data.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn randn_equals_torch_bit_for_bit() {
    let bytes = read("noise/noise.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 8 * 8 + 1);
    for (name, tensor) in tensors.tensors() {
        let parts: Vec<u64> = name.split('.').filter_map(|part| part.parse().ok()).collect();
        let every = parts.get(3).map_or(1, |&every| every as usize);
        let mut generator = TorchGenerator::new(parts[0]);
        let mut ours = generator.randn(parts[1] as usize);
        ours.extend(generator.randn(parts[2] as usize));
        let ours: Vec<u32> = ours.iter().step_by(every).map(|x| x.to_bits()).collect();
        let theirs = bits(tensor.data());
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let wrong = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{name}: {wrong} of {} differ", ours.len());
    }
}

#[test]
fn demo_model_noise_is_that_of_its_seeds() {
    let bytes = read("demo-model/reference/noise.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (_, tensor) = tensors.tensors().into_iter().next().unwrap();
    assert_eq!(tensor.shape(), [2, 4, 16, 16]);
    let ours: Vec<u32> = [11, 12]
        .into_iter()
        .flat_map(|seed| TorchGenerator::new(seed).randn(4 * 16 * 16))
        .map(f32::to_bits)
        .collect();
    assert_eq!(ours, bits(tensor.data()));
}

#[test]
fn only_the_low_32_bits_of_a_seed_count() {
    let numbers = |seed| TorchGenerator::new(seed).randn(64);
    assert_eq!(numbers(5), numbers((1 << 32) + 5));
    assert_ne!(numbers(5), numbers(6));
}

fn seeds() -> serde_json::Value {
    serde_json::from_slice(&read("noise/seeds.json")).unwrap()
}

fn numbers(list: &serde_json::Value) -> Vec<f32> {
    serde_json::from_value(list.clone()).unwrap()
}

/// Of a seed's text.
fn seed(text: &serde_json::Value) -> u64 {
    text.as_str().unwrap().parse().unwrap()
}

#[test]
fn philox_is_a1111s() {
    let seeds = seeds();
    for case in seeds["philox"].as_array().unwrap() {
        let mut generator = Philox::new(seed(&case["seed"]));
        for draw in case["draws"].as_array().unwrap() {
            let expected = numbers(draw);
            assert_eq!(generator.randn(expected.len()), expected, "{}", case["seed"]);
        }
    }
    let latent = &seeds["philox_latent"];
    let values = Philox::new(seed(&latent["seed"])).randn(4 * 64 * 64);
    let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
    assert!((sum - latent["sum"].as_f64().unwrap()).abs() < 1e-6, "{sum}");
    for one in latent["at"].as_array().unwrap() {
        let [c, y, x] = serde_json::from_value::<[usize; 3]>(one["index"].clone()).unwrap();
        assert_eq!(values[(c * 64 + y) * 64 + x], one["value"].as_f64().unwrap() as f32);
    }
}

#[test]
fn variations_are_a1111s() {
    let mut compared = 0;
    for case in seeds()["a1111"].as_array().unwrap() {
        // What resizes a seed isn't offered.
        if !case["resize_from"].is_null() {
            continue;
        }
        let [c, h, w] = serde_json::from_value::<[usize; 3]>(case["shape"].clone()).unwrap();
        let rng = if case["rng"] == "NV" { Rng::Nv } else { Rng::Cpu };
        let draw = |text: &serde_json::Value| Generator::new(rng, seed(text)).randn(c * h * w);
        let strength = case["subseed_strength"].as_f64().unwrap() as f32;
        let seeds = case["seeds"].as_array().unwrap();
        let ours = seeds.iter().enumerate().flat_map(|(i, one)| match &case["subseeds"] {
            serde_json::Value::Null => draw(one),
            others => varied(&draw(one), &draw(&others[i]), [h, w], strength),
        });
        let expected = numbers(&case["first"]);
        let error = ours.zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-5, "{}: {error:e}", case["name"]);
        compared += expected.len();
    }
    assert!(compared > 500, "{compared}");
}

/// k-diffusion's `BrownianTreeNoiseSampler` on the CPU: stretches of one seed's path, whole and cut.
#[test]
fn noise_of_a_brownian_path_equals_torchsde() {
    #[derive(serde::Deserialize)]
    struct Vectors {
        cases: Vec<Case>,
    }
    #[derive(serde::Deserialize)]
    struct Case {
        seed: u64,
        sigma_min: f64,
        sigma_max: f64,
        queries: Vec<Query>,
    }
    #[derive(serde::Deserialize)]
    struct Query {
        from: f64,
        to: f64,
        noise: Vec<f32>,
    }
    let Vectors { cases } = serde_json::from_slice(&read("noise/brownian.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let ends = [case.sigma_min, case.sigma_max];
        let mut tree = BrownianTree::new(Rng::Cpu, case.seed, 16, ends);
        for Query { from, to, noise } in &case.queries {
            let ours = tree.noise(*from, *to);
            assert_eq!(ours.len(), noise.len());
            for (ours, theirs) in ours.iter().zip(noise) {
                let off = (ours - theirs).abs();
                assert!(off < 2e-6, "seed {}, {from} to {to}: {ours} for {theirs}", case.seed);
            }
        }
        // Parts of a way add up, and another generator walks another path.
        let [from, between, to] = [9.0, 4.0, 1.0];
        let parts = [(from, between), (between, to), (from, to)]
            .map(|(from, to)| (tree.noise(from, to), (from - to).sqrt() as f32));
        for i in 0..16 {
            let [a, b, whole] = parts.each_ref().map(|(noise, scale)| noise[i] * scale);
            assert!((a + b - whole).abs() < 1e-5, "seed {}: {a} + {b} is not {whole}", case.seed);
        }
        let other = BrownianTree::new(Rng::Nv, case.seed, 16, ends).noise(from, to);
        assert!(other != parts[2].0, "seed {}", case.seed);
    }
}
