//! The project's two commands that do everything, `cargo xtask serve` and `cargo xtask test`, and
//! the smaller ones they are made of. Little but std, so that it compiles in seconds.

mod bench;
mod browser;
mod build;
mod cost;
mod memory;
mod offline;
mod others;
mod package;
mod policy;
mod preload;
mod race;
mod scripts;
mod server;
mod setup;
mod shaders;
mod shell;
mod split;
mod test;
mod version;
mod wasm;

use shell::{Result, root};

const HELP: &str = "\
Lorakeet's tasks

USAGE: cargo xtask COMMAND [OPTIONS]

  serve [--port N] [--open]   set up, build the page, serve it with the demo model
  build                       set up, build the page into dist/
  test [--page [--shots FOLDER]] [--native] [--web] [--e2e] [--built] [-- ARGS]
                              set up, run the tests: the page's scripts (types, rules, in Node.js what
                              needs no browser, and the page with a played engine), native, in
                              headless Chromium, and the real page end to end (all four unless some
                              are named); --shots writes pictures of every state of the page, on a
                              phone and at a desk, light and dark;
                              ARGS go to each `cargo test`, e.g. a test's name;
                              --built tests the page that lies in dist/
  test --full [-- FILTER]     SD 1.5 at full size, of random weights made on the spot: against PyTorch,
                              and through the real page, which fills the table in docs/full-size.md;
                              10 GB of memory, 9 GB of the disk, an hour on a software GPU; FILTER is
                              part of a name: `native`, `web_cpu`, `page_cpu_sizes`, `training`
  test [--kill] [--soak]      a hundred deaths of the tab or the browser while it draws and trains
                              (LORAKEET_KILLS, LORAKEET_KILL_SEED); 500 pictures and 2,000 steps in
                              one tab (LORAKEET_SOAK_PICTURES, LORAKEET_SOAK_STEPS)
  test --browsers             the page in Firefox and in WebKit: draw, adapter, slider, training, export;
                              installs Debian's firefox-esr, webkit2gtk-driver and xvfb where it may
  bench [--native] [--web] [--race] [--cost] [--release] [--built] [-- FILTER]
                              set up, print benchmarks: native, in headless Chromium on the CPU
                              backend and on WebGPU, and a race against onnxruntime-web there (these
                              three unless some are named); how a step grows with resolution, batch
                              and adapters, drawn into docs/ (on demand only; `cpu`, `webgpu`; or
                              `sd15-512`, a step of that on default limits);
                              FILTER is part of a name: `training`,
                              `inference`, `native`, `cpu`, `webgpu`; for the race `demo`, `block`,
                              `sd15`, `cpu`, `webgpu`.
                              Native ones use the build of the tests; --release makes another;
                              --built races the page that lies in dist/
  package [--built]           the engine as an npm package, of the built page: packed by npm and tried in an empty
                              project, in Chromium; --built takes the page that lies in dist/. Nothing is published
  fuzz [-- N]                 N (a million) hostile files through the readers, natively: no panic, no hang
                              over a second, memory bounded by the file; each is a function of its number
  ci                          rustfmt and clippy, then every test
  shaders OUT                 write the kernels' WGSL, as a real GPU gets it for SD 1.5, into a folder
  gpu [WORDS]                 what the compilers of real GPUs make of those kernels, with no GPU: registers,
                              spills, shares of multiply-adds, checked; fetches Mesa and Dawn (Debian
                              and its like, Node.js); of all kernels those that have a word in their name
  setup                       install what the page and its tests need, and nothing else
  cargo ARGS...               run cargo for the page's target, with its compiler and target folder
                              (`cargo xtask cargo check --lib`)

ENVIRONMENT
  LORAKEET_FUZZ_FROM   the number of the first of `fuzz`'s files (0)
  LORAKEET_TOOLS     where trunk, wasm-bindgen, wasm-opt and what checks scripts are kept (~/.cache/lorakeet/tools)
  CARGO_TARGET_DIR   build folder (target); what is built for the page lies in its folder wasm
  CHROME, CHROMEDRIVER   the browser of the tests and its driver, where they are not on PATH
";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Err(message) = run(&args) {
        eprintln!("\nerror: {message}");
        std::process::exit(1);
    }
}

fn run(args: &[String]) -> Result<()> {
    let (command, rest) = match args.split_first() {
        None => ("help", args),
        Some((command, rest)) => (command.as_str(), rest),
    };
    if !matches!(command, "cargo" | "test") && rest.iter().any(|a| a == "-h" || a == "--help") {
        print!("{HELP}");
        return Ok(());
    }
    std::env::set_current_dir(root()).map_err(|e| format!("{}: {e}", root().display()))?;
    match command {
        "help" | "-h" | "--help" => print!("{HELP}"),
        "serve" => serve(rest)?,
        "build" => {
            no_more(rest)?;
            build::page(&setup::page()?)?;
        }
        "test" => test::run(&test::Options::parse(rest)?)?,
        "bench" => bench::run(&bench::Options::parse(rest)?)?,
        "package" => package::run(rest)?,
        "fuzz" => test::fuzz(rest)?,
        "ci" => {
            no_more(rest)?;
            test::ci()?;
        }
        "shaders" => match rest {
            [out] => shaders::write(out.as_ref())?,
            _ => return Err("shaders needs one folder; see cargo xtask --help".into()),
        },
        "gpu" => offline::run(rest)?,
        "setup" => {
            no_more(rest)?;
            setup::page()?;
            browser::find_or_install()?;
        }
        "cargo" => shell::run(wasm::find_or_install()?.cargo_for_page(rest)?)?,
        other => return Err(format!("there is no command `{other}`\n\n{HELP}")),
    }
    Ok(())
}

fn no_more(rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(extra) => Err(format!("unexpected argument `{extra}`; see cargo xtask --help")),
    }
}

fn serve(args: &[String]) -> Result<()> {
    let (mut port, mut open) = (None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--port" => {
                let value = args.next().ok_or("--port needs a number")?;
                port = Some(value.parse().map_err(|_| format!("--port: not a port: {value}"))?);
            }
            "--open" => open = true,
            other => no_more(&[other.to_string()])?,
        }
    }
    // The port first: it would be a pity to find it taken after the build.
    let listener = server::bind(port)?;
    let dist = build::page(&setup::page()?)?;
    // The page's own files come from the source folder, so that an edit shows on reload; and the service
    // worker, which then keeps nothing, and takes away what an earlier build has left in the browser.
    let web = root().join("web");
    let worker = web.join(version::SCRIPT);
    let site = server::Site::new(dist).mount("web", web).mount(version::SCRIPT, worker);
    let url = server::url(&listener)?;
    println!("\nLorakeet is ready: {url}  (Ctrl-C stops it)");
    if open {
        browser::open(&url);
    }
    server::serve(&listener, site)
}
