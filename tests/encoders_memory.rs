//! Text encoder and autoencoder leave the device and come back: their memory is free in between,
//! and nothing else is changed by it. A process of its own, since it counts every allocation.

#[path = "support/counting.rs"]
mod counting;
mod support;
mod tiny;
mod tuning;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};

use burn::tensor::Device;
use lorakeet::adapters::kinds::{LoHa, LowRank};
use lorakeet::adapters::{AdapterModule, HostFactors, HostTensor, Part};
use lorakeet::error::{Error, Result};
use lorakeet::layers::Storage;
use lorakeet::noise::TorchGenerator;
use lorakeet::pipelines::{Limits, ModelReport, Phase, Settings, StableDiffusion, TextToImage};
use lorakeet::training::export::Request;
use lorakeet::training::trainer::read;
use lorakeet::training::{Config, Dataset, Picture, Preparation, Role, Trainer};
use lorakeet::weights::{Checkpoint, Source};
use serde_json::json;
use support::{path, picture, settings, values};
use tuning::{bits, config, evaluate, run, trainer};

/// One test at a time: the count is the whole process's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A file that tells how often it was read, and may be taken away.
struct Watched {
    file: Rc<dyn Source>,
    watch: Rc<Watch>,
}

#[derive(Default)]
struct Watch {
    reads: Cell<usize>,
    gone: Cell<bool>,
}

impl Source for Watched {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.watch.reads.set(self.watch.reads.get() + 1);
        if self.watch.gone.get() {
            return Err(Error::file(self.name(), "can't be read any more", "Drop it again"));
        }
        self.file.read(offset, buffer)
    }
}

/// The demo model from watched files.
fn demo() -> (Rc<StableDiffusion>, ModelReport, Rc<Watch>) {
    let mut checkpoint = Checkpoint::open_path(path("web/demo-model/model")).unwrap();
    let watch = Rc::new(Watch::default());
    for file in &mut checkpoint.sources {
        *file = Rc::new(Watched { file: file.clone(), watch: watch.clone() });
    }
    let (model, report) =
        StableDiffusion::load(&checkpoint, None, &Device::flex(), Storage::F32, &mut |_| {})
            .unwrap();
    (Rc::new(model), report, watch)
}

fn numbers(shape: &[usize], seed: u64) -> HostTensor {
    let data = TorchGenerator::new(seed).randn(shape.iter().product());
    HostTensor { shape: shape.to_vec(), data: data.into_iter().map(|x| 0.1 * x).collect() }
}

/// An adapter of the text encoder alone: LoRA on most layers, LoHa, which changes the weight itself,
/// on some.
fn text_adapter(model: &StableDiffusion) -> Vec<AdapterModule> {
    let sites = model.sites(Part::TextEncoder);
    let sites: Vec<_> = sites.iter().filter(|site| site.shape.len() > 1).collect();
    assert_eq!(sites.len(), 4 * 6, "those that aren't norms");
    let module = |(i, site): (usize, &&lorakeet::layers::Site)| {
        let [output, input] = site.matrix();
        let (rank, seed) = (2, 10 * i as u64);
        let factors = if i % 5 == 0 {
            HostFactors::LoHa(LoHa {
                w1_a: numbers(&[output, rank], seed),
                w1_b: numbers(&[rank, input], seed + 1),
                w2_a: numbers(&[output, rank], seed + 2),
                w2_b: numbers(&[rank, input], seed + 3),
            })
        } else {
            let down = numbers(&[rank, input], seed);
            HostFactors::LowRank(LowRank {
                down,
                mid: None,
                up: numbers(&[output, rank], seed + 1),
            })
        };
        let (part, path) = (Part::TextEncoder, site.path.clone());
        AdapterModule { part, path, factors, scale: 1.0, rank, alpha: None }
    };
    sites.iter().enumerate().map(module).collect()
}

fn few_steps() -> Settings {
    Settings { steps: 2, width: 64, height: 64, ..settings(0, "ddim") }
}

/// A picture, and what the text encoder itself makes of its prompt: the picture's comes from memory
/// the second time.
fn draw(model: &Rc<StableDiffusion>) -> Vec<u32> {
    let mut drawn = bits(&picture(model, few_steps()));
    let ids = [model.tokenizer.encode(&few_steps().prompt).unwrap().ids];
    let hidden = model.text_encoder().unwrap().forward(&ids).unwrap();
    drawn.extend(bits(&values(hidden)));
    drawn
}

fn branches(model: &StableDiffusion) -> usize {
    let sites = model.sites(Part::TextEncoder).iter();
    sites.map(|site| site.slot.branches().len()).sum()
}

#[test]
fn what_is_released_is_free() {
    let _turn = turn();
    let (model, report, watch) = demo();
    let id = model.attach_modules("text", text_adapter(&model)).unwrap();
    // Whatever the first picture makes for good is there.
    let first = draw(&model);
    let bytes: usize = ["text_encoder", "vae"]
        .iter()
        .flat_map(|name| report.components.iter().filter(move |part| part.component == **name))
        .map(|part| 4 * part.parameters as usize)
        .sum();
    let (before, reads) = (counting::held(), watch.reads.get());
    for round in 0..3 {
        let full = counting::held();
        model.release_encoders();
        let freed = full - counting::held();
        println!(
            "round {round}: {:.2} MiB of {:.2} freed",
            freed as f64 / f64::from(1 << 20),
            bytes as f64 / f64::from(1 << 20)
        );
        // The table of token embeddings stays f16, as it is in the file.
        assert!(freed * 10 >= bytes * 9, "{freed} of {bytes} bytes were freed");
        let empty = counting::held();
        model.release_encoders();
        assert_eq!(counting::held(), empty, "released twice is released once");
        assert_eq!(draw(&model), first, "round {round}");
    }
    assert!(watch.reads.get() > reads, "they were loaded again");
    let grown = counting::held().abs_diff(before);
    assert!(grown < bytes / 100, "{grown} bytes stay behind after three rounds");
    model.remove_adapter(id).unwrap();
}

/// At every moment, with an adapter that comes, changes or goes while its layers are away.
#[test]
fn pictures_and_adapters_are_as_before() {
    let _turn = turn();
    let (model, ..) = demo();
    let base = draw(&model);
    let modules = text_adapter(&model);
    let id = model.attach_modules("text", modules.clone()).unwrap();
    let with = draw(&model);
    assert_ne!(with, base, "the adapter changes the picture");
    model.set_adapter(id, true, 1.0, 0.4).unwrap();
    let weaker = draw(&model);
    assert!(weaker != with && weaker != base);

    model.release_encoders();
    assert_eq!(branches(&model), modules.len(), "they stay in their slots");
    assert_eq!(draw(&model), weaker, "the strength stays");
    model.release_encoders();
    model.set_adapter(id, true, 1.0, 1.0).unwrap();
    assert_eq!(draw(&model), with, "the strength moves while the layers are away");
    model.release_encoders();
    model.mute_adapters(true);
    assert_eq!(draw(&model), base);
    model.mute_adapters(false);
    assert_eq!(draw(&model), with);
    // What is set again acts, as the page sets those that it draws with.
    model.mute_adapters(true);
    model.set_adapter(id, true, 1.0, 1.0).unwrap();
    assert_eq!(draw(&model), with);

    // Off while away, and off after the return.
    model.release_encoders();
    model.remove_adapter(id).unwrap();
    assert_eq!(draw(&model), base);
    model.release_encoders();
    let other = model.attach_modules("text", modules).unwrap();
    assert_ne!(other, id);
    assert_eq!(draw(&model), with, "attached while the layers are away");
    model.remove_adapter(other).unwrap();
    assert_eq!(draw(&model), base);
    assert_eq!(branches(&model), 0);

    // In the middle of a picture.
    let Settings { width, height, .. } = few_steps();
    let stages = model.decode_plan(width, height, Limits::default()).unwrap().pieces();
    for moment in [Phase::Denoise, Phase::Decode] {
        let mut work = TextToImage::new(model.clone(), few_steps(), None).unwrap();
        let (mut decoded, mut fraction) = (0, 0.0);
        let picture = loop {
            if work.phase() == moment {
                model.release_encoders();
            }
            decoded += usize::from(work.phase() == Phase::Decode);
            let step = work.advance().unwrap();
            assert!(step.fraction >= fraction, "{step:?}");
            fraction = step.fraction;
            if let Some(picture) = step.picture {
                break bits(&values(picture));
            }
        };
        assert_eq!((decoded, fraction), (stages, 1.0));
        assert_eq!(picture, base[..picture.len()], "released while it was at {moment:?}");
    }
}

/// A model whose file is gone says so, draws no picture, and does when the file is back.
#[test]
fn a_file_that_is_gone_is_named() {
    let _turn = turn();
    let (model, _, watch) = demo();
    let id = model.attach_modules("text", text_adapter(&model)).unwrap();
    let before = draw(&model);
    model.release_encoders();
    watch.gone.set(true);
    let text = model.text_encoder().unwrap_err().to_string();
    assert!(text.contains("text_encoder/model.fp16.safetensors: can't be read any more"), "{text}");
    let vae = model.vae().unwrap_err().to_string();
    assert!(vae.contains("vae/diffusion_pytorch_model.fp16.safetensors"), "{vae}");
    let unheard = Settings { prompt: "a prompt of its own".into(), ..few_steps() };
    let mut work = TextToImage::new(model.clone(), unheard, None).unwrap();
    assert_eq!(work.advance().unwrap_err().to_string(), text);
    watch.gone.set(false);
    assert_eq!(work.advance().unwrap().phase, Phase::Text, "the same work goes on");
    assert_eq!(draw(&model), before);
    model.remove_adapter(id).unwrap();

    // Training is only ever told of the UNet's weights.
    let site = &model.sites(Part::TextEncoder)[0];
    let error = site.weight().unwrap_err().to_string();
    assert!(error.starts_with(&site.path) && error.contains("Train layers of the UNet"), "{error}");
    let site = &model.sites(Part::UNet)[0];
    assert_eq!(site.weight().unwrap().dims(), site.matrix());
}

/// Moving an adapter's slider needs the text encoder only where the adapter changes that.
#[test]
fn a_prompt_is_encoded_once_for_each_strength_in_the_text_encoder() {
    let _turn = turn();
    let (model, _, watch) = demo();
    let id = model.attach_modules("text", text_adapter(&model)).unwrap();
    let ids = [model.tokenizer.encode("blue cat face").unwrap().ids];
    let embeddings = || model.embeddings(&ids).map(|tensor| bits(&values(tensor)));
    let whole = embeddings().unwrap();
    model.set_adapter(id, true, 1.0, 0.5).unwrap();
    let half = embeddings().unwrap();
    assert_ne!(half, whole);

    model.release_encoders();
    watch.gone.set(true);
    for unet in [-1.0, 0.25, 2.0] {
        model.set_adapter(id, true, unet, 0.5).unwrap();
        assert_eq!(embeddings().unwrap(), half, "the UNet's strength is none of the prompt's");
    }
    model.set_adapter(id, true, 1.0, 1.0).unwrap();
    assert_eq!(embeddings().unwrap(), whole, "a strength that was there before");
    model.set_adapter(id, true, 1.0, 0.75).unwrap();
    assert!(embeddings().is_err(), "a new strength needs the text encoder");
    model.remove_adapter(id).unwrap();
    assert!(embeddings().is_err(), "so does the base, of which nothing is kept");
    watch.gone.set(false);
    let base = embeddings().unwrap();
    assert!(base != half && base != whole);
    let other = model.attach_modules("text", text_adapter(&model)).unwrap();
    watch.gone.set(true);
    model.release_encoders();
    assert!(embeddings().is_err(), "another adapter at the same strength is another one");
    model.set_adapter(other, false, 1.0, 1.0).unwrap();
    assert_eq!(embeddings().unwrap(), base, "switched off it is the base");
}

fn prepare(model: &Rc<StableDiffusion>, config: &Config, released: bool) -> Dataset {
    let pixel = |i: usize, seed: usize| ((i * (seed + 3)) % 251) as u8;
    let pictures = (0..2).map(|seed| {
        let rgba = (0..4 * 128 * 128).map(|i| if i % 4 == 3 { 255 } else { pixel(i, seed) });
        let caption = ["red apple", "blue cat face"][seed];
        Picture::new(caption, caption, Role::Train, [128, 128], rgba.collect()).unwrap()
    });
    let mut preparation = Preparation::new(model.clone(), pictures.collect(), config).unwrap();
    loop {
        if released {
            model.release_encoders();
        }
        let Some(tensor) = preparation.advance().unwrap() else { return preparation.finish() };
        preparation.conclude(&read(tensor).unwrap()).unwrap();
    }
}

#[test]
fn training_needs_neither_and_goes_on_bit_for_bit() {
    let _turn = turn();
    let (model, _, watch) = demo();
    let kinds = [
        json!({"kind": "lora", "targets": "attention", "rank": 2, "init": "pissa"}),
        json!({"kind": "loha", "targets": "attention", "rank": 2}),
    ];
    for mut json in kinds {
        json["steps"] = 4.into();
        json["learningRate"] = 0.001.into();
        let config = config(json);
        let dataset = prepare(&model, &config, false);
        assert_eq!(prepare(&model, &config, true), dataset, "they come back for a data set too");

        let text = model.attach_modules("text", text_adapter(&model)).unwrap();
        let before = draw(&model);
        let train = |trainer: &mut Trainer| -> Vec<u32> {
            run(trainer, 2);
            let mut numbers = trainer.adapter().parameters.clone();
            if trainer.finished() {
                let report = evaluate(trainer);
                numbers.extend([report.train.loss as f32, report.drift as f32]);
            }
            bits(&numbers)
        };
        let mut there = trainer(&model, &config, &dataset);
        let expected = [train(&mut there), train(&mut there)];

        model.release_encoders();
        let reads = watch.reads.get();
        let mut away = trainer(&model, &config, &dataset);
        assert_eq!(train(&mut away), expected[0]);
        assert_eq!(watch.reads.get(), reads, "training asks for no encoder");

        // A preview in between brings them back for itself, and the run doesn't notice.
        let id = model.attach_modules("preview", away.modules()).unwrap();
        let preview = draw(&model);
        assert_ne!(preview, before);
        model.remove_adapter(id).unwrap();
        let after = watch.reads.get();
        assert!(after > reads);
        model.release_encoders();
        assert_eq!(train(&mut away), expected[1]);
        let request: Request =
            serde_json::from_value(json!({"format": "kohya", "title": "spots"})).unwrap();
        assert!(!away.export(&request).unwrap().is_empty());
        assert_eq!(watch.reads.get(), after, "nor does the rest of the run");
        assert_eq!(draw(&model), before, "the text encoder's own adapter is as it was");
        model.remove_adapter(text).unwrap();
    }
}
