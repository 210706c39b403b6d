//! `cargo xtask bench --cost`: how a step's time and memory grow. `tests/bench_web.rs` measures in
//! headless Chromium; here its tables are passed on and its points drawn, as SVG in docs/.

use crate::race::{Facts, Host, number};
use crate::shell::{Result, root, say};
use crate::{browser, build, setup, test};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

mod plot;
use plot::{Figure, Panel, Point, Unit};

/// Engines, as words of a filter, with what the figure is headed by.
const ENGINES: [(&str, &str); 2] =
    [("cpu", "CPU backend in Chromium, one thread"), ("webgpu", "WebGPU in Chromium")];

/// A curve by the name that the benchmark gives it: its title, its axis, and, where it is drawn beside
/// a line in proportion to pixels or pictures, the power of that in what the axis shows.
type Curve = (&'static str, &'static str, &'static str, Option<i32>);

const CURVES: [Curve; 4] = [
    ("resolution", "Resolution", "pixels a side", Some(2)),
    ("batch", "Batch", "pictures at once, 128 px", Some(1)),
    ("adapters", "Adapters", "LoRAs of rank 16, batch 2", None),
    ("rank", "Rank", "of one LoRA, batch 2", None),
];

/// Points by curve.
type Points = BTreeMap<String, Vec<Measured>>;

/// One point: seconds (median, middle half) and bytes.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    at: f64,
    seconds: [f64; 3],
    bytes: f64,
}

/// SD 1.5's UNet at its own size, which is measured where it is named.
const LARGE: &str = "sd15-512";

/// Measures on the engines that `filter` names, all unless it names one, and writes
/// `docs/cost-ENGINE.svg`. With `built`, the page for [`LARGE`] is the one in dist/.
pub fn run(filter: &[String], built: bool) -> Result<()> {
    let tools = setup::page()?;
    let browser = browser::find_or_install()?;
    if filter.iter().any(|word| word == LARGE) {
        let dist = if built { root().join("dist") } else { build::page(&tools)? };
        return large(&Host::open(&browser, dist, &setup::rival()?)?);
    }
    let named = |engine: &&(&str, &str)| filter.iter().any(|word| word == engine.0);
    let mut engines: Vec<_> = ENGINES.iter().filter(named).collect();
    if engines.is_empty() {
        engines = ENGINES.iter().collect();
    }
    for (engine, title) in engines {
        say(format!("how a step grows: {title}"));
        let name = format!("cost_{engine}");
        let args = ["--", "--include-ignored", "--nocapture", &name].map(String::from);
        let mut command = test::in_browser_command("bench_web", 3 * 3600, &tools, &browser, &args)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cargo: {e}"))?;
        let mut points = Points::new();
        for line in BufReader::new(child.stdout.take().ok_or("cargo: no output")?).lines() {
            let line = line.map_err(|e| format!("cargo: {e}"))?;
            match point(&line) {
                Some((curve, measured)) => points.entry(curve).or_default().push(measured),
                None => println!("{line}"),
            }
        }
        let status = child.wait().map_err(|e| format!("cargo: {e}"))?;
        if !status.success() || points.is_empty() {
            return Err(format!("{name} failed: {status}"));
        }
        let file = root().join("docs").join(format!("cost-{engine}.svg"));
        std::fs::write(&file, figure(title, &points).svg())
            .map_err(|e| format!("{}: {e}", file.display()))?;
        say(format!("drawn into {}", file.display()));
    }
    Ok(())
}

/// One step of SD 1.5's UNet for 512x512 pixels on a GPU with WebGPU's default limits, in a browser
/// of its own.
fn large(host: &Host) -> Result<()> {
    let plan = "least=1&most=1&seconds=0&memory&gpu=default-limits";
    let facts = host.session(&format!("race={LARGE}&sides=ours-webgpu&{plan}"));
    let of = |facts: &Facts, name: &str| number(facts, &format!("ours-webgpu {name}"));
    let (Some(step), Some(first)) = (of(&facts, "times"), of(&facts, "first")) else {
        let why = facts.get("ours-webgpu failed").or(facts.get("failed"));
        return Err(format!("{LARGE}: {}", why.map_or("no figures", String::as_str)));
    };
    let mebi = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    let load = of(&facts, "load").unwrap_or(f64::NAN);
    let flops = number(&facts, "flops").unwrap_or(f64::NAN);
    let memory = ["memory-peak", "memory-before"].map(|name| number(&facts, name));
    let memory = match memory {
        [Some(peak), Some(before)] if peak > 0.0 => mebi(peak - before),
        _ => "not told here".into(),
    };
    println!(
        "\nOne step of SD 1.5's UNet, latents 64x64, batch 1, weights and arithmetic in f32, on {} \
         with WebGPU's default limits\n\n\
         | load | first step | step | GFLOP/s | memory | largest binding | dispatches | submissions |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|\n\
         | {load:.1} s | {first:.1} s | {step:.1} s | {:.2} | {memory} | {} | {} | {} |\n\n\
         The memory is that of all the browser's processes at the peak, above what they had when only \
         the file of weights ({}) was there.",
        facts.get("adapter").map_or("unknown", String::as_str),
        flops / step / 1e9,
        mebi(of(&facts, "binding").unwrap_or(f64::NAN)),
        of(&facts, "dispatches").unwrap_or(f64::NAN),
        of(&facts, "submissions").unwrap_or(f64::NAN),
        mebi(number(&facts, "weights").unwrap_or(f64::NAN)),
    );
    Ok(())
}

/// A point in a line of the benchmark: `cost`, curve, place, three times, bytes, between tabs.
fn point(line: &str) -> Option<(String, Measured)> {
    let mut fields = line.split_once("cost\t")?.1.trim_end().split('\t');
    let curve = fields.next()?.to_string();
    let numbers: Vec<f64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let [at, median, low, high, bytes] = numbers[..] else { return None };
    Some((curve, Measured { at, seconds: [median, low, high], bytes }))
}

/// Two rows of panels: times above, memory below.
fn figure(title: &str, points: &Points) -> Figure {
    let seconds = |m: &Measured| m.seconds;
    let bytes = |m: &Measured| [m.bytes; 3];
    let row = |value: &dyn Fn(&Measured) -> [f64; 3]| -> Vec<Panel> {
        CURVES.iter().filter_map(|curve| panel(curve, points, value)).collect()
    };
    let rows = [
        ("Time of a step", Unit::Seconds, row(&seconds)),
        ("Memory of a step", Unit::Bytes, row(&bytes)),
    ];
    Figure { title: title.into(), rows }
}

fn panel(
    &(name, title, axis, power): &Curve,
    points: &Points,
    value: &dyn Fn(&Measured) -> [f64; 3],
) -> Option<Panel> {
    let points_of = |name| {
        let point = |m: &Measured| Point { x: m.at, y: value(m) };
        points.get(name).map(|all: &Vec<Measured>| all.iter().map(point).collect::<Vec<_>>())
    };
    let points = points_of(name)?;
    let (first, last) = (points.first()?, points.last()?);
    let beside = match power {
        Some(power) => [first, last].map(|p| (p.x, first.y[0] * (p.x / first.x).powi(power))),
        // Beside the same step without an adapter.
        None => {
            let without = points_of("adapters")?.first()?.y[0];
            [first, last].map(|p| (p.x, without))
        }
    };
    let logarithmic = [power.is_some() || name == "rank", power.is_some()];
    Some(Panel { title, axis, logarithmic, points, beside })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_told_from_other_lines() {
        let line = "    cost\tbatch\t4\t0.25\t0.2\t0.3\t1048576";
        let measured = Measured { at: 4.0, seconds: [0.25, 0.2, 0.3], bytes: 1048576.0 };
        assert_eq!(point(line), Some(("batch".into(), measured)));
        for line in ["", "cost", "cost\tbatch\t4\tNaN?\t1\t1\t1", "cost\tbatch\t4\t1", "| cost |"] {
            assert_eq!(point(line), None, "{line}");
        }
    }

    #[test]
    fn a_figure_holds_every_curve_twice_with_the_line_beside() {
        let measured = |at: f64, seconds: f64| Measured { at, seconds: [seconds; 3], bytes: 1e6 };
        let curve = |name: &str, ats: &[f64]| {
            (name.to_string(), ats.iter().map(|&at| measured(at, at)).collect())
        };
        let points = Points::from([
            curve("resolution", &[128.0, 256.0]),
            curve("batch", &[1.0, 2.0]),
            curve("adapters", &[0.0, 1.0]),
            curve("rank", &[4.0, 128.0]),
        ]);
        let figure = figure("here", &points);
        let [(_, _, times), (_, _, memory)] = &figure.rows;
        assert_eq!((times.len(), memory.len()), (4, 4));
        assert_eq!(times[0].beside, [(128.0, 128.0), (256.0, 512.0)], "in proportion to pixels");
        assert_eq!(times[3].beside, [(4.0, 0.0), (128.0, 0.0)], "without an adapter");
        let svg = figure.svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<circle").count(), 2 * 8 + 1, "every point, and the key's");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
