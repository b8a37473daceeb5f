//! Machine code on its way into the engine, in pages of its own.
//!
//! A large component is tens of megabytes of it, needed for the moment between the compiler or the disk and wasmtime, which
//! makes a copy. An allocator keeps what such a moment took; pages of their own go back to the system.

use std::io::{self, Read};
use std::ops::Deref;

use memmap2::MmapMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first room that is made for code whose length is not known.
const FIRST: usize = 1 << 20;

/// Machine code. Memory is given back when it is dropped.
#[derive(Debug, Default)]
pub struct MachineCode {
    /// None: there is none, since a mapping cannot be empty.
    pages: Option<MmapMut>,
    length: usize,
}

impl MachineCode {
    /// All that comes, up to one octet more than `most`, by which it is seen to be too much.
    ///
    /// # Errors
    /// The reader's, or the system's when there is no memory.
    pub(crate) async fn from_stream(mut from: impl AsyncRead + Unpin, most: usize) -> io::Result<Self> {
        let mut code = Self::default();
        while code.length <= most {
            if code.room().is_empty() {
                code.grow(most.saturating_add(1))?;
            }
            let read = from.read(code.room()).await?;
            if read == 0 {
                break;
            }
            code.length += read;
        }
        Ok(code)
    }

    /// So many octets of a file.
    ///
    /// # Errors
    /// The file's, or the system's when there is no memory.
    pub(crate) fn from_file(from: &mut impl Read, length: usize) -> io::Result<Self> {
        let mut code = Self::default();
        if length > 0 {
            let mut pages = MmapMut::map_anon(length)?;
            from.read_exact(&mut pages)?;
            code = Self { pages: Some(pages), length };
        }
        Ok(code)
    }

    fn room(&mut self) -> &mut [u8] {
        match &mut self.pages {
            Some(pages) => &mut pages[self.length..],
            None => &mut [],
        }
    }

    fn grow(&mut self, most: usize) -> io::Result<()> {
        let size = self.length.saturating_mul(2).clamp(FIRST.min(most), most);
        let mut pages = MmapMut::map_anon(size)?;
        pages[..self.length].copy_from_slice(self);
        self.pages = Some(pages);
        Ok(())
    }
}

impl Deref for MachineCode {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_deref().map_or(&[], |pages| &pages[..self.length])
    }
}

impl From<&[u8]> for MachineCode {
    /// # Panics
    /// When there is no memory, as an allocator would.
    fn from(octets: &[u8]) -> Self {
        let mut rest = octets;
        match Self::from_file(&mut rest, octets.len()) {
            Ok(code) => code,
            Err(_) => std::alloc::handle_alloc_error(std::alloc::Layout::for_value(octets)),
        }
    }
}

impl PartialEq for MachineCode {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for MachineCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_its_length_all_of_it_comes() {
        for length in [0, 1, FIRST - 1, FIRST, FIRST + 1, 5 * FIRST + 7] {
            let octets: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let code = MachineCode::from_stream(octets.as_slice(), 64 * FIRST).await.expect("read");
            assert!(*code == *octets, "{length}");
            assert!(*MachineCode::from(octets.as_slice()) == *octets, "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_too_much_is_seen_and_not_kept() {
        for most in [10, FIRST, 3 * FIRST] {
            let code = MachineCode::from_stream(tokio::io::repeat(7), most).await.expect("read");
            assert_eq!(code.len(), most + 1);
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_is_an_error() {
        assert!(MachineCode::from_file(&mut [1u8, 2].as_slice(), 3).is_err());
    }
}
