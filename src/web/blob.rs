//! A dropped file, read by range: `FileReaderSync` exists in workers alone, and it is what keeps
//! the core synchronous.

use web_sys::{Blob, FileReaderSync};

use crate::error::{Error, Result};
use crate::weights::Source;

/// A Blob with a name.
pub struct BlobSource {
    name: String,
    blob: Blob,
    reader: FileReaderSync,
}

impl BlobSource {
    /// Names a Blob.
    ///
    /// # Errors
    /// Outside a worker.
    pub fn new(name: String, blob: Blob) -> Result<Self> {
        let reader = FileReaderSync::new().map_err(|_| {
            Error::device("files can't be read outside a worker", "Reload the page")
        })?;
        Ok(Self { name, blob, reader })
    }
}

impl Source for BlobSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.blob.size() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        crate::weights::check_range(&self.name, self.len(), offset, buffer.len())?;
        let end = offset as f64 + buffer.len() as f64;
        let bytes = self
            .blob
            .slice_with_f64_and_f64(offset as f64, end)
            .and_then(|slice| self.reader.read_as_array_buffer(&slice))
            .map_err(|_| {
                Error::file(
                    &self.name,
                    "can't be read any more",
                    "It may have been moved or changed on disk: drop it again",
                )
            })?;
        let bytes = js_sys::Uint8Array::new(&bytes);
        if bytes.length() as usize != buffer.len() {
            return Err(Error::file(
                &self.name,
                "gave fewer bytes than asked for",
                "It may have changed on disk: drop it again",
            ));
        }
        bytes.copy_to(buffer);
        Ok(())
    }
}
