//! Files as adversary: whatever the bytes, the header parser answers with an index that holds or
//! with an error that names the file; it never panics and never believes a length.

use lorakeet::error::Error;
use lorakeet::weights::{Bytes, Dtype, Index, Source};
use proptest::prelude::*;

const FILE: &str = "bad.safetensors";

/// Header length, header, data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

fn read(bytes: &[u8]) -> Result<Index, Error> {
    Index::read(&Bytes::new(FILE, bytes))
}

/// What must hold whatever the bytes are.
fn check(bytes: &[u8]) {
    let source = Bytes::new(FILE, bytes);
    let index = match Index::read(&source) {
        Ok(index) => index,
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with(FILE), "{message}");
            assert!(message.contains(". "), "no remedy: {message}");
            return;
        }
    };
    let mut places = Vec::new();
    for (key, info) in &index.tensors {
        assert_eq!(info.bytes, info.elements() as u64 * info.dtype.size() as u64);
        let end = info.offset.checked_add(info.bytes).unwrap();
        assert!(info.offset >= 8 && end <= bytes.len() as u64);
        places.push((info.offset, end));
        assert_eq!(index.read_f32(&source, key).unwrap().len(), info.elements());
    }
    places.retain(|place| place.0 < place.1);
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{places:?}");
}

const VALID: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"F16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]},"d":{"dtype":"BOOL","shape":[0,9],"data_offsets":[40,40]}}"#;

/// Numbers that parsers trip over, and small ones that make a valid file likely.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0u64..40).prop_map(|n| n.to_string()),
        1 => prop_oneof![
            Just(u64::MAX),
            Just(1 << 63),
            Just(1 << 62),
            Just(1 << 32),
            Just(u64::from(u32::MAX)),
        ]
        .prop_map(|n| n.to_string()),
        1 => prop_oneof![
            Just("-1"),
            Just("1.5"),
            Just("1e3"),
            Just("null"),
            Just("\"4\""),
            Just("[]"),
            Just("99999999999999999999999"),
        ]
        .prop_map(str::to_string),
    ]
}

fn entry() -> impl Strategy<Value = String> {
    let dtype = prop_oneof![
        6 => prop_oneof![Just("F32"), Just("F16"), Just("BF16"), Just("U8"), Just("I64")],
        1 => prop_oneof![Just("F8_E8M0"), Just("f32"), Just(""), Just("BOOL"), Just("F64")],
    ];
    let lying =
        (dtype, prop::collection::vec(number(), 0..5), prop::collection::vec(number(), 0..4))
            .prop_map(|(dtype, shape, offsets)| {
                format!(
                    r#"{{"dtype":"{dtype}","shape":[{}],"data_offsets":[{}]}}"#,
                    shape.join(","),
                    offsets.join(",")
                )
            });
    // True about its own size, so that only range and overlap can be wrong.
    let honest = (0u64..64, 0u64..4, 0u64..6).prop_map(|(begin, rows, columns)| {
        let end = begin + 2 * rows * columns;
        format!(r#"{{"dtype":"F16","shape":[{rows},{columns}],"data_offsets":[{begin},{end}]}}"#)
    });
    let other = prop_oneof![Just("{}"), Just("[]"), Just("3"), Just(r#"{"dtype":"F32"}"#)]
        .prop_map(str::to_string);
    prop_oneof![3 => lying, 5 => honest, 1 => other]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_right_length(header in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        check(&bytes);
    }

    #[test]
    fn a_valid_file_with_changed_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = file(VALID, 40);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check(&bytes);
    }

    #[test]
    fn valid_json_that_lies(
        entries in prop::collection::vec(("[a-d_]{1,2}|__metadata__", entry()), 0..6),
        data in 0usize..64,
    ) {
        let entries: Vec<_> = entries.iter().map(|(key, e)| format!("\"{key}\":{e}")).collect();
        check(&file(&format!("{{{}}}", entries.join(",")), data));
    }

    #[test]
    fn a_valid_file_cut_short_or_made_longer(cut in any::<prop::sample::Index>(), extra in 0usize..9) {
        let mut bytes = file(VALID, 40);
        let cut = cut.index(bytes.len());
        prop_assert!(read(&bytes[..cut]).is_err());
        check(&bytes[..cut]);
        bytes.resize(bytes.len() + extra, 0);
        prop_assert!(read(&bytes).is_ok());
        check(&bytes);
    }

    #[test]
    fn a_wrong_header_length(length in any::<u64>(), near in 0u64..600) {
        let mut bytes = file(VALID, 40);
        for length in [length, near] {
            bytes[..8].copy_from_slice(&length.to_le_bytes());
            check(&bytes);
        }
    }
}

/// The message of a file that can't be read.
fn message(bytes: &[u8]) -> String {
    check(bytes);
    read(bytes).unwrap_err().to_string()
}

#[test]
fn the_valid_file_is_valid() {
    let source = Bytes::new(FILE, file(VALID, 40));
    let index = Index::read(&source).unwrap();
    assert_eq!(index.tensors.len(), 4);
    assert_eq!(index.metadata["format"], "pt");
    assert_eq!(index.info("a").unwrap().dtype, Dtype::F32);
    // Data bytes count from 0: the eight of `c` are 32 to 39.
    let expected = i64::from_le_bytes(std::array::from_fn(|i| 32 + i as u8));
    assert_eq!(index.read_f32(&source, "c").unwrap(), [expected as f32]);
    assert_eq!(index.read_f32(&source, "d").unwrap(), [0.0; 0]);
    let error = index.read_f32(&source, "nobody").unwrap_err().to_string();
    assert!(error.starts_with("bad.safetensors: nobody: is missing"), "{error}");
}

#[test]
fn what_is_no_safetensors_file_is_called_by_its_name() {
    for (bytes, says) in [
        (&b""[..], "is empty"),
        (b"\x01", "is shorter than the 8 bytes"),
        (b"PK\x03\x04\x14\0\0\0\x08\0 and more", "is a zip archive, perhaps a PyTorch"),
        (b"\x80\x02}q\0X\x05\0\0\0state", "is a Python pickle"),
        (b"\x89PNG\r\n\x1a\n....", "is a PNG picture"),
        (b"\xFF\xD8\xFF\xE0\0\x10JFIF", "is a JPEG picture"),
        (b"RIFF....WEBPVP8 ", "is a RIFF file"),
        (b"GGUF\x03\0\0\0....", "is a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1", "is a git-lfs pointer"),
        (b"<!DOCTYPE html><html>", "is an HTML page"),
        (b"<html><body>404</body>", "is an HTML page"),
        (b"\n\n  <!doctype html>\n<html lang=en>", "is an HTML page"),
        (b"\xEF\xBB\xBF<html><body>Sign in", "is an HTML page"),
        (b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied", "is an XML text"),
        (b"{\"error\":\"Unauthorized\",\"message\":\"Please log in\"}", "is a JSON text"),
        (b"Entry not found", "is a text, perhaps a site's answer"),
        (b"Caf\xC3\xA9 not found, \xC3", "is a text"),
        (b"\x1F\x8B\x08\0\0\0\0\0\0\x03", "is a gzip archive"),
        (b"7z\xBC\xAF\x27\x1C\0\x04\0\0", "is a 7z archive"),
        (b"Rar!\x1A\x07\x01\0..", "is a RAR archive"),
        (&[0; 600], "is zeros"),
    ] {
        let message = message(bytes);
        assert!(message.contains(says), "{message}");
        // Converting helps with weights in another format alone.
        let remedy = match says {
            _ if says.contains("a zip") || says.contains("pickle") => "convert a .ckpt",
            _ if says.contains("archive") => "Unpack it",
            _ if says.contains("HTML") || says.contains("text") => "log in there",
            _ if says.contains("empty") || says.contains("zeros") => "ownload or copy",
            _ if says.contains("8 bytes") => "download or copy it again",
            _ if says.contains("lfs") => "git lfs pull",
            _ if says.contains("PNG") || says.contains("JPEG") => "wrong name",
            _ => "se the ",
        };
        assert!(message.contains(remedy), "{message}");
        assert_eq!(message.contains("convert"), remedy.contains("convert"), "{message}");
    }
}

#[test]
fn a_broken_header_is_described() {
    let mut bytes = file(VALID, 40);
    bytes.truncate(60);
    let announced = VALID.len();
    assert!(
        message(&bytes).contains(&format!("within its header: {announced} bytes announced, 52"))
    );
    for header in ["", "{", "[]", "3", "{\"a\":}", "\u{FEFF}{}", "{\"a\":[[[[[[[[[["] {
        let message = message(&file(header, 0));
        assert!(message.contains("its header isn't JSON"), "{header:?}: {message}");
    }
    let mut not_utf8 = file("{\"a\":1}", 0);
    not_utf8[10] = 0xFF;
    assert!(message(&not_utf8).contains("its header isn't JSON"));
    let deep = "[".repeat(100_000);
    assert!(message(&file(&deep, 0)).contains("its header isn't JSON"));
}

#[test]
fn a_lying_entry_is_named_with_what_is_wrong() {
    for (entry, says) in [
        (
            r#"{"dtype":"F32","shape":[2,3],"data_offsets":[0,23]}"#,
            "has 23 bytes where F32 [2, 3] needs 24",
        ),
        (
            r#"{"dtype":"F32","shape":[2,3],"data_offsets":[0,28]}"#,
            "has 28 bytes where F32 [2, 3] needs 24",
        ),
        (
            r#"{"dtype":"F32","shape":[99],"data_offsets":[0,396]}"#,
            "lies at bytes 0 to 396, out of the file's 40",
        ),
        (r#"{"dtype":"U8","shape":[4],"data_offsets":[8,4]}"#, "lies at bytes 8 to 4"),
        (
            r#"{"dtype":"U8","shape":[4],"data_offsets":[18446744073709551615,3]}"#,
            "lies at bytes 18446744073709551615 to 3",
        ),
        (
            r#"{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#,
            "larger than any file",
        ),
        (
            r#"{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}"#,
            "larger than any file",
        ),
        (
            r#"{"dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4]}"#,
            "has the element type F8_E8M0, which isn't supported",
        ),
        (r#"{"shape":[4],"data_offsets":[0,4]}"#, "has no dtype"),
        (r#"{"dtype":"U8","data_offsets":[0,4]}"#, "has no shape"),
        (r#"{"dtype":"U8","shape":[4]}"#, "has no data_offsets"),
        (
            r#"{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}"#,
            "a shape that isn't made of whole numbers",
        ),
        (
            r#"{"dtype":"U8","shape":[4.5],"data_offsets":[0,4]}"#,
            "a shape that isn't made of whole numbers",
        ),
        (
            r#"{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}"#,
            "data_offsets that aren't two whole numbers",
        ),
        (
            r#"{"dtype":"U8","shape":[4],"data_offsets":[0,"4"]}"#,
            "data_offsets that aren't two whole numbers",
        ),
        ("null", "has no dtype"),
    ] {
        let message = message(&file(&format!("{{\"some.key\":{entry}}}"), 40));
        assert!(message.starts_with(&format!("{FILE}: some.key: ")), "{message}");
        assert!(message.contains(says), "{message}");
    }
    // Metadata may be anything.
    assert!(read(&file(r#"{"__metadata__":[1]}"#, 0)).unwrap().metadata.is_empty());
}

#[test]
fn an_unknown_element_type_is_not_called_damage() {
    let entry = r#"{"a":{"dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4]}}"#;
    let message = message(&file(entry, 4));
    assert!(message.contains("Use a version of the file in float16"), "{message}");
}

#[test]
fn overlapping_tensors_are_both_named() {
    let header = r#"{"first":{"dtype":"U8","shape":[10],"data_offsets":[0,10]},"second":{"dtype":"U8","shape":[10],"data_offsets":[9,19]}}"#;
    let message = message(&file(header, 19));
    assert!(message.contains("second: overlaps the bytes of first"), "{message}");
    // An empty tensor overlaps nothing, and a hole is only waste.
    let header = r#"{"a":{"dtype":"U8","shape":[10],"data_offsets":[0,10]},"b":{"dtype":"U8","shape":[0],"data_offsets":[5,5]},"c":{"dtype":"U8","shape":[1],"data_offsets":[15,16]}}"#;
    let bytes = file(header, 16);
    check(&bytes);
    assert_eq!(read(&bytes).unwrap().tensors.len(), 3);
}

/// A source of any length that holds one byte over and over behind a header length, and counts what
/// is asked of it.
struct Huge {
    len: u64,
    header: u64,
    fill: u8,
    asked: std::cell::Cell<u64>,
}

impl Source for Huge {
    fn name(&self) -> &str {
        FILE
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.asked.set(self.asked.get() + buffer.len() as u64);
        let header = self.header.to_le_bytes();
        for (i, byte) in buffer.iter_mut().enumerate() {
            *byte = *header.get(offset as usize + i).unwrap_or(&self.fill);
        }
        Ok(())
    }
}

#[test]
fn a_huge_file_is_judged_by_its_first_bytes() {
    let huge = |header, fill| Huge { len: 5 << 30, header, fill, asked: 0.into() };
    // Too long a header: nothing past the start that tells what else a file may be is read.
    for header in [100_000_001, 5 << 30, u64::MAX] {
        let source = huge(header, 0);
        assert!(Index::read(&source).unwrap_err().to_string().contains("its header would be"));
        assert_eq!(source.asked.get(), 512);
    }
    // As long as is allowed: read once, and refused.
    for fill in [0, b' ', b'[', b'{', b'"', 0xFF] {
        let source = huge(100_000_000, fill);
        assert!(Index::read(&source).unwrap_err().to_string().contains("isn't JSON"));
        assert_eq!(source.asked.get(), 100_000_512);
    }
}

#[test]
fn a_source_that_fails_passes_its_error_on() {
    struct Broken;
    impl Source for Broken {
        fn name(&self) -> &str {
            FILE
        }
        fn len(&self) -> u64 {
            1000
        }
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), Error> {
            Err(Error::file(FILE, "can't be read", "Check the disk it is on"))
        }
    }
    let error = Index::read(&Broken).unwrap_err().to_string();
    assert_eq!(error, "bad.safetensors: can't be read. Check the disk it is on");
}
