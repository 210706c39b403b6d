//! The benchmarks: `benches/training.rs` natively, `tests/bench_web.rs` in headless Chromium, and the
//! race against onnxruntime-web there; on demand, how a step grows. They print tables; no test and no CI runs them.

use crate::shell::{Result, cargo, run as run_command, say};
use crate::{browser, cost, race, setup, test};

/// What to measure where.
#[derive(Default)]
pub struct Options {
    native: bool,
    web: bool,
    race: bool,
    cost: bool,
    built: bool,
    release: bool,
    filter: Vec<String>,
}

impl Options {
    pub fn parse(args: &[String]) -> Result<Self> {
        let split = args.iter().position(|a| a == "--").unwrap_or(args.len());
        let mut options = Self::default();
        for arg in &args[..split] {
            match arg.as_str() {
                "--native" => options.native = true,
                "--web" => options.web = true,
                "--race" => options.race = true,
                "--cost" => options.cost = true,
                "--built" => options.built = true,
                "--release" => options.release = true,
                other => {
                    return Err(format!("bench: unknown option `{other}`; see cargo xtask --help"));
                }
            }
        }
        options.filter = args.iter().skip(split + 1).cloned().collect();
        if !(options.native || options.web || options.race || options.cost) {
            (options.native, options.web, options.race) = (true, true, true);
        }
        Ok(options)
    }
}

/// Runs the benchmarks.
pub fn run(options: &Options) -> Result<()> {
    if options.native {
        say("native benchmarks");
        // `cargo bench` would build everything once more, in another profile. The tests' own has the
        // dependencies optimised already.
        let mut bench = cargo();
        bench.args(["test", "--bench", "training"]);
        if options.release {
            bench.arg("--release");
        }
        bench.arg("--").args(&options.filter);
        run_command(bench)?;
    }
    if options.web {
        let tools = setup::page()?;
        let browser = browser::find_or_install()?;
        say("benchmarks in the browser (WebGPU takes a quarter of an hour on a software GPU)");
        let words = ["--", "--include-ignored", "--nocapture", "--skip", "cost_"];
        let mut args = words.map(String::from).to_vec();
        args.extend_from_slice(&options.filter);
        test::in_browser("bench_web", 3 * 3600, &tools, &browser, &args)?;
    }
    // A filter for the other benchmarks is none of the race's business.
    if options.race && race::wants(&options.filter) {
        race::run(&options.filter, options.built)?;
    }
    if options.cost {
        cost::run(&options.filter, options.built)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn all_are_measured_unless_some_are_named() {
        for (line, wanted) in [
            ("", [true, true, true, false]),
            ("--native", [true, false, false, false]),
            ("--web -- webgpu", [false, true, false, false]),
            ("--race --web", [false, true, true, false]),
            ("--cost -- cpu", [false, false, false, true]),
        ] {
            let options = parse(line).unwrap_or_else(|e| panic!("{e}"));
            let Options { native, web, race, cost, .. } = options;
            assert_eq!([native, web, race, cost], wanted, "{line}");
        }
        assert_eq!(parse("-- a b").map(|options| options.filter), Ok(vec!["a".into(), "b".into()]));
        assert!(parse("--e2e").is_err());
    }
}
