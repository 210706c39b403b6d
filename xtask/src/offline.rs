//! `cargo xtask gpu`: what the compilers of real GPUs make of the kernels, with no GPU. The table in
//! docs/performance.md is its output, and what it has to hold is checked.

mod read;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shaders;
use crate::shell::{Result, say, target_dir};
use read::Figures;
use tools::{Compilers, Driver};

/// A GPU that Mesa compiles for.
struct Gpu {
    name: &'static str,
    /// What is resident at once.
    residents: &'static str,
    driver: Driver,
    read: fn(&str) -> Option<Figures>,
}

const GPUS: [Gpu; 5] = [
    Gpu {
        name: "Apple M1",
        residents: "threads",
        driver: Driver {
            name: "asahi",
            shim: "asahi",
            environment: &[("AGX_MESA_DEBUG", "shaderdb,shaders")],
        },
        read: read::apple,
    },
    Gpu {
        name: "NVIDIA GA102",
        residents: "warps",
        driver: Driver {
            name: "nouveau",
            shim: "nouveau",
            environment: &[("NAK_DEBUG", "print"), ("NOUVEAU_CHIPSET", "172")],
        },
        read: read::nvidia,
    },
    Gpu {
        name: "Adreno 740",
        residents: "waves",
        driver: Driver {
            name: "freedreno",
            shim: "freedreno",
            environment: &[("IR3_SHADER_DEBUG", "cs"), ("FD_GPU_ID", "740")],
        },
        read: read::qualcomm,
    },
    Gpu {
        name: "AMD RDNA2",
        residents: "waves",
        driver: Driver {
            name: "radeon",
            shim: "amdgpu",
            environment: &[("RADV_DEBUG", "shaderstats,asm,nocache"), ("AMDGPU_GPU_ID", "navi21")],
        },
        read: read::amd,
    },
    Gpu {
        name: "AMD RDNA3",
        residents: "waves",
        driver: Driver {
            name: "radeon",
            shim: "amdgpu",
            environment: &[("RADV_DEBUG", "shaderstats,asm,nocache"), ("AMDGPU_GPU_ID", "navi31")],
        },
        read: read::amd,
    },
];

/// The kernels of the table: by far most of the work of a picture and of training.
const KERNELS: [&str; 33] = [
    "linear-f32-8192x320x320",
    "linear-halves-8192x320x320",
    "linear-f16-8192x320x320",
    "linear-8-bit-8192x320x320",
    "lora-f32-8192x320x320",
    "linear-gradient-f32-8192x320x320",
    "point-f32-320x4096x320",
    "point-gradient-f32-320x4096x320",
    "conv-f32-320x320x64",
    "conv-halves-320x320x64",
    "conv-f16-320x320x64",
    "conv-8-bit-320x320x64",
    "conv-down-f32-320x320x32",
    "conv-up-f32-320x320x64",
    "conv-gradient-f32-320x320x64",
    "conv-down-gradient-f32-320x320x64",
    "conv-f32-320x4x64",
    "conv-weight-gradient-320x16x64",
    "attention-40-4096x4096",
    "attention-64-4096x4096",
    "attention-80-1024x1024",
    "attention-160-256x256",
    "attention-dq-40-4096x4096",
    "attention-dq-64-4096x4096",
    "attention-dq-80-1024x1024",
    "attention-dq-160-256x256",
    "attention-dkv-40-4096x4096",
    "attention-dkv-64-4096x4096",
    "attention-dkv-80-1024x1024",
    "attention-dkv-160-256x256",
    "group-norm-64x10x4096",
    "layer-norm-8192x320x1",
    "geglu-8192x1280",
];

/// Compiles the kernels, prints the table and checks it. With `words`, of all kernels those whose names
/// have one of them.
pub fn run(words: &[String]) -> Result<()> {
    let compilers = Compilers::find_or_fetch()?;
    let out = target_dir().join("gpu");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    }
    let written = shaders::files(&out)?;
    // Each source once, by the name of its file.
    let names = written.iter().map(|row| row.name.as_str());
    let names = names.zip(&written).filter(|(name, row)| row.file == format!("{name}.wgsl"));
    let wanted = |name: &str| {
        if words.is_empty() {
            KERNELS.contains(&name)
        } else {
            words.iter().any(|w| name.contains(w))
        }
    };
    let mut kernels: Vec<_> = names.map(|(name, _)| name).filter(|name| wanted(name)).collect();
    kernels.sort_by_key(|name| KERNELS.iter().position(|kernel| kernel == name));
    if kernels.is_empty() || words.is_empty() && kernels.len() != KERNELS.len() {
        return Err(format!(
            "of these kernels there are only {kernels:?}; see cargo xtask shaders"
        ));
    }
    let mut table = Vec::new();
    for gpu in &GPUS {
        say(format!("compiling {} kernels for {}", kernels.len(), gpu.name));
        table.push(figures(&compilers, gpu, &kernels, &out)?);
    }
    let workgroups = |name: &str| {
        let row = written.iter().find(|row| row.name == name);
        row.map_or(0, |row| row.workgroups.iter().product())
    };
    let rows: Vec<_> = kernels.iter().map(|name| (*name, workgroups(name))).collect();
    print(&compilers.version()?, &rows, &table);
    say(format!("what the compilers printed lies in {}", out.display()));
    let broken: Vec<_> = GPUS.iter().zip(&table).flat_map(|(gpu, of)| broken(gpu, of)).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// What a GPU's compiler says of each kernel. A kernel that needs what the GPU lacks isn't there.
fn figures(
    compilers: &Compilers,
    gpu: &Gpu,
    kernels: &[&str],
    out: &Path,
) -> Result<BTreeMap<String, Figures>> {
    let files: Vec<PathBuf> = kernels.iter().map(|name| out.join(format!("{name}.wgsl"))).collect();
    let text = compilers.compile(gpu.driver, &files, &out.join(format!("{}.txt", gpu.name)))?;
    let mut all = BTreeMap::new();
    for part in text.split("\n@@@ ").skip(1) {
        let (file, printed) = part.split_once('\n').unwrap_or((part, ""));
        let name = Path::new(file.trim()).file_stem().unwrap_or_default().to_string_lossy();
        if let Some((_, error)) = printed.split_once("\n@@@error ") {
            // Mesa's driver for NVIDIA has no shader-f16.
            let error = error.lines().next().unwrap_or_default();
            say(format!("{name} isn't compiled for {}: {error}", gpu.name));
            continue;
        }
        let read = (gpu.read)(printed);
        let read = read.ok_or(format!("{}'s compiler said nothing of {name}", gpu.name))?;
        all.insert(name.into_owned(), read);
    }
    Ok(all)
}

/// Kernels with their workgroups, and what each GPU's compiler says of them.
fn print(version: &str, kernels: &[(&str, u32)], table: &[BTreeMap<String, Figures>]) {
    println!("\nMesa {version}\n");
    let heads = GPUS.iter().map(|gpu| format!("{}: registers / {}", gpu.name, gpu.residents));
    println!("| kernel | workgroups | {} |", heads.collect::<Vec<_>>().join(" | "));
    println!("|---|--:|{}", "--:|".repeat(GPUS.len()));
    for (kernel, workgroups) in kernels {
        let cells = table.iter().map(|of| of.get(*kernel).map_or("-".into(), cell));
        println!("| {kernel} | {workgroups} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

fn cell(figures: &Figures) -> String {
    let Figures { registers, resident, spills, share, reads } = figures;
    let mut text = format!("{registers} / {resident}");
    if let Some(spills) = spills.filter(|spills| *spills > 0) {
        text += &format!(", **{spills} spilled**");
    }
    if let Some(share) = share {
        text += &format!(", {:.0} %", 100.0 * share);
    }
    if let Some(reads) = reads {
        text += &format!(", {reads} read");
    }
    text
}

/// What a kernel has to hold on a GPU: the most spills, the fewest threads of Apple's, and the least
/// share of multiply-adds there and among AMD's vector instructions.
struct Bar {
    spills: u32,
    threads: u32,
    shares: [f64; 2],
}

fn bar(kernel: &str) -> Bar {
    let begins = |words: &[&str]| words.iter().any(|word| kernel.starts_with(word));
    let plain = Bar { spills: 0, threads: 512, shares: [0.0; 2] };
    // Two sums and what they are made of take more registers than one.
    if begins(&["attention-dkv"]) {
        return Bar { threads: 448, ..plain };
    }
    let shares = match kernel {
        "linear-f32-8192x320x320" => [0.55, 0.9],
        "conv-f32-320x320x64" => [0.6, 0.9],
        _ => [0.0; 2],
    };
    Bar { shares, ..plain }
}

fn broken(gpu: &Gpu, of: &BTreeMap<String, Figures>) -> Vec<String> {
    let mut broken = Vec::new();
    let (apple, amd) = (gpu.driver.name == "asahi", gpu.driver.name == "radeon");
    for (kernel, Figures { resident, spills, share, .. }) in of {
        let bar = bar(kernel);
        let mut check = |holds: bool, what: String| {
            if !holds {
                broken.push(format!("{kernel} on {}: {what}", gpu.name));
            }
        };
        let spills = spills.unwrap_or(0);
        check(spills <= bar.spills, format!("{spills} registers spill, at most {}", bar.spills));
        check(
            !apple || *resident >= bar.threads,
            format!("{resident} threads, at least {}", bar.threads),
        );
        let least = [(apple, bar.shares[0]), (amd, bar.shares[1])];
        let least = least.into_iter().find(|(here, _)| *here).map_or(0.0, |(_, least)| least);
        let share = share.unwrap_or(0.0);
        check(share >= least, format!("{share:.2} of the loop multiply-adds, at least {least}"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_below_a_bar_is_named() {
        let good = Figures {
            registers: 99,
            resident: 1024,
            spills: Some(0),
            share: Some(0.56),
            reads: None,
        };
        let of = |figures| BTreeMap::from([("linear-f32-8192x320x320".to_string(), figures)]);
        assert_eq!(broken(&GPUS[0], &of(good)), [""; 0]);
        assert_eq!(broken(&GPUS[3], &of(good)).len(), 1);
        let bad = Figures { resident: 500, spills: Some(1), share: Some(0.5), ..good };
        assert_eq!(broken(&GPUS[0], &of(bad)).len(), 3);
        assert_eq!(cell(&bad), "99 / 500, **1 spilled**, 50 %");
        assert_eq!(cell(&Figures { reads: Some(10), ..good }), "99 / 1024, 56 %, 10 read");
    }

    #[test]
    fn the_tables_kernels_are_written() {
        let out = std::env::temp_dir().join(format!("lorakeet-shaders-{}", std::process::id()));
        let files = shaders::files(&out).unwrap();
        for kernel in KERNELS {
            assert!(files.iter().any(|row| row.file == format!("{kernel}.wgsl")), "{kernel}");
        }
        fs::remove_dir_all(out).unwrap();
    }
}
