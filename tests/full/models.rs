//! The files that the page is given. They lie in the target folder and are written once.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lorakeet::weights::Source;

use crate::random_model::{self, Numbers};

const PIECE: u64 = 1 << 22;

/// Where they lie.
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("LORAKEET_FULL_SIZE");
    PathBuf::from(folder.expect("LORAKEET_FULL_SIZE isn't set: run cargo xtask test --full"))
}

/// 2.13 GB, in ldm names.
pub fn halves() -> PathBuf {
    let name = "random-f16.safetensors";
    written(&folder().join(name), &random_model::single_file(name, Numbers::F16))
}

/// 4.40 GB, so that tensors lie past 4 GiB; the same numbers.
pub fn whole() -> PathBuf {
    let name = "random-f32.safetensors";
    written(&folder().join(name), &random_model::single_file(name, Numbers::F32))
}

/// A diffusers folder; the same numbers.
pub fn diffusers() -> PathBuf {
    let root = folder().join("random-folder");
    for file in random_model::folder() {
        written(&root.join(file.name()), &*file);
    }
    root
}

/// A kohya LoRA of 264 modules.
pub fn adapter() -> PathBuf {
    let name = "random-lora.safetensors";
    written(&folder().join(name), &random_model::adapter(name))
}

fn written(path: &Path, source: &dyn Source) -> PathBuf {
    if !is_there(path, source) {
        println!("           writing {} ({} bytes)", path.display(), source.len());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // It gets its name when it is whole.
        let unfinished = path.with_extension("part");
        let mut file = BufWriter::new(File::create(&unfinished).unwrap());
        let mut piece = Vec::new();
        for start in (0..source.len()).step_by(PIECE as usize) {
            piece.resize(PIECE.min(source.len() - start) as usize, 0);
            source.read(start, &mut piece).unwrap();
            file.write_all(&piece).unwrap();
        }
        file.into_inner().unwrap().sync_all().unwrap();
        fs::rename(unfinished, path).unwrap();
    }
    path.into()
}

/// Whether the file is of the right length and, at its beginning and at seven places more, the same.
fn is_there(path: &Path, source: &dyn Source) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let length = source.len();
    if file.metadata().unwrap().len() != length {
        return false;
    }
    let count = length.min(1 << 16);
    let (mut found, mut expected) = (vec![0; count as usize], vec![0; count as usize]);
    (0..8).all(|place| {
        let start = (length - count) / 7 * place;
        file.seek(SeekFrom::Start(start)).unwrap();
        file.read_exact(&mut found).unwrap();
        source.read(start, &mut expected).unwrap();
        found == expected
    })
}
