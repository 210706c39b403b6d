//! The files of SD 1.5 at full size that follow from a rule: that they are what they claim to be.
//! And, on demand, the whole model against PyTorch and diffusers.

#[path = "support/full_size.rs"]
mod full_size;
#[path = "support/random_model.rs"]
mod random_model;
#[path = "support/full_size_training.rs"]
mod training;

use burn::tensor::{Device, Tensor};
use full_size::{CLOSE, attach, decoded, difference, encoded, expected, model, text, unet};
use lorakeet::layers::Storage;
use lorakeet::training::trainer::read;
use lorakeet::weights::{Index, Source};
use random_model::{Numbers, RandomFile, adapter, single_file, unet_file};

#[test]
fn values_are_pytorchs_bit_for_bit() {
    let first = |file: &RandomFile, key: &str| {
        let index = Index::read(file).unwrap();
        let mut bytes = [0; 16];
        file.read(index.info(key).unwrap().offset, &mut bytes).unwrap();
        bytes
            .chunks_exact(2)
            .map(|two| half::f16::from_le_bytes([two[0], two[1]]).to_f32())
            .collect()
    };
    let unet = unet_file("unet.safetensors", Numbers::F16);
    let adapter = adapter("adapter.safetensors");
    let module = "lora_unet_mid_block_attentions_0_proj_in";
    let values: Vec<Vec<f32>> = vec![
        first(&unet, "down_blocks.0.attentions.0.norm.weight"),
        first(&unet, "conv_in.weight"),
        first(&adapter, &format!("{module}.lora_down.weight")),
        first(&adapter, &format!("{module}.lora_up.weight")),
    ];
    assert_eq!(values.concat(), expected("rule"));
}

#[test]
fn files_are_of_full_size_and_read_alike_from_any_place() {
    let halves = single_file("f16.safetensors", Numbers::F16);
    let whole = single_file("f32.safetensors", Numbers::F32);
    assert!(halves.len() > 2_130_000_000 && whole.len() > 1 << 32, "{}", whole.len());
    let indices = [&halves, &whole].map(|file| Index::read(file).unwrap());
    assert_eq!(indices[0].tensors.len(), 686 + 196 + 248);
    assert!(indices[1].tensors.keys().any(|key| key.starts_with("model_ema.")));

    // The last tensors lie past 4 GiB; and both files hold the same numbers.
    let last = whole.len() - 4 * 64;
    let mut wide = [0; 256];
    whole.read(last, &mut wide).unwrap();
    let mut narrow = [0; 128];
    halves.read(halves.len() - 2 * 64, &mut narrow).unwrap();
    let of_f32 = wide.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let of_f16 = narrow.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32());
    assert!(last > 1 << 32 && of_f32.eq(of_f16));

    // Over the end of the header and over the edges of tensors.
    let start = indices[0].tensors.values().map(|info| info.offset).min().unwrap() - 11;
    let mut together = vec![0; 40_000];
    halves.read(start, &mut together).unwrap();
    let mut apart = Vec::new();
    for length in [1, 2, 3, 5, 7, 11, 4001, 13_000, 22_970] {
        let mut piece = vec![0; length];
        halves.read(start + apart.len() as u64, &mut piece).unwrap();
        apart.extend(piece);
    }
    assert!(apart == together, "pieces of {} bytes differ from the whole", apart.len());
    assert!(halves.read(halves.len() - 1, &mut [0; 2]).is_err());
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

/// `cargo xtask test --full -- native` runs it.
#[test]
#[ignore = "takes five gigabytes of memory and a minute: cargo xtask test --full"]
fn native_model_of_full_size_is_pytorchs() {
    let model = model(&Device::flex(), Storage::F32);
    let compare = |name: &str, values: Vec<f32>| {
        println!("{name}: {:e} from PyTorch's", difference(name, &values, CLOSE));
    };
    compare("text.base", values(text(&model)));
    compare("unet.base", values(unet(&model)));
    attach(&model);
    compare("text.lora", values(text(&model)));
    compare("unet.lora", values(unet(&model)));
    compare("vae.mean", values(encoded(&model)));
    compare("vae.decoded", values(decoded(&model)));
}

#[test]
#[ignore = "takes six gigabytes of memory and a minute: cargo xtask test --full"]
fn native_training_step_of_full_size_is_pytorchs() {
    let mut setup = training::setup(model(&Device::flex(), Storage::F32));
    while let Some(tensor) = setup.advance().unwrap() {
        setup.conclude(read(tensor).unwrap()).unwrap();
    }
    let mut trainer = setup.finish().unwrap();
    let report = trainer.run_step().unwrap();
    println!("a training step from PyTorch's: {}", training::compare(&trainer, &report));
}
