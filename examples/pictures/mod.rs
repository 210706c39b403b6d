//! A folder of pictures and captions, as people and other trainers lay it out.

use std::path::{Path, PathBuf};

use lorakeet::error::{Error, Result};
use lorakeet::training::picture::{Picture, Role};
use lorakeet::weights::text;

use crate::options::start::decoded;

const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp"];

/// Pictures of other kinds, which are named where they are left out.
const OTHERS: [&str; 11] =
    ["gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "psd", "svg", "raw"];

const CAPTIONS: [&str; 2] = ["txt", "caption"];

/// What a folder came to.
#[derive(Default)]
pub struct Found {
    pub pictures: Vec<Picture>,
    /// What was left out or may be otherwise than meant, as sentences.
    pub notes: Vec<String>,
}

/// Every picture of a folder, by name, with its caption; where it holds none itself, those of the
/// folders in it. In kohya's `10_red engine` a picture without a caption is called after its folder.
///
/// # Errors
/// Names the folder or the file: no picture, one that can't be decoded, a caption that is no text.
pub fn read(folder: &Path, role: Role) -> Result<Found> {
    let mut found = Found::default();
    let (files, folders) = list(folder)?;
    add(&mut found, "", &files, role)?;
    let inner: Vec<PathBuf> = folders.into_iter().filter(|folder| holds_pictures(folder)).collect();
    if found.pictures.is_empty() {
        for folder in inner {
            let name = name_of(&folder);
            if let Some((repeats, _)) = repeats(&name).filter(|(repeats, _)| *repeats != 1) {
                found.notes.push(format!(
                    "{name}: its {repeats} repeats aren't used, each picture comes equally often"
                ));
            }
            add(&mut found, &name, &list(&folder)?.0, role)?;
        }
    } else {
        found.notes.extend(inner.iter().map(|folder| {
            format!("{}: the pictures in this folder are left out", name_of(folder))
        }));
    }
    if found.pictures.is_empty() {
        let problem = "holds no PNG, JPEG or WebP picture, and no folder in it does";
        let remedy = format!(
            "Check the path{}",
            found
                .notes
                .first()
                .map_or(String::new(), |note| { format!(", or save the pictures as PNG: {note}") })
        );
        return Err(Error::file(folder.display().to_string(), problem, remedy));
    }
    Ok(found)
}

/// Files and folders by name, without those that a system leaves behind.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let unreadable = |error: std::io::Error| {
        let problem = format!("can't be read: {error}");
        Error::file(folder.display().to_string(), problem, "Check the path and its permissions")
    };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let entries = entries.collect::<std::io::Result<Vec<_>>>().map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.retain(|path| !name_of(path).starts_with('.') && name_of(path) != "__MACOSX");
    paths.sort();
    Ok(paths.into_iter().partition(|path| !path.is_dir()))
}

fn holds_pictures(folder: &Path) -> bool {
    list(folder).is_ok_and(|(files, _)| files.iter().any(|file| ends_with(file, &PICTURES)))
}

/// Adds a folder's pictures. `inner`: its name, where it lies in the one that was given.
fn add(found: &mut Found, inner: &str, files: &[PathBuf], role: Role) -> Result<()> {
    let path_of = |name: &str| match inner {
        "" => name.to_string(),
        inner => format!("{inner}/{name}"),
    };
    let pictures: Vec<&PathBuf> = files.iter().filter(|file| ends_with(file, &PICTURES)).collect();
    let mut used = Vec::new();
    for &file in &pictures {
        let caption = files.iter().find(|other| is_caption_of(other, file));
        let text = match caption {
            Some(caption) => {
                used.push(caption);
                read_caption(caption)?
            }
            None => repeats(inner).map_or(String::new(), |(_, words)| words.to_string()),
        };
        found.pictures.push(decode(file, path_of(&name_of(file)), text.trim(), role)?);
    }
    for file in files {
        let name = path_of(&name_of(file));
        if ends_with(file, &OTHERS) {
            found.notes.push(format!(
                "{name}: is left out, since only PNG, JPEG and WebP pictures are read here"
            ));
        } else if ends_with(file, &CAPTIONS) && !used.contains(&file) && !pictures.is_empty() {
            found.notes.push(format!("{name}: is left out, since it is no picture's caption"));
        }
    }
    Ok(())
}

/// kohya's `N_words`: how often its pictures come in an epoch, and what they show.
fn repeats(folder: &str) -> Option<(usize, &str)> {
    let (number, words) = folder.split_once('_')?;
    Some((number.parse().ok()?, words))
}

/// `a.txt`, `a.caption`, `a.png.txt`, in any case.
fn is_caption_of(file: &Path, picture: &Path) -> bool {
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    ends_with(file, &CAPTIONS) && [stem(picture), name_of(picture)].contains(&stem(file))
}

fn read_caption(path: &Path) -> Result<String> {
    let failed = |problem: String| {
        Error::file(name_of(path), problem, "Save the caption anew in a text editor, as UTF-8")
    };
    let bytes = std::fs::read(path).map_err(|error| failed(format!("can't be read: {error}")))?;
    text::written(&bytes).ok_or_else(|| failed("is no text".into()))
}

fn decode(path: &Path, name: String, caption: &str, role: Role) -> Result<Picture> {
    let pixels = decoded(path).map_err(|error| {
        let remedy = "Open it in a picture viewer and save it anew, or leave it out";
        Error::file(&name, format!("can't be decoded: {error}"), remedy)
    })?;
    let size = [pixels.width() as usize, pixels.height() as usize];
    Picture::new(name, caption, role, size, pixels.into_raw())
}

fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    endings.contains(&ending.as_str())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model/training-set");
    const CAPTION: &str = "a café by night";

    /// An empty folder of this test's own.
    fn folder(name: &str) -> PathBuf {
        let name = format!("lorakeet-pictures-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn put(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn png() -> Vec<u8> {
        std::fs::read(format!("{SET}/house.png")).unwrap()
    }

    fn captions(found: &Found) -> Vec<(&str, &str)> {
        let each = found.pictures.iter();
        each.map(|picture| (picture.name.as_str(), picture.caption.as_str())).collect()
    }

    #[test]
    fn captions_read_as_their_editors_show_them() {
        let utf16 = |mark: u16, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(mark).chain(CAPTION.encode_utf16()).flat_map(order).collect()
        };
        for (name, bytes) in [
            ("a.txt", CAPTION.as_bytes().to_vec()),
            ("a.caption", format!("{CAPTION}\r\n").into_bytes()),
            ("a.TXT", format!("\u{FEFF}{CAPTION}\n").into_bytes()),
            ("a.png.txt", utf16(0xFEFF, u16::to_le_bytes)),
            ("a.txt", utf16(0xFEFF, u16::to_be_bytes)),
            ("a.txt", CAPTION.chars().map(|c| c as u8).collect()),
        ] {
            let folder = folder("captions");
            put(&folder, "a.png", &png());
            put(&folder, name, &bytes);
            let found = read(&folder, Role::Train).unwrap();
            assert_eq!(captions(&found), [("a.png", CAPTION)], "{name}");
            assert!(found.notes.is_empty(), "{name}: {:?}", found.notes);
            std::fs::remove_dir_all(folder).unwrap();
        }
        let folder = folder("no-caption");
        put(&folder, "a.png", &png());
        put(&folder, "a.txt", &png());
        let error = read(&folder, Role::Train).err().unwrap().to_string();
        assert!(error.starts_with("a.txt: is no text"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_left_out_is_named() {
        let folder = folder("others");
        for name in ["a.png", "b.JFIF", "c.bmp", "d.heic", "._a.png", ".DS_Store", "deep/e.png"] {
            put(&folder, name, &png());
        }
        put(&folder, "lonely.txt", b"words");
        let found = read(&folder, Role::Train).unwrap();
        assert_eq!(captions(&found), [("a.png", ""), ("b.JFIF", "")]);
        let named: Vec<&str> =
            found.notes.iter().filter_map(|note| note.split(':').next()).collect();
        assert_eq!(named, ["c.bmp", "d.heic", "lonely.txt", "deep"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn kohyas_folders_are_read_and_name_what_has_no_caption() {
        let folder = folder("kohya");
        put(&folder, "10_red engine/a.png", &png());
        put(&folder, "10_red engine/b.png", &png());
        put(&folder, "10_red engine/b.txt", b"an engine at night");
        put(&folder, "1_shed/c.png", &png());
        let found = read(&folder, Role::Train).unwrap();
        let expected = [
            ("10_red engine/a.png", "red engine"),
            ("10_red engine/b.png", "an engine at night"),
            ("1_shed/c.png", "shed"),
        ];
        assert_eq!(captions(&found), expected);
        assert_eq!(found.notes.len(), 1);
        assert!(found.notes[0].starts_with("10_red engine: its 10 repeats aren't used"));
        std::fs::remove_dir_all(folder).unwrap();

        let folder = self::folder("empty");
        put(&folder, "a.gif", b"GIF89a");
        let error = read(&folder, Role::Train).err().unwrap().to_string();
        assert!(error.contains("no PNG, JPEG or WebP") && error.contains("a.gif"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
