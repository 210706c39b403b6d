//! What `cargo xtask bench` measures, on any backend: natively (`benches/training.rs`) and in the
//! browser (`tests/bench_web.rs`). Variants take turns within one run, and each is measured next to a
//! plain forward pass, so that what slows the machine down slows both; what counts is their ratio.
//! Nothing here asserts a time.

mod block;
#[cfg(target_arch = "wasm32")]
mod cost;
mod decode;
mod host;
#[cfg(target_arch = "wasm32")]
mod kernels;
mod table;

#[path = "../../tests/support/demo.rs"]
mod demo;

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::estimate::Unet;
use lorakeet::training::{Config, Dataset, Role, Setup, Trainer, reference};
use lorakeet::weights::Bytes;
use serde_json::json;

pub use block::block;
#[cfg(target_arch = "wasm32")]
pub use cost::{cost, strength_change};
pub use decode::decode;
pub use host::print;
use host::{Meter, now};
#[cfg(target_arch = "wasm32")]
pub use kernels::kernels;
use table::{Table, mebi, quantile, ratio, time};

/// How much to measure where.
pub struct Plan {
    /// The backend, in words.
    pub backend: String,
    /// Pictures at once.
    pub batch: usize,
    /// Measured rounds; one more comes first, to warm up.
    pub rounds: usize,
    /// Of [`KINDS`], by name.
    pub kinds: &'static [&'static str],
}

/// Adapters by kind and targets; rank and alpha are 8.
const KINDS: [(&str, &str, &str); 6] = [
    ("LoRA, attention", "lora", "attention"),
    ("LoRA", "lora", "linear"),
    ("LoCon", "lora", "convolution"),
    ("DoRA", "dora", "linear"),
    ("LoHa", "loha", "linear"),
    ("LoKr", "lokr", "linear"),
];

/// Every kind.
pub const ALL: &[&str] = &["LoRA, attention", "LoRA", "LoCon", "DoRA", "LoHa", "LoKr"];

/// The light-tuning case's settings (`light.json`) for another kind; the learning rate is small, to
/// stay with usual numbers over any number of rounds.
fn config(kind: &str, targets: &str, batch: usize, checkpointing: &str) -> Config {
    let config = json!({
        "kind": kind, "targets": targets, "rank": 8, "alpha": 8, "learningRate": 1e-4,
        "warmup": 10, "schedule": "constant", "steps": 100_000, "batch": batch,
        "captionDropout": 0.1, "timesteps": "uniform", "clip": 1.0,
        "optimizer": {"name": "adamW", "betas": [0.9, 0.999], "eps": 1e-8, "weightDecay": 0.01},
        "checkpointing": checkpointing,
    });
    serde_json::from_value(config).unwrap()
}

async fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_async().await.unwrap().convert::<f32>().try_into_vec().unwrap()
}

fn dataset() -> Rc<Dataset> {
    Rc::new(reference::dataset(&Bytes::new("given.safetensors", demo::GIVEN), "").unwrap())
}

async fn trainer(model: &Rc<StableDiffusion>, config: Config, dataset: &Rc<Dataset>) -> Trainer {
    let mut setup = Setup::new(model.clone(), config, dataset.clone(), None).unwrap();
    while let Some(tensor) = setup.advance().unwrap() {
        setup.conclude(values(tensor).await).unwrap();
    }
    setup.finish().unwrap()
}

/// A forward pass of the UNet without a graph, on the first pictures of the data set.
struct Forward {
    latents: Tensor<4>,
    timesteps: Vec<f64>,
    context: Tensor<3>,
}

impl Forward {
    fn new(dataset: &Dataset, batch: usize, device: &Device) -> Self {
        let train = dataset.of(Role::Train);
        let examples: Vec<_> = train.iter().cycle().take(batch).collect();
        let [c, h, w] = examples[0].latents.shape;
        let [tokens, width] = dataset.text_shape;
        let latents: Vec<f32> = examples.iter().flat_map(|e| e.latents.mean.clone()).collect();
        let text: Vec<f32> = examples.iter().flat_map(|e| e.text.clone()).collect();
        Self {
            latents: Tensor::from_data(TensorData::new(latents, [batch, c, h, w]), device),
            timesteps: (0..batch).map(|i| 100.0 + (700 * i / batch) as f64).collect(),
            context: Tensor::from_data(TensorData::new(text, [batch, tokens, width]), device),
        }
    }

    async fn run(&self, model: &StableDiffusion) {
        let (latents, context) = (self.latents.clone(), self.context.clone());
        values(model.unet.forward(latents, &self.timesteps, context)).await;
    }
}

/// One variant's measurements.
#[derive(Default)]
struct Measured {
    /// Seconds, round by round.
    times: Vec<f64>,
    /// Of these, after the gradient was there: clipping and optimiser, on the host.
    host: Vec<f64>,
    /// Of the forward pass just before.
    base: Vec<f64>,
    /// Bytes above what there was before.
    peak: u64,
}

impl Measured {
    fn median(&self) -> String {
        time(quantile(&self.times, 0.5))
    }

    /// Over the forward passes before.
    fn ratio(&self) -> String {
        ratio(&self.times, &self.base)
    }
}

/// What a round is for. The first warms up: kernels are compiled, threads started.
struct Round {
    timed: bool,
    memory: bool,
}

impl Round {
    /// Memory of the process is counted in the last round, when nothing is new any more; a device's
    /// in the first, since emptying its pools takes time.
    fn all(plan: &Plan, device: &Device) -> impl Iterator<Item = Self> {
        let memory = if Meter::has_pools(device) { 0 } else { plan.rounds };
        (0..=plan.rounds).map(move |i| Self { timed: i > 0, memory: i == memory })
    }
}

async fn forward(round: &Round, forward: &Forward, model: &StableDiffusion, to: &mut Measured) {
    let meter = round.memory.then(|| Meter::start(model.device()));
    let start = now();
    forward.run(model).await;
    if round.timed {
        to.times.push(now() - start);
    }
    to.peak = meter.map_or(to.peak, |meter| meter.peak());
}

async fn step(round: &Round, trainer: &mut Trainer, device: &Device, to: &mut Measured) {
    let meter = round.memory.then(|| Meter::start(device));
    let start = now();
    let gradient = values(trainer.advance().unwrap()).await;
    let middle = now();
    let report = trainer.conclude(&gradient).unwrap().unwrap();
    assert!(!report.skipped_now, "a step came to NaN");
    if round.timed {
        to.times.push(now() - start);
        to.host.push(now() - middle);
    }
    to.peak = meter.map_or(to.peak, |meter| meter.peak());
}

fn print_table(table: &Table) {
    print("");
    table.lines().iter().for_each(|line| print(line));
}

fn rounds(plan: &Plan) -> String {
    match plan.rounds {
        1 => "measured once".into(),
        n => format!("medians of {n} rounds"),
    }
}

/// Training steps over forward passes: time and memory, in one piece and with checkpointing.
pub async fn training(device: &Device, plan: &Plan) {
    let model = Rc::new(demo::model(device));
    let dataset = dataset();
    let inputs = Forward::new(&dataset, plan.batch, device);
    let kinds = KINDS.iter().filter(|(name, ..)| plan.kinds.contains(name));
    // Checkpointing first: where memory only grows, the smaller need has to come first.
    let mut cases = Vec::new();
    for &(name, kind, targets) in kinds {
        let way = |checkpointing| config(kind, targets, plan.batch, checkpointing);
        let [_, h, w] = dataset.examples[0].latents.shape;
        let told =
            Unet::of(&model).total(&way("off"), [h, w], dataset.text_shape[0]).unwrap().passes;
        let ways = [
            trainer(&model, way("on"), &dataset).await,
            trainer(&model, way("off"), &dataset).await,
        ];
        // The same adapter once more, to be run without being trained.
        let id = model.attach_modules(name, ways[0].modules()).unwrap();
        model.set_adapter(id, false, 1.0, 1.0).unwrap();
        cases.push((name, ways, [(); 3].map(|()| Measured::default()), (id, told)));
    }

    let mut base = Measured::default();
    for round in Round::all(plan, device) {
        for (_, ways, [on, off, own], (id, _)) in &mut cases {
            for (trainer, measured) in ways.iter_mut().zip([on, off]) {
                forward(&round, &inputs, &model, &mut base).await;
                step(&round, trainer, device, measured).await;
                measured.base.extend(base.times.last());
            }
            model.set_adapter(*id, true, 1.0, 1.0).unwrap();
            forward(&round, &inputs, &model, own).await;
            model.set_adapter(*id, false, 1.0, 1.0).unwrap();
        }
    }

    let [_, _, h, w] = inputs.latents.dims();
    print(&format!("\n### Training, {}", plan.backend));
    print(&format!(
        "\nDemo model, batch {}, latents of {h}x{w}, rank 8; {}, in brackets the middle half. A \
         forward pass of the UNet without a graph takes {}; beside it a step is compared with such a \
         pass with the adapter. A step is forward, backward and AdamW; with checkpointing every block \
         is run twice, the second time without its convolutions and attention.",
        plan.batch,
        rounds(plan),
        base.median(),
    ));
    let mut table = Table::new(&[
        "adapter",
        "parameters",
        "step",
        "step / forward",
        "step / with the adapter",
        "on the host",
        "with checkpointing",
        "that / forward",
    ]);
    for (name, ways, [blocks, whole, own], _) in &cases {
        table.row([
            name.to_string(),
            ways[0].adapter().parameters.len().to_string(),
            whole.median(),
            whole.ratio(),
            ratio(&whole.times, &own.times),
            time(quantile(&whole.host, 0.5)),
            blocks.median(),
            blocks.ratio(),
        ]);
    }
    print_table(&table);

    if Meter::has_pools(device) {
        // Its tensors have buffers of their own, which are gone when a step is over.
        print(&format!(
            "\nMemory: a forward pass, {} by which the device's pools grew. What a step takes the \
             page counts, and a finished run says it.",
            mebi(base.peak)
        ));
        return;
    }
    print(&format!(
        "\nMemory: bytes allocated at the peak above what there was before. A forward pass: {}. \
         Told: by `training::estimate`.",
        mebi(base.peak)
    ));
    let head =
        ["adapter", "peak", "told / peak", "with checkpointing", "told / that", "that / peak"];
    let mut table = Table::new(&head);
    let over = |a: u64, b: u64| format!("{:.2}", a as f64 / b as f64);
    for (name, _, [blocks, whole, _], (_, told)) in &cases {
        table.row([
            name.to_string(),
            mebi(whole.peak),
            over(told.whole, whole.peak),
            mebi(blocks.peak),
            over(told.by_blocks, blocks.peak),
            over(blocks.peak, whole.peak),
        ]);
    }
    print_table(&table);
    print_linear_memory();
}

#[cfg(not(target_arch = "wasm32"))]
fn print_linear_memory() {}

#[cfg(target_arch = "wasm32")]
fn print_linear_memory() {
    print(&format!("\nThe tab's wasm memory is {} by now.", mebi(host::linear_memory())));
}

/// A forward pass with adapters attached over one without.
pub async fn inference(device: &Device, plan: &Plan) {
    let model = Rc::new(demo::model(device));
    let dataset = dataset();
    let inputs = Forward::new(&dataset, plan.batch, device);
    let file = |bytes| demo::add(&model, bytes, 1.0);
    let [ink, soft, night] = [demo::INK, demo::SOFT, demo::NIGHT].map(file);
    let mut cases = vec![
        ("ink, at strength 0".to_string(), vec![]),
        ("ink (LoRA)".into(), vec![ink]),
        ("soft (LoCon)".into(), vec![soft]),
        ("ink, soft and night".into(), vec![ink, soft, night]),
    ];
    for &(name, kind, targets) in KINDS.iter().filter(|(name, ..)| plan.kinds.contains(name)) {
        let trainer = trainer(&model, config(kind, targets, plan.batch, "off"), &dataset).await;
        let id = model.attach_modules(name, trainer.modules()).unwrap();
        cases.push((format!("{name}, rank 8"), vec![id]));
    }
    let mut large = config("lora", "attention", plan.batch, "off");
    (large.rank, large.alpha) = (16, 16.0);
    let trainer = trainer(&model, large, &dataset).await;
    let id = model.attach_modules("rank 16", trainer.modules()).unwrap();
    cases.push(("LoRA, attention, rank 16".into(), vec![id]));
    let ids: Vec<u64> = cases.iter().flat_map(|(_, ids)| ids.clone()).collect();
    let choose = |chosen: &[u64]| {
        for &id in &ids {
            model.set_adapter(id, chosen.contains(&id), 1.0, 1.0).unwrap();
        }
    };

    let mut base = Measured::default();
    let mut measured: Vec<Measured> = cases.iter().map(|_| Measured::default()).collect();
    for round in Round::all(plan, device) {
        for ((_, ids), measured) in cases.iter().zip(&mut measured) {
            choose(&[]);
            forward(&round, &inputs, &model, &mut base).await;
            choose(ids);
            forward(&round, &inputs, &model, measured).await;
            measured.base.extend(base.times.last());
        }
    }

    print(&format!("\n### Inference, {}", plan.backend));
    print(&format!(
        "\nDemo model, batch {}; a forward pass of the UNet without an adapter takes {} and {} of \
         memory at its peak; {}, in brackets the middle half.",
        plan.batch,
        base.median(),
        mebi(base.peak),
        rounds(plan),
    ));
    let mut table = Table::new(&["adapter", "forward pass", "over none"]);
    for ((name, _), measured) in cases.into_iter().zip(&measured) {
        table.row([name, measured.median(), measured.ratio()]);
    }
    print_table(&table);
    print_linear_memory();
}
