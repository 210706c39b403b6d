//! The demo model with its weights kept in each way, by burn's operations and by the kernels that the
//! browser runs, against diffusers (`fixtures/demo-model/recipe/reference.py`).

mod support;

use burn::tensor::Device;
use lorakeet::kernels::{self, Choice};
use lorakeet::layers::Storage;
use lorakeet::pipelines::{ModelReport, StableDiffusion};
use lorakeet::weights::Checkpoint;
use support::{Tensors, fixture, path, values};

fn load(storage: Storage) -> (StableDiffusion, ModelReport) {
    let checkpoint = Checkpoint::open_path(path("web/demo-model/model")).unwrap();
    StableDiffusion::load(&checkpoint, None, &Device::flex(), storage, &mut |_| {}).unwrap()
}

/// The norm of the difference over that of what is expected.
fn relative(ours: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|value| f64::from(value).powi(2)).sum()
    };
    let difference = squares(&mut ours.iter().zip(expected).map(|(a, b)| a - b));
    (difference / squares(&mut expected.iter().copied())).sqrt()
}

/// What the model's parts make of the reference's inputs, each relative to what diffusers makes.
fn distances(model: &StableDiffusion, unet: &Tensors, vae: &Tensors) -> [f64; 3] {
    let device = Device::flex();
    let (latent, text) = (unet.tensor::<4>("latent", &device), unet.tensor("embedding", &device));
    let timestep = f64::from(unet.values("timestep")[0]);
    let noise = values(model.unet.forward(latent, &[timestep], text));
    let autoencoder = model.vae().unwrap();
    let lorakeet::pipelines::Vae::Kl(autoencoder) = &*autoencoder else { panic!("a KL") };
    let decoded = values(autoencoder.decode(vae.tensor("mean", &device)));
    let mean = values(autoencoder.encode(vae.tensor("image", &device)).mean);
    [
        relative(&noise, &unet.values("eps")),
        relative(&decoded, &vae.values("decoded_from_mean")),
        relative(&mean, &vae.values("mean")),
    ]
}

#[test]
fn every_way_to_keep_weights_follows_diffusers() {
    let unet = fixture("demo-model/reference/unet.safetensors");
    let vae = fixture("demo-model/reference/vae.safetensors");
    // The file is in halves, so that they lose nothing.
    let ways = [(Storage::F32, 1e-4), (Storage::F16, 1e-4), (Storage::Q8, 5e-2)];
    for (storage, tolerance) in ways {
        let (model, _) = load(storage);
        for choice in [Choice::Best, Choice::All] {
            kernels::choose(choice);
            let all = distances(&model, &unet, &vae);
            kernels::choose(Choice::Best);
            println!("{storage:?}, {choice:?}: UNet, decoder and encoder {all:?}");
            assert!(all.iter().all(|off| *off < tolerance), "{storage:?} {choice:?}: {all:?}");
            assert!(storage != Storage::Q8 || all[0] > 1e-4, "8-bit weights change nothing");
        }
    }
}

/// What rounding changed is told: nothing of a file in halves that stays so, half a step of 127 in
/// blocks.
#[test]
fn rounding_is_told() {
    for storage in [Storage::F32, Storage::F16] {
        let (_, report) = load(storage);
        assert!(report.components.iter().all(|part| part.rounding.is_none()), "{storage:?}");
        assert!(report.notes.iter().all(|note| !note.contains("root mean square")), "{storage:?}");
    }
    let (_, report) = load(Storage::Q8);
    for part in &report.components {
        let rounding = part.rounding.as_ref().unwrap();
        assert!((2e-3..1e-2).contains(&rounding.share), "{rounding:?}");
        assert!((rounding.share..2e-2).contains(&rounding.largest), "{rounding:?}");
        assert!(rounding.key.ends_with(".weight"), "{rounding:?}");
    }
    let [note] = &report.notes[..] else { panic!("{:?}", report.notes) };
    assert!(
        note.starts_with("8-bit weights: 0.") && note.contains(" % root mean square"),
        "{note}"
    );
    println!("{note}");
}
