//! What SDXL takes at full size, told before anything is loaded: by names and shapes alone.
//!
//! `cargo test --workspace --test sdxl told -- --nocapture` prints the README's rows.

use lorakeet::layers::Storage;
use lorakeet::models::UNet2DConditionConfig;
use lorakeet::pipelines::memory::{Pixels, Sizes, gigabytes, unet_peak};

use super::files::{full, open};

#[test]
fn what_the_full_size_takes_is_told() {
    let checkpoint = open("sdxl.safetensors", &full()).unwrap();
    let sizes = Sizes::of(&checkpoint);
    // Only the larger of the text encoders is there beside UNet and VAE.
    for (name, storage) in [("f32", Storage::F32), ("f16", Storage::F16), ("q8", Storage::Q8)] {
        let [texts, largest] = checkpoint.text_encoder_bytes_as(storage);
        let all = checkpoint.bytes_as(storage);
        assert_eq!(sizes.get(storage), all - texts + largest, "{name}");
        let [all, texts, most] = [all, texts, sizes.get(storage)].map(gigabytes);
        println!("weights in {name}: {all}, of it text encoders {texts}; {most} at once");
    }
    // docs of the tensors' bytes: UNet 5.14 and bigG 1.39 GB in halves, VAE 0.17.
    assert!((6_650_000_000..6_800_000_000).contains(&sizes.f16), "{}", sizes.f16);
    assert!((3_700_000_000..3_900_000_000).contains(&sizes.q8), "{}", sizes.q8);

    let unet = UNet2DConditionConfig::parse(&checkpoint.unet).unwrap();
    for side in [512, 768, 1024] {
        let [one, two] =
            [false, true].map(|guided| unet_peak(&unet, Pixels::of(side, side, guided), true));
        println!("a pass of the UNet at {side}: {}, of two {}", gigabytes(one), gigabytes(two));
        // Without attention at the outermost level a pass takes less than SD 1.5's.
        let sd15 =
            unet_peak(&UNet2DConditionConfig::default(), Pixels::of(side, side, false), true);
        assert!(one < sd15, "{one} of {sd15}");
    }
    // The widest tensor is the gated feed-forward of the level between, or what the last block joins:
    // two at once at 1024 pixels are more than any WebGPU device binds.
    let widest = |side: u64| 4 * unet.widest() * (side / 8) * (side / 8);
    assert_eq!([widest(1024) >> 20, widest(768) >> 20], [80, 45]);
    assert_eq!([768, 832, 1024].map(|side| unet.guides_in_turn(side, side)), [false, false, true]);
    let sd15 = UNet2DConditionConfig::default();
    assert!(sd15.widest() == 8 * 320 && !sd15.guides_in_turn(2048, 2048));
}
