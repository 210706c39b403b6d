//! Bytes of a text file to text, in whatever encoding an editor saved it.

/// The text of a file that is in Unicode: UTF-8, with or without a byte order mark, or UTF-16 of
/// either order, which is told by its mark or by the zeros that every other byte of it is. `None`
/// where it is none of these.
pub fn unicode(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

/// The text of a file that a person wrote: [`unicode`], or else Windows' code page for western
/// languages, of which Latin-1 is a part. `None` where it is no text at all: it holds zeros.
pub fn written(bytes: &[u8]) -> Option<String> {
    unicode(bytes).or_else(|| {
        (!bytes.contains(&0)).then(|| bytes.iter().map(|&byte| windows_1252(byte)).collect())
    })
}

fn utf8(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.contains('\0'))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|&pair| unit(pair));
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    (rest.is_empty() && !text.contains('\0')).then_some(text)
}

/// <https://encoding.spec.whatwg.org/index-windows-1252.txt>: Latin-1 but for these 32.
fn windows_1252(byte: u8) -> char {
    const FROM_128: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    match byte {
        128..160 => FROM_128[usize::from(byte) - 128],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_reads_as_its_editor_shows_it() {
        let text = "ein Café, 猫";
        let utf16 = |order: fn(u16) -> [u8; 2], mark: &[u8]| -> Vec<u8> {
            mark.iter().copied().chain(text.encode_utf16().flat_map(order)).collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            utf16(u16::to_le_bytes, b"\xFF\xFE"),
            utf16(u16::to_be_bytes, b"\xFE\xFF"),
            utf16(u16::to_le_bytes, b""),
            utf16(u16::to_be_bytes, b""),
        ] {
            assert_eq!(unicode(&bytes).as_deref(), Some(text), "{bytes:?}");
        }
        assert_eq!(written(b"caf\xE9 \x93ok\x94 \x80").as_deref(), Some("café “ok” €"));
        assert_eq!(unicode(b"caf\xE9"), None);
        assert_eq!(written(b""), Some(String::new()));
    }

    #[test]
    fn what_is_no_text_is_none() {
        // Half a character of UTF-16, a lone surrogate, and a picture.
        for bytes in [&b"\xFF\xFEa"[..], b"\xFF\xFE\0\xD8a\0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"] {
            assert_eq!(unicode(bytes), None, "{bytes:?}");
        }
        assert_eq!(written(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), None);
    }
}
