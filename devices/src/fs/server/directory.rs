//! What is in directories.
//!
//! The guest names a place in a listing by the number that the host gave the entry before it, so a listing can be gone on with
//! at any time, and nothing of it is kept here but how far the last request came.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, SeekFrom, StatxFlags, seek, statx};
use rustix::io::Errno;

use super::super::wire::{Answer, ROOT_ID};
use super::{Handle, Request, Result, Share};

/// Bytes of entries that are taken from the host at once.
const PIECE: usize = 16 << 10;
/// Most bytes of one answer.
const MAX_ANSWER: usize = 128 << 10;
/// Bytes of `struct fuse_dirent`, and of `struct fuse_entry_out`.
const ENTRY: usize = 24;
const ENTRY_OUT: usize = 128;

/// How far a listing is.
#[derive(Debug, Default)]
pub struct Listing {
    /// Where the host goes on by itself.
    next: u64,
}

impl Share {
    pub(super) fn open_directory(&self, request: &mut Request<'_>) -> Result<Answer> {
        if request.header.node == ROOT_ID {
            // There is nothing to open: it is listed by itself.
            return Ok(Answer::default().opened(0, 0));
        }
        let found = self.node(request.header.node)?;
        if found.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let file = self.open_for_use(&found, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Answer::default().opened(self.keep(file)?, 0))
    }

    /// `FUSE_READDIR`; with `plus`, what entries are like comes with them, and the guest knows them from then on.
    pub(super) fn read_directory(&self, request: &mut Request<'_>, plus: bool) -> Result<Answer> {
        let arguments = &mut request.arguments;
        let (handle, offset, size) = (arguments.u64()?, arguments.u64()?, arguments.u32()?);
        let size = (size as usize).min(MAX_ANSWER);
        if request.header.node == ROOT_ID {
            return Ok(self.list_roots(offset, size, plus));
        }
        let handle = self.handle(handle)?;
        self.list(&handle, request.header.node, offset, size, plus)
    }

    fn list(&self, handle: &Handle, node: u64, offset: u64, size: usize, plus: bool) -> Result<Answer> {
        let mut listing = handle.listing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if listing.next != offset {
            seek(&handle.file, SeekFrom::Start(offset))?;
        }
        let mut answer = Answer::default();
        let mut buffer = [MaybeUninit::uninit(); PIECE];
        let mut entries = RawDir::new(&handle.file, &mut buffer);
        let mut reached = offset;
        loop {
            // As much as was taken from the host is given to the guest, or taken again.
            let entry = match entries.next() {
                None => break,
                Some(Ok(entry)) => entry,
                Some(Err(_)) if !answer.0.is_empty() => break,
                Some(Err(error)) => return Err(error),
            };
            let (name, next) = (entry.file_name().to_bytes(), entry.next_entry_cookie());
            let length = (ENTRY + name.len()).next_multiple_of(8) + if plus { ENTRY_OUT } else { 0 };
            if answer.0.len() + length > size {
                break;
            }
            let mut kind = type_number(entry.file_type());
            if plus {
                let is_link_up = matches!(name, b"." | b"..");
                // What has gone meanwhile, or what the guest cannot know more of, is only named.
                let found = if is_link_up { Err(Errno::NOENT) } else { self.enter(node, name) };
                let found = found.unwrap_or_default();
                if found.node != 0 {
                    kind = found.attributes.mode >> 12;
                }
                answer = answer.entry(&found);
            } else if entry.file_type() == FileType::RegularFile && may_stand_in(handle, entry.file_name()) {
                kind = UNKNOWN;
            }
            answer = answer.directory_entry(entry.ino(), next, kind, name);
            reached = next;
        }
        let all_taken = entries.is_buffer_empty();
        // The host is further than the guest if something was left.
        listing.next = if all_taken && reached != offset { reached } else { u64::MAX };
        Ok(answer)
    }

    fn list_roots(&self, offset: u64, size: usize, plus: bool) -> Answer {
        let mut answer = Answer::default();
        let roots = (0..self.roots.len()).skip(usize::try_from(offset).unwrap_or(usize::MAX));
        for index in roots {
            let name = index.to_string();
            let length = (ENTRY + name.len()).next_multiple_of(8) + if plus { ENTRY_OUT } else { 0 };
            if answer.0.len() + length > size {
                break;
            }
            if plus {
                answer = answer.entry(&super::super::wire::Entry::default());
            }
            answer = answer.directory_entry(index as u64 + 2, index as u64 + 1, 0, name.as_bytes());
        }
        answer
    }
}

/// Whether a file may be something else in the guest, which an empty one can.
fn may_stand_in(directory: &Handle, name: &CStr) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let status = statx(&directory.file, name, flags, StatxFlags::SIZE);
    status.is_ok_and(|status| status.stx_size == 0)
}

/// The guest is to look (`DT_UNKNOWN`).
const UNKNOWN: u32 = 0;

/// A type as directories have it (`DT_*`).
fn type_number(kind: FileType) -> u32 {
    kind.as_raw_mode() >> 12
}
