//! The benchmarks: `benches/training.rs` natively, `tests/bench_web.rs` in headless Chromium. They
//! print tables and judge nothing; no test and no CI runs them.

use crate::shell::{Result, cargo, run as run_command, say};
use crate::{browser, setup, test};

/// What to measure where.
pub struct Options {
    native: bool,
    web: bool,
    release: bool,
    filter: Vec<String>,
}

impl Options {
    pub fn parse(args: &[String]) -> Result<Self> {
        let split = args.iter().position(|a| a == "--").unwrap_or(args.len());
        let mut options = Self { native: false, web: false, release: false, filter: Vec::new() };
        for arg in &args[..split] {
            match arg.as_str() {
                "--native" => options.native = true,
                "--web" => options.web = true,
                "--release" => options.release = true,
                other => {
                    return Err(format!("bench: unknown option `{other}`; see cargo xtask --help"));
                }
            }
        }
        options.filter = args.iter().skip(split + 1).cloned().collect();
        if !(options.native || options.web) {
            (options.native, options.web) = (true, true);
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
        let mut args = ["--", "--include-ignored", "--nocapture"].map(String::from).to_vec();
        args.extend_from_slice(&options.filter);
        test::in_browser("bench_web", 3 * 3600, &tools, &browser, &args)?;
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
    fn both_hosts_are_measured_unless_one_is_named() {
        for (line, native, web) in
            [("", true, true), ("--native", true, false), ("--web -- webgpu", false, true)]
        {
            let options = parse(line).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((options.native, options.web), (native, web), "{line}");
        }
        assert_eq!(parse("-- a b").map(|options| options.filter), Ok(vec!["a".into(), "b".into()]));
        assert!(parse("--e2e").is_err());
    }
}
