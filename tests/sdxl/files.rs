//! Single files: every tensor's name at full size, what is told from names and shapes, what is refused.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use lorakeet::error::Result;
use lorakeet::keys::ldm::{UNetLayout, unet_module_to_diffusers, unet_module_to_ldm};
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{
    Base, Bytes, Checkpoint, Component, FewSteps, Overrides, Prediction, Source, Stored,
};
use serde_json::{Value, json};

use super::fixture::{NAMES, folder, load, safetensors};
use super::pictures::settings;
use super::support::{self, latents};

/// One row of `keys.tsv`.
struct Row {
    component: &'static str,
    diffusers: &'static str,
    shape: Vec<usize>,
    single: &'static str,
    shape_there: Vec<usize>,
    how: &'static str,
    kohya: &'static str,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let shape = |text: &str| -> Vec<usize> {
        text.split('x').filter_map(|side| side.parse().ok()).collect()
    };
    let row = |line: &'static str| {
        let columns: Vec<&'static str> = line.split('\t').collect();
        Row {
            component: columns[0],
            diffusers: columns[1],
            shape: shape(columns[2]),
            single: columns[3],
            shape_there: shape(columns[4]),
            how: columns[5],
            kohya: columns.get(7).copied().unwrap_or_default(),
        }
    };
    include_str!("../fixtures/sdxl/keys.tsv").lines().skip(1).map(row).collect()
});

pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Names and shapes of SDXL's single file.
pub fn full() -> Shapes {
    ROWS.iter().map(|row| (row.single.to_string(), row.shape_there.clone())).collect()
}

/// A file of f16 that is all zeros behind its header: 6.9 GB that nobody has to hold.
struct Hollow {
    name: String,
    header: Vec<u8>,
    len: u64,
}

impl Source for Hollow {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        let from = usize::try_from(offset).unwrap().min(self.header.len());
        let there = (self.header.len() - from).min(buffer.len());
        buffer[..there].copy_from_slice(&self.header[from..from + there]);
        Ok(())
    }
}

fn hollow(name: &str, shapes: &Shapes) -> Rc<dyn Source> {
    let (mut at, mut entries) = (0, serde_json::Map::new());
    for (key, shape) in shapes {
        let end = at + 2 * shape.iter().product::<usize>();
        entries.insert(
            key.clone(),
            json!({"dtype": "F16", "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let header = [(text.len() as u64).to_le_bytes().to_vec(), text].concat();
    let len = (header.len() + at) as u64;
    Rc::new(Hollow { name: name.into(), header, len })
}

pub fn open(name: &str, shapes: &Shapes) -> Result<Checkpoint> {
    Checkpoint::open(vec![hollow(name, shapes)])
}

fn components(checkpoint: &Checkpoint) -> BTreeMap<&str, &Component> {
    checkpoint.components().map(|component| (component.name, component)).collect()
}

/// Without ones at the end, where it would have two dimensions at least.
fn matrix(shape: &[usize]) -> &[usize] {
    match shape {
        [out, input, 1, 1] => &shape[..2.min(out + input)],
        _ => shape,
    }
}

#[test]
fn every_tensor_of_the_full_size_has_its_place() {
    let opened = open("sdxl.safetensors", &full()).unwrap();
    let components = components(&opened);
    let mut counts = BTreeMap::new();
    for row in ROWS.iter().filter(|row| !row.diffusers.is_empty()) {
        let stored = components[row.component].tensors.get(row.diffusers);
        let stored = stored.unwrap_or_else(|| panic!("{} is missing", row.diffusers));
        assert_eq!(stored.key, row.single);
        let (ours, theirs) = (matrix(&stored.info.shape), matrix(&row.shape));
        assert_eq!(ours, theirs, "{}", row.diffusers);
        assert_eq!(stored.transposed, row.how == "transposed", "{}", row.diffusers);
        *counts.entry(row.component).or_insert(0) += 1;
    }
    for (name, component) in &components {
        assert_eq!(component.tensors.len(), counts[name], "{name}");
    }
    // Thirds of one tensor lie one after the other.
    let q = "text_model.encoder.layers.23.self_attn.q_proj.weight";
    let second = &components["text_encoder_2"].tensors;
    let at = |part: &str| second[&q.replace("q_proj", part)].info.offset;
    let third = 2 * 1280 * 1280;
    assert_eq!([at("k_proj"), at("v_proj")], [third, 2 * third].map(|more| at("q_proj") + more));
    assert!(opened.ignored.iter().any(|line| line.contains("logit_scale")), "{:?}", opened.ignored);
}

#[test]
fn modules_have_their_names_both_ways() {
    let layout = UNetLayout { level: 3, up_attentions: vec![true, true, false] };
    for row in ROWS.iter().filter(|row| row.component == "unet" && row.how == "as it is") {
        let there = row.single.strip_prefix("model.diffusion_model.").unwrap();
        let (there, path) =
            (there.rsplit_once('.').unwrap().0, row.diffusers.rsplit_once('.').unwrap().0);
        assert_eq!(unet_module_to_diffusers(there, &layout).as_deref(), Some(path));
        let back = unet_module_to_ldm(path, &layout).unwrap();
        assert_eq!(back, there);
        if !row.kohya.is_empty() {
            assert_eq!(row.kohya, format!("lora_unet_{}", back.replace('.', "_")));
        }
    }
}

#[test]
fn configurations_are_told_from_names_and_shapes() {
    let opened = open("model.safetensors", &full()).unwrap();
    let has = |component: &Component, fields: Value| {
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(&component.config[field], value, "{} of {}", field, component.name);
        }
    };
    // stabilityai/stable-diffusion-xl-base-1.0
    let (down, up) = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D");
    has(
        &opened.unet,
        json!({
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
            "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280],
            "cross_attention_dim": 2048, "down_block_types": ["DownBlock2D", down, down],
            "in_channels": 4, "layers_per_block": 2, "mid_block_type": "UNetMidBlock2DCrossAttn",
            "norm_num_groups": 32, "projection_class_embeddings_input_dim": 2816,
            "sample_size": 128, "transformer_layers_per_block": [1, 2, 10],
            "reverse_transformer_layers_per_block": null,
            "up_block_types": [up, up, "UpBlock2D"], "use_linear_projection": true
        }),
    );
    has(
        &opened.text_encoder,
        json!({
            "hidden_act": "quick_gelu", "hidden_size": 768, "intermediate_size": 3072,
            "num_attention_heads": 12, "num_hidden_layers": 12, "vocab_size": 49408
        }),
    );
    has(
        opened.text_encoder_2.as_ref().unwrap(),
        json!({
            "hidden_act": "gelu", "hidden_size": 1280, "intermediate_size": 5120,
            "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280
        }),
    );
    has(
        &opened.vae,
        json!({"scaling_factor": 0.13025, "block_out_channels": [128, 256, 512, 512]}),
    );
    let family = &opened.family;
    assert_eq!(
        (family.base, family.size, family.prediction),
        (Base::Sdxl, 1024, Prediction::Epsilon)
    );
    assert_eq!(family.label, "Stable Diffusion XL");
    assert!(!family.compact && family.defaults.is_some_and(|defaults| defaults.guidance == 5.0));
    assert!(
        family.notes.iter().any(|note| note.contains("Turbo, Lightning")),
        "{:?}",
        family.notes
    );
    let scheduler = &opened.scheduler_config;
    assert_eq!(scheduler["_class_name"], "EulerDiscreteScheduler");
    assert_eq!(
        (&scheduler["timestep_spacing"], &scheduler["steps_offset"]),
        (&json!("leading"), &json!(1))
    );

    // Every layer finds its tensor, and every tensor its layer.
    let merges = support::read("web/clip-vocabulary/merges.txt");
    let reports = StableDiffusion::check(&opened, Some(&merges)).unwrap();
    assert!(reports.iter().all(|report| report.unused.is_empty()), "{reports:?}");
    let numbers: u64 = reports.iter().map(|report| report.parameters).sum();
    assert_eq!(numbers, 123_060_480 + 694_659_840 + 2_567_463_684 + 83_653_863);
}

#[test]
fn what_a_file_says_of_itself_counts_and_its_name_helps() {
    let family = |name: &str, more: &[&str]| {
        let mut shapes = full();
        shapes.extend(more.iter().map(|key| (key.to_string(), vec![0])));
        open(name, &shapes).unwrap().family
    };
    let v = family("noob.safetensors", &["v_pred", "ztsnr"]);
    assert_eq!((v.prediction, v.zero_terminal_snr), (Prediction::VPrediction, true));
    assert_eq!(v.label, "Stable Diffusion XL, v-prediction, zero terminal SNR");
    let named = family("noob-vpred.safetensors", &[]);
    assert_eq!(named.prediction, Prediction::Epsilon);
    assert!(named.notes.iter().any(|note| note.contains("name says v-prediction")));
    let turbo = family("sd_xl_turbo_1.0_fp16.safetensors", &[]);
    assert_eq!((turbo.few_steps, turbo.size), (Some(FewSteps::Turbo), 512));
    assert_eq!(turbo.scheduler_config()["timestep_spacing"], "trailing");
    let lightning = family("sdxl_lightning_4step.safetensors", &[]);
    assert_eq!(lightning.label, "SDXL-Lightning");
    assert_eq!(lightning.defaults.unwrap().guidance, 1.0);
}

#[test]
fn relatives_that_do_not_run_are_refused_by_name() {
    let error = |shapes: &Shapes| open("a.safetensors", shapes).err().unwrap().to_string();
    let with = |key: &str| {
        let mut shapes = full();
        shapes.insert(key.into(), vec![1]);
        shapes
    };
    let mut inpainting = full();
    inpainting.insert("model.diffusion_model.input_blocks.0.0.weight".into(), vec![320, 9, 3, 3]);
    let refiner =
        full().into_iter().filter(|(key, _)| !key.starts_with("conditioner.embedders.0."));
    let refiner = refiner.map(|(key, shape)| (key.replace("embedders.1.", "embedders.0."), shape));
    let unet = full().into_iter().filter(|(key, _)| key.starts_with("model.diffusion_model."));
    let second = full().into_iter().filter(|(key, _)| !key.contains("embedders.1.")).collect();
    for (shapes, what) in [
        (with("edm_mean"), "is Playground v2.5"),
        (with("edm_vpred.sigma_max"), "is CosXL"),
        (inpainting, "an inpainting model of Stable Diffusion XL"),
        (refiner.collect(), "the refiner of Stable Diffusion XL"),
        (unet.collect(), "a UNet of Stable Diffusion XL without its text encoders"),
        (second, "holds no second text encoder (no tensor starts with conditioner.embedders.1.)"),
    ] {
        let error = error(&shapes);
        assert!(error.contains(what) && error.starts_with("a.safetensors: "), "{error}");
    }
}

/// The folder's numbers in a single file's names, as diffusers takes them back (`generate.py`).
fn single() -> Vec<u8> {
    let folder = folder();
    let components = components(&folder);
    let mut tensors = Vec::new();
    for (name, component, parts, how) in &NAMES.single {
        let stored = |part: &String| &components[component.as_str()].tensors[part];
        let read = |stored: &Stored| stored.read(&folder.sources).unwrap();
        let mut shape = stored(&parts[0]).info.shape.clone();
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| read(stored(part))).collect();
        match how.as_str() {
            "joined" => shape[0] *= 3,
            "pointwise" => shape.extend([1, 1]),
            "transposed" => {
                let (rows, columns) = (shape[0], shape[1]);
                let at = |row: usize, column: usize| 2 * (row * columns + column);
                let turned =
                    (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
                bytes = turned
                    .flat_map(|(row, column)| bytes[at(row, column)..][..2].to_vec())
                    .collect();
                shape.reverse();
            }
            _ => {}
        }
        tensors.push((name.clone(), "F16", shape, bytes));
    }
    // What ComfyUI and open_clip write beside them.
    let counter = (0..77i64).flat_map(i64::to_le_bytes).collect();
    let at = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids";
    tensors.push((at.into(), "I64", vec![1, 77], counter));
    let scale = 4.6f32.to_le_bytes().to_vec();
    tensors.push(("conditioner.embedders.1.model.logit_scale".into(), "F32", vec![], scale));
    safetensors(&tensors)
}

#[test]
fn a_single_file_is_the_folder_bit_for_bit() {
    let file = Rc::new(Bytes::new("tiny_xl.safetensors", single())) as Rc<dyn Source>;
    let mut opened = Checkpoint::open_with(vec![file], &Overrides::default()).unwrap();
    let whole = folder();
    // 32 groups and heads of 64 channels are what real ones have, and what no shape tells.
    let untold = [
        "attention_head_dim",
        "bos_token_id",
        "eos_token_id",
        "norm_num_groups",
        "num_attention_heads",
        "sample_size",
    ];
    let (ours, theirs) = (components(&opened), components(&whole));
    for (name, theirs) in theirs {
        let ours = ours[name];
        assert!(ours.tensors.keys().eq(theirs.tensors.keys()), "{name}");
        for (key, stored) in &ours.tensors {
            let other = &theirs.tensors[key];
            assert_eq!(matrix(&stored.info.shape), matrix(&other.info.shape), "{key}");
            let read = |stored: &Stored, from: &Checkpoint| stored.read_f32(&from.sources).unwrap();
            assert_eq!(read(stored, &opened), read(other, &whole), "{key}");
        }
        for (field, value) in ours.config.as_object().unwrap() {
            let other = &theirs.config[field];
            let same =
                value == other || value.as_f64().is_some_and(|it| Some(it) == other.as_f64());
            let listed = [&json!(["CLIPTextModel"]), &Value::Null].contains(&other);
            assert!(
                same || listed || untold.contains(&field.as_str()),
                "{name} {field}: {value}, {other}"
            );
        }
    }
    for (ours, theirs) in [
        (&mut opened.unet, &whole.unet),
        (&mut opened.text_encoder, &whole.text_encoder),
        (&mut opened.vae, &whole.vae),
    ] {
        ours.config.clone_from(&theirs.config);
    }
    let second = opened.text_encoder_2.as_mut().unwrap();
    second.config.clone_from(&whole.text_encoder_2.as_ref().unwrap().config);
    opened.tokenizer.clone_from(&whole.tokenizer);
    // Whose padding is set, since no file says it.
    assert_eq!(opened.tokenizer_2, None);
    let [ours, theirs] = [&opened, &whole].map(|checkpoint| Rc::new(load(checkpoint)));
    let drawn = [&ours, &theirs].map(|model| latents(model, settings("euler"), None));
    assert_eq!(drawn[0], drawn[1]);
}

#[test]
fn a_projection_under_transformers_name_is_taken_as_it_is() {
    let mut shapes = full();
    let shape = shapes.remove("conditioner.embedders.1.model.text_projection").unwrap();
    shapes.insert("conditioner.embedders.1.model.text_projection.weight".into(), shape);
    let opened = open("a.safetensors", &shapes).unwrap();
    let second = opened.text_encoder_2.unwrap();
    assert!(!second.tensors["text_projection.weight"].transposed);
}

#[test]
fn a_folder_of_xl_has_all_its_parts() {
    let paths = |leave_out: &str| {
        let root = support::path("tests/fixtures/sdxl/folder");
        let mut files: Vec<Rc<dyn Source>> = Vec::new();
        for sub in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
            let inner = if sub.is_dir() {
                std::fs::read_dir(&sub).unwrap().map(|entry| entry.unwrap().path()).collect()
            } else {
                vec![sub]
            };
            for file in inner {
                let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_string();
                if !name.starts_with(leave_out) {
                    files.push(Rc::new(Bytes::new(name, std::fs::read(file).unwrap())));
                }
            }
        }
        files
    };
    let error = Checkpoint::open(paths("text_encoder_2/")).err().unwrap().to_string();
    assert!(error.starts_with("text_encoder_2/config.json: is missing"), "{error}");
    // As the refiner's folder.
    let error = Checkpoint::open(paths("text_encoder/")).err().unwrap().to_string();
    assert!(error.contains("the refiner of Stable Diffusion XL"), "{error}");
    // The first one's tokenizer, with the padding of the second.
    let opened = Checkpoint::open(paths("tokenizer_2/")).unwrap();
    let model = load(&opened);
    let second = model.tokenizer_2.unwrap();
    assert_eq!(second.encode("fox").unwrap().ids[10], 0);
    assert_eq!(model.tokenizer.encode("fox").unwrap().ids[10], 999);
    let mut narrow = folder();
    narrow.text_encoder_2.as_mut().unwrap().config["projection_dim"] = 16.into();
    let error = StableDiffusion::check(&narrow, None).unwrap_err().to_string();
    assert!(error.contains("leaves 24 numbers for the pooled text"), "{error}");
}
