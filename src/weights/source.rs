//! Where bytes come from: a file on disk, a Blob in a worker, memory. Always synchronous and by
//! range, so that no one ever holds a whole model in memory.

use crate::error::{Error, Result};

/// A read-only run of bytes with a name that the user knows.
pub trait Source {
    /// The file's name, for messages.
    fn name(&self) -> &str;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When the range reaches past the end or the medium fails.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// All of it, for files that are small by nature (configs, vocabularies).
    ///
    /// # Errors
    /// As [`Source::read`], and when it is larger than 64 MiB.
    fn read_all(&self) -> Result<Vec<u8>> {
        const MOST: u64 = 64 << 20;
        if self.len() > MOST {
            return Err(Error::file(
                self.name(),
                format!("is {} bytes long, far too long for a text file", self.len()),
                "Check that the right file has this name",
            ));
        }
        let mut buffer = vec![0; self.len() as usize];
        self.read(0, &mut buffer)?;
        Ok(buffer)
    }
}

/// Checks a range against a source's length; every implementation of [`Source::read`] calls it.
pub(crate) fn check_range(name: &str, len: u64, offset: u64, wanted: usize) -> Result<()> {
    match offset.checked_add(wanted as u64) {
        Some(end) if end <= len => Ok(()),
        _ => Err(Error::file(
            name,
            format!("is cut short: {wanted} bytes at offset {offset} lie past its end at {len}"),
            "Download or copy the file again",
        )),
    }
}

/// A source in memory.
#[derive(Debug, Clone)]
pub struct Bytes {
    name: String,
    bytes: Vec<u8>,
}

impl Bytes {
    /// Names some bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

impl Source for Bytes {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        check_range(&self.name, self.len(), offset, buffer.len())?;
        let start = offset as usize;
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }
}

/// A file on disk, read by range.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct FileSource {
    name: String,
    len: u64,
    file: std::sync::Mutex<std::fs::File>,
}

#[cfg(not(target_arch = "wasm32"))]
impl FileSource {
    /// Opens a file; its name in messages is the last part of the path.
    ///
    /// # Errors
    /// When it can't be opened or is a folder.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |problem: String| {
            Error::file(path.display().to_string(), problem, "Check the path and its permissions")
        };
        let file =
            std::fs::File::open(path).map_err(|error| fail(format!("can't be opened: {error}")))?;
        let metadata =
            file.metadata().map_err(|error| fail(format!("can't be examined: {error}")))?;
        if metadata.is_dir() {
            return Err(fail("is a folder, not a file".into()));
        }
        let name = path
            .file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, len: metadata.len(), file: std::sync::Mutex::new(file) })
    }

    /// The same source under another name, such as its path inside a model folder.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        check_range(&self.name, self.len, offset, buffer.len())?;
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(buffer)).map_err(|error| {
            Error::file(
                &self.name,
                format!("can't be read at {offset}: {error}"),
                "Check the disk it is on",
            )
        })
    }
}
