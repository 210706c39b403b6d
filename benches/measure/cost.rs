//! How a UNet step grows: with the picture's size, the batch, the adapters and their rank. `cargo
//! xtask bench --cost` draws what is printed here; and how long a moved slider takes to be heard.

use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use lorakeet::adapters::kinds::LowRank;
use lorakeet::adapters::{AdapterModule, HostFactors, HostTensor, Part};
use lorakeet::layers::Site;
use lorakeet::pipelines::{Phase, Settings, StableDiffusion, TextToImage};

use super::host::now;
use super::table::{Table, mebi, quantile, time};
use super::{Meter, Plan, demo, print, print_table, values};

const ADAPTERS: usize = 4;
const RANK: usize = 16;

/// One point of a curve.
struct Point {
    /// Which curve, and where on it.
    curve: &'static str,
    at: usize,
    /// Latents `[batch, 4, side, side]`.
    batch: usize,
    side: usize,
    /// Ranks of the adapters that are on.
    ranks: Vec<usize>,
    times: Vec<f64>,
    peak: u64,
}

/// Every point that is measured, smallest first; `sides` are those of the latents.
fn points(sides: &[usize]) -> Vec<Point> {
    let point = |curve, at, batch, side, ranks| Point {
        curve,
        at,
        batch,
        side,
        ranks,
        times: Vec::new(),
        peak: 0,
    };
    let size = |&side: &usize| point("resolution", 8 * side, 1, side, vec![]);
    let batch = |&batch: &usize| point("batch", batch, batch, 16, vec![]);
    // A guided step of the demo model's own size.
    let count = |count: usize| point("adapters", count, 2, 16, vec![RANK; count]);
    let rank = |&rank: &usize| point("rank", rank, 2, 16, vec![rank]);
    let mut points: Vec<Point> = sides.iter().map(size).collect();
    points.extend([1, 2, 4, 8].iter().map(batch));
    points.extend((0..=ADAPTERS).map(count));
    points.extend([4, 8, 16, 32, 64, 128].iter().map(rank));
    points
}

/// Numbers that are neither large nor zero.
fn factor(shape: Vec<usize>) -> HostTensor {
    let data = (0..shape.iter().product()).map(|i| (i as f32 * 1.7).sin() * 0.01).collect();
    HostTensor { shape, data }
}

/// A LoRA of this rank on every layer of the attention blocks that takes one: attention,
/// feed-forward, `proj_in` and `proj_out`; or on the whole text encoder.
fn lora(model: &StableDiffusion, part: Part, rank: usize) -> u64 {
    let named = |path: &str| part == Part::TextEncoder || path.contains(".attentions.");
    let wanted = |site: &&Site| site.shape.len() > 1 && named(&site.path);
    let modules = model.sites(part).iter().filter(wanted).map(|site| {
        let (mut down, mut up) = (site.shape.clone(), site.shape.clone());
        (down[0], up[1]) = (rank, rank);
        let (down, up) = (factor(down), factor(up));
        let factors = HostFactors::LowRank(LowRank { down, mid: None, up });
        AdapterModule { part, path: site.path.clone(), factors, scale: 1.0, rank, alpha: None }
    });
    model.attach_modules("LoRA", modules.collect()).unwrap()
}

/// Time and memory of a step at each point, in turns.
pub async fn cost(device: &Device, plan: &Plan, sides: &[usize]) {
    let model = Rc::new(demo::model(device));
    let mut points = points(sides);
    // The first round warms up, the last one counts memory, from emptied pools on a GPU.
    for round in 0..plan.rounds + 2 {
        for point in &mut points {
            // Attached only here: other points' factors would be in the way of what pools hold.
            let ids: Vec<u64> =
                point.ranks.iter().map(|&rank| lora(&model, Part::UNet, rank)).collect();
            let meter = (round > plan.rounds).then(|| Meter::start(device));
            let start = now();
            step(&model, point).await;
            if let Some(meter) = meter {
                point.peak = meter.peak();
            } else if round > 0 {
                point.times.push(now() - start);
            }
            for id in ids {
                model.remove_adapter(id).unwrap();
            }
        }
    }

    print(&format!("\n### How a step grows, {}", plan.backend));
    print(&format!(
        "\nThe demo model's UNet, one forward pass with reading back; medians of {} rounds in turns. \
         Resolution: batch 1; batch: at 128 px; adapters (LoRA of rank {RANK} on every layer of the \
         attention blocks) and the rank of one: at 128 px, batch 2. Memory: above what there was \
         before, at the peak.",
        plan.rounds
    ));
    let head = ["what", "at", "step", "middle half", "over the first", "memory", "over the first"];
    let mut table = Table::new(&head);
    let mut first: Option<(&str, f64, u64)> = None;
    for point in &points {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(&point.times, share));
        let (_, base, memory) = match first {
            Some(first) if first.0 == point.curve => first,
            _ => *first.insert((point.curve, median, point.peak)),
        };
        table.row([
            point.curve.into(),
            point.at.to_string(),
            time(median),
            format!("{} to {}", time(low), time(high)),
            format!("{:.2}", median / base),
            mebi(point.peak),
            format!("{:.2}", point.peak as f64 / memory as f64),
        ]);
    }
    print_table(&table);
    print("");
    for point in &points {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(&point.times, share));
        // For xtask, which draws it.
        let Point { curve, at, peak, .. } = point;
        print(&format!("cost\t{curve}\t{at}\t{median}\t{low}\t{high}\t{peak}"));
    }
}

async fn step(model: &StableDiffusion, point: &Point) {
    let config = model.unet.config();
    let shape = [point.batch, config.in_channels, point.side, point.side];
    let latents = Tensor::<4>::zeros(shape, model.device()) + 0.3;
    let context = [point.batch, 77, config.cross_attention_dim];
    let context = Tensor::<3>::zeros(context, model.device()) + 0.1;
    let times = vec![501.0; point.batch];
    values(model.unet.forward(latents, &times, context)).await;
}

/// From a new strength to the first step of the new picture: all of our own work in between, the
/// prompt's embedding among it.
pub fn strength_change(device: &Device, plan: &Plan) {
    let model = Rc::new(demo::model(device));
    let unet = lora(&model, Part::UNet, RANK);
    let text = lora(&model, Part::TextEncoder, RANK);
    let mut table = Table::new(&["what changes", "128 px", "512 px"]);
    for (name, case) in
        [("the UNet's strength", 0), ("the text encoder's too", 1), ("the prompt", 2)]
    {
        let row = [128, 512].map(|size| {
            let times: Vec<f64> = (0..=plan.rounds)
                .map(|round| {
                    let strength = 0.1 + 0.01 * round as f32;
                    let prompt = match case {
                        2 => format!("blue cat face number {round} of {size}"),
                        _ => "blue cat face".into(),
                    };
                    let start = now();
                    model.set_adapter(unet, true, strength, 0.0).unwrap();
                    let text_strength =
                        if case == 1 { strength + size as f32 / 1024.0 } else { 1.0 };
                    model.set_adapter(text, true, 0.0, text_strength).unwrap();
                    let mut work = TextToImage::new(model.clone(), settings(prompt, size), None);
                    let work = work.as_mut().unwrap();
                    while work.phase() == Phase::Text {
                        work.advance().unwrap();
                    }
                    now() - start
                })
                .collect();
            // The first is the first of its prompt.
            time(quantile(&times[1..], 0.5))
        });
        table.row([name.to_string()].into_iter().chain(row));
    }
    print(&format!("\n### From a new strength to the first step, {}", plan.backend));
    print(&format!("\nDemo model, guided, medians of {} each.", plan.rounds));
    print_table(&table);
}

fn settings(prompt: String, size: usize) -> Settings {
    Settings {
        prompt,
        steps: 20,
        guidance: 4.0,
        seed: 11,
        scheduler: None,
        width: size,
        height: size,
        ..Settings::default()
    }
}
