//! The readers that hostile files are given to, natively. Each may answer with a value or an error that
//! names the file; nothing else.

use std::rc::Rc;

use lorakeet::adapters::Part;
use lorakeet::adapters::file::{self, Site};
use lorakeet::error::Error;
use lorakeet::keys::ldm::UNetLayout;
use lorakeet::models::UNet2DConditionConfig;
use lorakeet::models::{AutoencoderKLConfig, AutoencoderTinyConfig, CLIPTextConfig};
use lorakeet::pipelines::StableDiffusion;
use lorakeet::schedulers::{NoiseSchedule, Schedule, SchedulerConfig, SchedulerKind};
use lorakeet::tokenizer::{ClipTokenizer, TokenizerFiles};
use lorakeet::training::{Config, Picture, Role};
use lorakeet::weights::{Bytes, Checkpoint, Component, Index, Source, parse_json, text};
use serde::Deserialize;
use serde_json::Value;

use super::make;
use super::random::Random;

/// Real small files.
pub struct Originals {
    adapter: Vec<u8>,
    configs: Vec<(&'static str, Vec<u8>)>,
    /// Paths, and of weights the header and how many bytes of tensors follow it.
    model: Vec<(String, Vec<u8>, u64)>,
    single: Vec<u8>,
    sites: Vec<Site>,
    layout: UNetLayout,
}

/// What a case was, how many bytes it was made of, and whether it was read or refused.
pub struct Case {
    pub kind: &'static str,
    pub bytes: usize,
    pub read: bool,
}

const FILE: &str = "hostile.safetensors";

impl Originals {
    pub fn new() -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let read =
            |path: &str| std::fs::read(format!("{root}/web/demo-model/model/{path}")).unwrap();
        let shapes = [
            (Part::UNet, "down_blocks.0.attentions.0.proj_in", vec![8, 6, 1, 1]),
            (Part::UNet, "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", vec![8, 8]),
            (Part::UNet, "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", vec![8, 12]),
            (Part::UNet, "down_blocks.0.resnets.0.conv1", vec![8, 6, 3, 3]),
            (Part::TextEncoder, "text_model.encoder.layers.0.self_attn.q_proj", vec![12, 12]),
        ];
        let sites: Vec<Site> =
            shapes.map(|(part, path, shape)| Site { part, path: path.into(), shape }).into();
        let configs = ["unet", "vae", "text_encoder"];
        let headers = configs.map(|part| {
            let (stem, path) = match part {
                "text_encoder" => ("model", "text_encoder/model.fp16.safetensors".to_string()),
                _ => (
                    "diffusion_pytorch_model",
                    format!("{part}/diffusion_pytorch_model.fp16.safetensors"),
                ),
            };
            let file = read(&path);
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let tensors = (file.len() - 8 - length) as u64;
            (format!("{part}/{stem}.safetensors"), file[..8 + length].to_vec(), tensors)
        });
        let mut model: Vec<_> = headers.into();
        let json = ["unet/config.json", "vae/config.json", "text_encoder/config.json"];
        let json = json.iter().chain(&["scheduler/scheduler_config.json", "model_index.json"]);
        model.extend(json.map(|path| (path.to_string(), read(path), 0)));
        let single = [
            ("model.diffusion_model.input_blocks.0.0.weight", vec![8, 4, 3, 3]),
            ("model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias", vec![320]),
            (
                "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
                vec![8, 12],
            ),
            ("first_stage_model.encoder.conv_in.weight", vec![8, 3, 3, 3]),
            (
                "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
                vec![9, 12],
            ),
            ("cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight", vec![36, 12]),
            ("model_ema.decay", vec![]),
            ("v_pred", vec![0]),
        ];
        let single = single.map(|(name, shape)| (name.to_string(), shape));
        let (header, bytes) = make::header(&mut Random::new(0, 3), &single);
        let adapter = adapter_header(&mut Random::new(0, 1), &sites);
        Self {
            adapter: make::safetensors(&adapter.0, adapter.1),
            configs: vec![
                ("unet", read("unet/config.json")),
                ("vae", read("vae/config.json")),
                ("text_encoder", read("text_encoder/config.json")),
                ("scheduler", read("scheduler/scheduler_config.json")),
            ],
            model,
            single: make::safetensors(&header, bytes),
            sites,
            layout: UNetLayout::stable_diffusion(),
        }
    }

    /// Makes a file and reads it.
    pub fn run(&self, random: &mut Random) -> Case {
        match random.below(400) {
            // Slow, as large as their headers are.
            0..2 => self.folder(random),
            2..4 => self.single_file(random),
            4..10 => tokenizer(random),
            10..150 => self.adapter(random),
            150..250 => self.header(random),
            250..300 => self.component(random),
            300..340 => self.scheduler(random),
            340..360 => settings(random),
            360..380 => caption(random),
            _ => picture(random),
        }
    }

    fn adapter(&self, random: &mut Random) -> Case {
        let bytes = if random.once_in(3) {
            make::mutated(random, &self.adapter)
        } else {
            let (header, bytes) = adapter_header(random, &self.sites);
            make::safetensors(&header, bytes)
        };
        let config = random.once_in(4).then(|| make::peft(random));
        let length = bytes.len() + config.as_ref().map_or(0, String::len);
        let config = config.and_then(|config| parse_json(&config).ok());
        let source = Bytes::new(FILE, bytes);
        let read = file::read(&source, config.as_ref(), &self.sites, Some(&self.layout));
        match &read {
            Ok(file) => {
                assert!(!file.modules.is_empty());
                assert!(file.modules.iter().all(|module| module.scale.is_finite()));
                assert!(!file.report.summary.contains(char::is_control));
            }
            Err(error) => names(error),
        }
        Case { kind: "adapter", bytes: length, read: read.is_ok() }
    }

    fn header(&self, random: &mut Random) -> Case {
        let bytes = match random.below(3) {
            0 => (0..random.below(600)).map(|_| random.next() as u8).collect(),
            1 => make::mutated(random, &self.single),
            _ => {
                let shapes = (0..random.below(6)).map(|i| (i.to_string(), vec![i, 2 * i]));
                let shapes: Vec<_> = shapes.collect();
                let (header, bytes) = make::header(random, &shapes);
                let data = if random.once_in(4) { random.below(64) } else { bytes };
                make::safetensors(&header, data)
            }
        };
        let length = bytes.len();
        let source = Bytes::new(FILE, bytes);
        let read = Index::read(&source);
        match &read {
            Ok(index) => {
                for (key, info) in &index.tensors {
                    let values = index.read_f32(&source, key).unwrap();
                    assert_eq!(values.len(), info.elements());
                }
            }
            Err(error) => names(error),
        }
        Case { kind: "header", bytes: length, read: read.is_ok() }
    }

    /// A part's config, on its own: what sizes it may ask for.
    fn component(&self, random: &mut Random) -> Case {
        let (name, original) = &self.configs[random.below(3)];
        let name: &'static str = name;
        let text = if random.once_in(2) {
            String::from_utf8_lossy(&make::mutated(random, original)).into_owned()
        } else {
            make::object(random, &CONFIG)
        };
        let config = parse_json(&text).unwrap_or(Value::Null);
        let empty = Bytes::new(FILE, make::safetensors("{}", 0));
        let component = Component::from_safetensors(name, &empty, config).unwrap();
        let refused = [
            UNet2DConditionConfig::parse(&component).err(),
            AutoencoderKLConfig::parse(&component).err(),
            AutoencoderTinyConfig::parse(&component).err(),
            CLIPTextConfig::parse(&component).err(),
        ];
        refused.iter().flatten().for_each(names);
        let read = refused.iter().any(Option::is_none);
        Case { kind: "model config", bytes: text.len(), read }
    }

    fn scheduler(&self, random: &mut Random) -> Case {
        let text = if random.once_in(3) {
            String::from_utf8_lossy(&make::mutated(random, &self.configs[3].1)).into_owned()
        } else if random.once_in(2) {
            make::few(random, &SCHEDULER)
        } else {
            make::object(random, &SCHEDULER)
        };
        let config = parse_json(&text).unwrap_or(Value::Null);
        let steps = if random.once_in(10) { random.below(1003) } else { 1 + random.below(30) };
        let mut read = || -> lorakeet::error::Result<()> {
            let config = SchedulerConfig::from_value("scheduler_config.json", &config)?;
            let config = config.for_stable_diffusion();
            SchedulerKind::from_config(&config)?;
            NoiseSchedule::new(SchedulerKind::Ddpm, &config)?;
            let kind = SchedulerKind::ALL[random.below(SchedulerKind::ALL.len())];
            let schedule = Schedule::new(kind, &config, steps)?;
            assert!(!schedule.calls.is_empty() && schedule.init_noise_sigma.is_finite());
            Ok(())
        };
        let read = read();
        if let Err(error) = &read {
            names(error);
        }
        Case { kind: "scheduler config", bytes: text.len(), read: read.is_ok() }
    }

    fn single_file(&self, random: &mut Random) -> Case {
        let bytes = make::mutated(random, &self.single);
        let yaml = make::mutated(random, YAML.as_bytes());
        let length = bytes.len() + yaml.len();
        let files: Vec<Rc<dyn Source>> =
            vec![Rc::new(Bytes::new(FILE, bytes)), Rc::new(Bytes::new("hostile.yaml", yaml))];
        Case { kind: "checkpoint", bytes: length, read: open(files) }
    }

    /// A whole folder with one file changed.
    fn folder(&self, random: &mut Random) -> Case {
        let changed = random.below(self.model.len());
        let mut length = 0;
        let mut files: Vec<Rc<dyn Source>> = Vec::new();
        for (i, (path, bytes, tensors)) in self.model.iter().enumerate() {
            let tensors = *tensors;
            let bytes = if i == changed { make::mutated(random, bytes) } else { bytes.clone() };
            length += bytes.len();
            let bytes = Bytes::new(path.clone(), bytes);
            files.push(Rc::new(Padded { len: bytes.len() + tensors, bytes }));
        }
        Case { kind: "folder", bytes: length, read: open(files) }
    }
}

/// A file that goes on with zeros, as far as anybody asks: of a model's weights the headers alone are
/// read here.
struct Padded {
    bytes: Bytes,
    len: u64,
}

impl Source for Padded {
    fn name(&self) -> &str {
        self.bytes.name()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        buffer.fill(0);
        let there = self.bytes.len().saturating_sub(offset).min(buffer.len() as u64) as usize;
        if there > 0 { self.bytes.read(offset, &mut buffer[..there]) } else { Ok(()) }
    }
}

/// Opens a checkpoint and judges it; whether its files were told apart.
fn open(files: Vec<Rc<dyn Source>>) -> bool {
    let opened = Checkpoint::open(files);
    let judged = opened
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|checkpoint| StableDiffusion::check(checkpoint, Some(b"#version: 0.2\n")));
    if let Err(error) = &judged {
        names(error);
    }
    opened.is_ok()
}

fn tokenizer(random: &mut Random) -> Case {
    const VOCAB: &[u8] =
        br#"{"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3, "aa</w>": 4, "!": 5}"#;
    const MERGES: &[u8] = b"#version: 0.2\na a</w>\n";
    const CONFIG: &[u8] = br#"{"pad_token": "!", "model_max_length": 77, "bos_token": {"content": "<|startoftext|>", "lstrip": true}}"#;
    let [vocab, merges, config] = [VOCAB, MERGES, CONFIG].map(|original| {
        if random.once_in(3) { make::mutated(random, original) } else { original.to_vec() }
    });
    let length = vocab.len() + merges.len() + config.len();
    let files = TokenizerFiles {
        vocab: &vocab,
        merges: &merges,
        config: Some(&config),
        special_tokens_map: None,
    };
    let read = ClipTokenizer::new(files);
    match &read {
        Ok(tokenizer) => {
            if let Ok(encoding) = tokenizer.encode("a aa \u{0} é 猫 <|endoftext|>") {
                assert_eq!(encoding.ids.len(), tokenizer.max_length());
            }
        }
        Err(error) => names(error),
    }
    Case { kind: "tokenizer", bytes: length, read: read.is_ok() }
}

fn settings(random: &mut Random) -> Case {
    let text = make::few(random, &TRAINING);
    let config = parse_json(&text).ok().and_then(|value| Config::deserialize(value).ok());
    let checked = config.as_ref().map(Config::check);
    if let Some(Err(error)) = &checked {
        names(error);
    }
    let read = checked.is_some_and(|checked| checked.is_ok());
    Case { kind: "training settings", bytes: text.len(), read }
}

fn caption(random: &mut Random) -> Case {
    let originals: [&[u8]; 4] = [
        b"a plain caption, with commas\r\n",
        b"\xFF\xFEc\0a\0f\0\xE9\0",
        b"\xEF\xBB\xBFcaf\xC3\xA9",
        b"\xFE\xFF\xD8\x3D\xDE\x00",
    ];
    let original = originals[random.below(4)];
    let bytes = make::mutated(random, original);
    let text = text::written(&bytes);
    assert!(text.as_ref().is_none_or(|text| !text.contains('\0')));
    Case { kind: "caption", bytes: bytes.len(), read: text.is_some() }
}

/// What the page hands on: a size that it read from a header, and pixels.
fn picture(random: &mut Random) -> Case {
    let side = |random: &mut Random| match random.below(8) {
        0 => 0,
        1 => u32::MAX as usize,
        2 => (1 << 32) + 2,
        3 => 65535,
        _ => 1 + random.below(6),
    };
    let size = [side(random), side(random)];
    let honest = size[0].saturating_mul(size[1]).saturating_mul(4);
    let length = if random.once_in(3) || honest > 4096 { random.below(200) } else { honest };
    let pixels: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    let read = Picture::new("hostile.png", "", Role::Train, size, pixels);
    match &read {
        Ok(picture) => {
            assert_eq!(picture.size(), size);
            assert!(picture.planes([16, 8]).iter().all(|level| (-1.0..=1.0).contains(level)));
        }
        Err(error) => names(error),
    }
    Case { kind: "picture", bytes: length, read: read.is_ok() }
}

/// That an error says where and what to do, in one line.
fn names(error: &Error) {
    let message = error.to_string();
    assert!(message.contains(": ") && message.contains(". "), "{message}");
    assert!(message.len() < 30_000 && !message.contains(char::is_control), "{message:?}");
}

/// Tensors of an adapter for some of the sites, in some naming, of some kind, with gaps and extras.
fn adapter_header(random: &mut Random, sites: &[Site]) -> (String, usize) {
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    let peft = random.once_in(3);
    for site in sites {
        let module = match (site.part, peft) {
            (_, true) => format!("base_model.model.{}", site.path),
            (Part::UNet, _) => format!("lora_unet_{}", site.path.replace('.', "_")),
            (_, _) => format!("lora_te_{}", site.path.replace('.', "_")),
        };
        let [output, input] = [0, 1].map(|at| site.shape.get(at).copied().unwrap_or(1));
        let kernel = site.shape.get(2..).unwrap_or_default();
        let rank = 1 + random.below(4);
        let flat = input * kernel.iter().product::<usize>();
        let with = |front: &[usize]| [front, kernel].concat();
        let ones = vec![1; kernel.len()];
        let roles: Vec<(&str, Vec<usize>)> = match random.below(13) {
            0 => vec![],
            1 => vec![
                ("hada_w1_a", vec![output, rank]),
                ("hada_w1_b", vec![rank, flat]),
                ("hada_w2_a", vec![output, rank]),
                ("hada_w2_b", vec![rank, flat]),
            ],
            2 => vec![("lokr_w1", vec![2, 2]), ("lokr_w2", with(&[output / 2, input / 2]))],
            3 => vec![
                ("lokr_w1_a", vec![2, 1]),
                ("lokr_w1_b", vec![1, 2]),
                ("lokr_w2_a", vec![rank, output / 2]),
                ("lokr_w2_b", vec![rank, input / 2]),
                ("lokr_t2", with(&[rank, rank])),
            ],
            4 if peft => vec![("ia3_l", vec![output, 1])],
            4 => vec![("weight", vec![input]), ("on_input", vec![])],
            5 if peft => vec![("oft_R", vec![flat / 4, 6])],
            5 => {
                vec![("oft_blocks", vec![2, output / 2, output / 2]), ("rescale", vec![output, 1])]
            }
            6 => vec![("diff", with(&[output, input])), ("diff_b", vec![output])],
            7 => vec![
                ("a1.weight", [&[input, rank], &ones[..]].concat()),
                ("a2.weight", [&[rank, input], &ones[..]].concat()),
                ("b1.weight", [&[output, rank], &ones[..]].concat()),
                ("b2.weight", with(&[rank, input])),
            ],
            8 => vec![
                ("a1.weight", vec![rank, flat]),
                ("a2.weight", vec![flat, rank]),
                ("b1.weight", vec![rank, flat]),
                ("b2.weight", vec![output, rank]),
            ],
            9 => vec![
                ("oft_blocks", vec![1 + random.below(3), output / 4, 4, 4]),
                ("rescale", vec![output, 1]),
            ],
            _ if peft => vec![
                ("lora_A.weight", with(&[rank, input])),
                ("lora_B.weight", [&[output, rank], &ones[..]].concat()),
            ],
            _ => vec![
                ("lora_down.weight", with(&[rank, input])),
                ("lora_up.weight", [&[output, rank], &ones[..]].concat()),
            ],
        };
        for (role, shape) in roles {
            if !random.once_in(300) {
                tensors.push((format!("{module}.{role}"), shape));
            }
        }
        for (role, shape) in [
            ("alpha", vec![]),
            ("scale", vec![1]),
            ("dora_scale", vec![output, 1]),
            ("lora_magnitude_vector", vec![output]),
            ("lora_mid.weight", with(&[rank, rank])),
            ("diff_b", vec![output]),
            ("w_norm", vec![output]),
            ("reshape_weight", vec![4]),
        ] {
            let times = match role {
                "alpha" => 2,
                "diff_b" | "w_norm" | "reshape_weight" => 20,
                _ => 100,
            };
            if random.once_in(times) {
                tensors.push((format!("{module}.{role}"), shape));
            }
        }
    }
    make::header(random, &tensors)
}

const YAML: &str = "model:\n  params:\n    parameterization: \"v\"\n    image_size: 96 # as trained\n    \
                    unet_config:\n      params:\n        image_size: 32\n";

type Field = (&'static str, &'static [&'static str]);

const FLAG: &[&str] = &["true", "false"];
const LEVELS: &[&str] = &["[32,64]", "[32,64,128,128]", "[320,640,1280,1280]", "[0]", "[]"];

const CONFIG: [Field; 26] = [
    ("in_channels", &["4", "9"]),
    ("out_channels", &["4", "3"]),
    ("sample_size", &["64"]),
    ("block_out_channels", LEVELS),
    ("encoder_block_out_channels", LEVELS),
    ("decoder_block_out_channels", LEVELS),
    (
        "down_block_types",
        &["[\"DownBlock2D\",\"CrossAttnDownBlock2D\"]", "[\"DownEncoderBlock2D\"]"],
    ),
    ("up_block_types", &["[\"UpBlock2D\",\"CrossAttnUpBlock2D\"]", "[\"UpDecoderBlock2D\"]"]),
    ("mid_block_type", &["null", "\"UNetMidBlock2D\""]),
    ("layers_per_block", &["1", "2", "[1,2]"]),
    ("num_encoder_blocks", &["[1,2]"]),
    ("cross_attention_dim", &["768"]),
    ("attention_head_dim", &["8", "[5,10]", "[0,0]"]),
    ("num_attention_heads", &["8", "0"]),
    ("norm_num_groups", &["32", "0"]),
    ("time_cond_proj_dim", &["256"]),
    ("latent_channels", &["4", "16"]),
    ("scaling_factor", &["0.18215", "0"]),
    ("hidden_size", &["128"]),
    ("intermediate_size", &["512"]),
    ("num_hidden_layers", &["2"]),
    ("max_position_embeddings", &["77"]),
    ("vocab_size", &["49408"]),
    ("hidden_act", &["\"gelu\"", "\"quick_gelu\""]),
    ("layer_norm_eps", &["1e-5"]),
    ("only_cross_attention", FLAG),
];

const SCHEDULER: [Field; 36] = [
    ("_class_name", &["\"DDIMScheduler\"", "\"FlowMatchEulerDiscreteScheduler\"", "\"X\""]),
    ("num_train_timesteps", &["1000", "10", "1"]),
    ("beta_start", &["0.00085", "0", "-1", "1"]),
    ("beta_end", &["0.012", "0", "1", "0.9999999999"]),
    ("beta_schedule", &["\"scaled_linear\"", "\"squaredcos_cap_v2\"", "\"linear\""]),
    ("trained_betas", &["[0.1,0.2]", "[]", "[1e300]"]),
    ("prediction_type", &["\"v_prediction\"", "\"sample\"", "\"epsilon\""]),
    ("steps_offset", &["1", "999", "18446744073709551615"]),
    ("timestep_spacing", &["\"trailing\"", "\"leading\"", "\"linspace\""]),
    ("timestep_type", &["\"discrete\"", "\"continuous\""]),
    ("rescale_betas_zero_snr", FLAG),
    ("set_alpha_to_one", FLAG),
    ("clip_sample", FLAG),
    ("clip_sample_range", &["1", "0", "-1"]),
    ("thresholding", FLAG),
    ("use_karras_sigmas", FLAG),
    ("use_exponential_sigmas", FLAG),
    ("use_beta_sigmas", FLAG),
    ("use_lu_lambdas", FLAG),
    ("use_flow_sigmas", FLAG),
    ("final_sigmas_type", &["\"zero\"", "\"sigma_min\""]),
    ("sigma_min", &["0.03", "0", "1e-300"]),
    ("sigma_max", &["15", "1e300"]),
    ("interpolation_type", &["\"log_linear\"", "\"linear\""]),
    ("algorithm_type", &["\"sde-dpmsolver\"", "\"dpmsolver\"", "\"dpmsolver++\""]),
    ("solver_type", &["\"heun\"", "\"midpoint\"", "\"bh1\"", "\"logrho\""]),
    ("solver_order", &["1", "2", "3"]),
    ("lower_order_final", FLAG),
    ("euler_at_final", FLAG),
    ("lambda_min_clipped", &["-5.1", "5", "-Infinity"]),
    ("variance_type", &["\"fixed_small\"", "\"learned\""]),
    ("original_inference_steps", &["50", "0", "1000"]),
    ("timestep_scaling", &["10", "0"]),
    ("skip_prk_steps", FLAG),
    ("disable_corrector", &["[0,1]", "[18446744073709551615]"]),
    ("eta", &["0.3", "-1", "1e300"]),
];

const TRAINING: [Field; 20] = [
    ("kind", &["\"lora\"", "\"lokr\"", "\"dora\""]),
    ("rank", &["4"]),
    ("alpha", &["4", "0"]),
    ("steps", &["100"]),
    ("batch", &["1"]),
    ("resolution", &["512", "20000", "0"]),
    ("learningRate", &["0.001", "-1"]),
    ("warmup", &["10"]),
    ("schedule", &["\"cosine\""]),
    ("noiseOffset", &["0.1"]),
    ("l1", &["0.1"]),
    ("l2", &["0.1"]),
    ("maxNorm", &["1"]),
    ("dropout", &["0.1", "1"]),
    ("init", &["\"pissa\"", "\"orthogonal\""]),
    ("lokrFactor", &["4", "0"]),
    ("loraPlus", &["4"]),
    ("blocks", &["[\"mid\"]", "[]"]),
    ("seed", &["1"]),
    ("only", &["[\"up_blocks.\"]"]),
];
