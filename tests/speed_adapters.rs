//! Adapters that are made for few steps: which are told, and what is advised.

use std::collections::HashMap;

use lorakeet::adapters::{Advice, Part, file};
use lorakeet::schedulers::{Schedule, SchedulerConfig, SchedulerKind};
use lorakeet::weights::Bytes;
use safetensors::tensor::{Dtype, TensorView};

/// A layer of each kind that a UNet has.
const LAYERS: [&str; 9] = [
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.resnets.0.conv2",
    "down_blocks.0.resnets.0.time_emb_proj",
    "up_blocks.0.upsamplers.0.conv",
];
const TEXT: &str = "text_model.encoder.layers.0.self_attn.q_proj";

fn site(part: Part, path: &str) -> file::Site {
    let shape = if path.contains("conv") { vec![8, 8, 3, 3] } else { vec![8, 8] };
    file::Site { part, path: path.into(), shape }
}

/// The advice for a LoRA of this name, metadata, rank and layers.
fn advice(name: &str, metadata: &[(&str, &str)], rank: usize, layers: &[&str]) -> Option<Advice> {
    let sites = LAYERS.iter().map(|path| site(Part::UNet, path));
    let sites: Vec<_> = sites.chain([site(Part::TextEncoder, TEXT)]).collect();
    let one = vec![0x3c; 2 * rank * 8 * 9];
    let mut tensors = Vec::new();
    for &layer in layers {
        let prefix = if layer == TEXT { "lora_te" } else { "lora_unet" };
        let module = format!("{prefix}_{}", layer.replace('.', "_"));
        let is_conv = layer.contains("conv");
        let down = if is_conv { vec![rank, 8, 3, 3] } else { vec![rank, 8] };
        let up = if is_conv { vec![8, rank, 1, 1] } else { vec![8, rank] };
        for (factor, shape) in [("lora_down", down), ("lora_up", up)] {
            let bytes = &one[..2 * shape.iter().product::<usize>()];
            let view = TensorView::new(Dtype::F16, shape, bytes).unwrap();
            tensors.push((format!("{module}.{factor}.weight"), view));
        }
    }
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let bytes = safetensors::serialize(tensors, Some(metadata)).unwrap();
    let read = file::read(&Bytes::new(name, bytes), None, &sites, None).unwrap();
    read.report.advice
}

fn by_name(name: &str) -> Option<Advice> {
    advice(name, &[], 4, &LAYERS[1..3])
}

#[test]
fn names_tell_family_and_steps() {
    let (trailing, none) = (Some("trailing"), None);
    let told = [
        ("lcm-lora-sdv1-5.safetensors", "LCM-LoRA", 4, 1.0, "lcm", none, None),
        ("LCM_LoRA_Weights_SD15.safetensors", "LCM-LoRA", 4, 1.0, "lcm", none, None),
        ("TCD-SD15-LoRA.safetensors", "TCD-LoRA", 4, 1.0, "tcd", none, Some(0.3)),
        ("Hyper-SD15-1step-lora.safetensors", "Hyper-SD", 1, 1.0, "tcd", none, Some(1.0)),
        ("Hyper-SD15-2steps-lora.safetensors", "Hyper-SD", 2, 1.0, "ddim", trailing, None),
        ("Hyper-SD15-8steps-lora.safetensors", "Hyper-SD", 8, 1.0, "ddim", trailing, None),
        (
            "Hyper-SD15-12steps-CFG-lora.safetensors",
            "Hyper-SD with guidance",
            12,
            5.0,
            "ddim",
            trailing,
            None,
        ),
        ("pcm_sd15_smallcfg_2step_converted.safetensors", "PCM", 2, 1.0, "tcd", none, Some(0.3)),
        (
            "pcm_sd15_normalcfg_8step_converted.safetensors",
            "PCM with guidance",
            8,
            7.5,
            "tcd",
            none,
            Some(0.3),
        ),
        ("sd15_lightning_4step_lora.safetensors", "Lightning", 4, 1.0, "euler", trailing, None),
        ("sd15-turbo-lora.safetensors", "Turbo", 4, 1.0, "euler_a", trailing, None),
    ];
    for (file, name, steps, guidance, scheduler, spacing, eta) in told {
        let advice = by_name(file).unwrap_or_else(|| panic!("{file}"));
        assert_eq!(
            (&*advice.name, advice.steps, advice.guidance),
            (name, steps, guidance),
            "{file}"
        );
        assert_eq!((advice.scheduler, advice.spacing, advice.eta), (scheduler, spacing, eta));
        assert!(advice.why.starts_with("its name says so"), "{}", advice.why);
        // What is advised can be done.
        let kind: SchedulerKind = advice.scheduler.parse().unwrap();
        let config = SchedulerConfig {
            timestep_spacing: advice.spacing.map(Into::into),
            eta: advice.eta,
            ..SchedulerConfig::default().for_stable_diffusion()
        };
        let schedule = Schedule::new(kind, &config, advice.steps).unwrap();
        assert_eq!(schedule.steps_within(usize::MAX), steps);
        assert!(advice.settings.contains(kind.label()), "{}", advice.settings);
    }
    for file in [
        "ink.safetensors",
        "lightning_bolt.safetensors",
        "hyperrealism.safetensors",
        "hyper-detailed.safetensors",
        "turbocharged-cars.safetensors",
        "turbo.safetensors",
        "step-by-step.safetensors",
        "0steps-hyper.safetensors",
        "pytorch_lora_weights.safetensors",
    ] {
        assert_eq!(by_name(file), None, "{file}");
    }
}

#[test]
fn metadata_tells_where_the_name_does_not() {
    let titled = |key, value| advice("a.safetensors", &[(key, value)], 4, &LAYERS[1..3]);
    let told = titled("modelspec.title", "Hyper-SD15-4steps-lora").unwrap();
    assert_eq!((&*told.name, told.steps), ("Hyper-SD", 4));
    assert!(told.why.starts_with("its metadata says so"), "{}", told.why);
    assert_eq!(titled("ss_output_name", "my_lcm").unwrap().scheduler, "lcm");
    // What it was trained on isn't what it is.
    assert_eq!(titled("ss_sd_model_name", "lcm_dreamshaper.safetensors"), None);
}

#[test]
fn an_adapter_of_the_text_encoder_is_none() {
    assert_eq!(advice("lcm.safetensors", &[], 4, &[LAYERS[1], TEXT]), None);
}

#[test]
fn layers_tell_what_no_name_does() {
    let name = "pytorch_lora_weights.safetensors";
    let told = advice(name, &[], 64, &LAYERS).unwrap();
    assert_eq!((&*told.name, told.scheduler), ("LCM-LoRA, TCD or Hyper-SD", "lcm"));
    assert!(told.why.contains("nothing in it says which"), "{}", told.why);
    // A small rank, a trainer's own file, or not on every kind of layer.
    assert_eq!(advice(name, &[], 4, &LAYERS), None);
    assert_eq!(advice(name, &[("ss_network_dim", "64")], 64, &LAYERS), None);
    assert_eq!(advice(name, &[], 64, &LAYERS[..8]), None);
}
