//! Files that people take for safetensors files, told by their first bytes.

/// What a file is instead, and what helps.
pub(super) struct Mistaken {
    /// Behind "is ".
    pub what: &'static str,
    pub remedy: &'static str,
}

/// How many bytes are enough.
pub(super) const ENOUGH: usize = 512;

const CONVERT: &str =
    "Only .safetensors files are read; convert a .ckpt or .pt file with its own tool first";
const LOG_IN: &str = "The site sent this in place of the file: log in there, accept its terms if it \
                      asks, and download the file again";
const AGAIN: &str = "Download or copy the file again";
const UNPACK: &str = "Unpack it and use the .safetensors file inside";
const OTHER: &str = "Use the adapter or model as a .safetensors file";
const PICTURE: &str = "It has the wrong name; use the .safetensors file that it belongs to";

/// Formats by their first bytes.
const STARTS: [(&[u8], &str, &str); 14] = [
    (b"PK\x03\x04", "a zip archive, perhaps a PyTorch .ckpt, .pt or .bin file", CONVERT),
    (b"\x89PNG", "a PNG picture", PICTURE),
    (b"\xFF\xD8\xFF", "a JPEG picture", PICTURE),
    (b"GIF8", "a GIF picture", PICTURE),
    (b"RIFF", "a RIFF file, perhaps a WebP picture", PICTURE),
    (b"GGUF", "a GGUF file", OTHER),
    (b"\x89HDF\r\n", "an HDF5 file", OTHER),
    (b"\x08\x00\x00\x00\x0a\x00", "an ONNX or protobuf file", OTHER),
    (b"%PDF", "a PDF document", AGAIN),
    (b"\x1F\x8B", "a gzip archive", UNPACK),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive", UNPACK),
    (b"Rar!\x1A\x07", "a RAR archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\x28\xB5\x2F\xFD", "a Zstandard archive", UNPACK),
];

/// Told by the file's first bytes, [`ENOUGH`] or all that there are.
pub(super) fn recognise(start: &[u8]) -> Option<Mistaken> {
    let found = |what, remedy| Some(Mistaken { what, remedy });
    if let Some((_, what, remedy)) = STARTS.iter().find(|(bytes, ..)| start.starts_with(bytes)) {
        return found(what, remedy);
    }
    if let [0x80, 2..=5, ..] = start {
        return found("a Python pickle (an old .ckpt, .pt or .bin file)", CONVERT);
    }
    if start.len() > 8 && start.iter().all(|&byte| byte == 0) {
        return found("zeros where its header should be", AGAIN);
    }
    let text = as_text(start)?;
    let text = text.trim_start_matches('\u{FEFF}').trim_start().to_lowercase();
    if text.starts_with("version https://git-lfs") {
        let what = "a git-lfs pointer: the text that stands for a file, not the file itself";
        return found(what, "Run `git lfs pull`, or download the file itself from the site");
    }
    if ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| text.starts_with(tag)) {
        return found("an HTML page, perhaps a saved login or error page", LOG_IN);
    }
    if text.starts_with('<') {
        return found("an XML text, perhaps a site's answer that it has no such file", LOG_IN);
    }
    if text.starts_with(['{', '[']) {
        return found("a JSON text, perhaps a site's answer or a settings file", LOG_IN);
    }
    found("a text, perhaps a site's answer in place of a download", LOG_IN)
}

/// Text of more than blanks, without the control characters that no text has; the last character may
/// have been cut.
fn as_text(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let plain = |c: char| !c.is_control() || ['\n', '\r', '\t'].contains(&c);
    (text.chars().all(plain) && !text.trim().is_empty()).then_some(text)
}
