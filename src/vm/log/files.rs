//! All files of a log, read as one.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Entry, Reader, older};

/// Reads a log of several files, also one that is still being written.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    reader: Reader,
    inode: u64,
}

impl Files {
    /// Reads from the beginning, or only the last `tail` lines.
    ///
    /// # Errors
    /// `NotFound` when there is no log.
    pub fn open(path: &Path, tail: Option<u64>) -> io::Result<Self> {
        let mut all = vec![File::open(path)?];
        for number in 1.. {
            match File::open(older(path, number)) {
                Ok(file) => all.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        let (mut wanted, oldest) = (tail, all.len() - 1);
        for (number, file) in all.into_iter().enumerate() {
            let inode = file.metadata()?.ino();
            if let (Some(lines), true) = (&mut wanted, number < oldest) {
                let there = count(file.try_clone()?, *lines)?;
                if there < *lines {
                    *lines -= there;
                    continue;
                }
            } else if number < oldest {
                continue;
            }
            return Ok(Self { path: path.to_owned(), reader: Reader::new(file, wanted)?, inode });
        }
        Err(ErrorKind::NotFound.into())
    }

    /// The next line; `None` where the log ends so far.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry<'_>>> {
        self.reader.next_entry()
    }

    /// Goes on with the file after the one that was read, if there is one by now; to be called at the end of that.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn advance(&mut self) -> io::Result<bool> {
        let mut newer = None;
        for number in 0.. {
            let path = if number == 0 { self.path.clone() } else { older(&self.path, number) };
            let file = match File::open(path) {
                Ok(file) => file,
                // It is just being replaced, or was removed: there is nothing to go on with, or the oldest that is left.
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            if file.metadata()?.ino() == self.inode {
                break;
            }
            newer = Some(file);
        }
        let Some(file) = newer else { return Ok(false) };
        // Something may have been written there since its end was read, and before the other was begun.
        if self.reader.has_more()? {
            return Ok(true);
        }
        self.inode = file.metadata()?.ino();
        self.reader = Reader::new(file, None)?;
        Ok(true)
    }
}

/// How many lines of output a file has, counted up to `most`.
fn count(file: File, most: u64) -> io::Result<u64> {
    let (mut reader, mut lines) = (Reader::new(file, None)?, 0);
    while lines < most {
        match reader.next_entry()? {
            Some(entry) => lines += u64::from(entry.full),
            None => break,
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Writer};
    use super::*;
    use crate::vm::control::Stream;

    fn all(files: &mut Files) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            while let Some(entry) = files.next_entry().unwrap() {
                lines.push(String::from_utf8(entry.text.to_vec()).unwrap());
            }
            if !files.advance().unwrap() {
                return lines;
            }
        }
    }

    #[test]
    fn what_is_kept_reads_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = || File::options().append(true).create(true).open(&path).unwrap();
        let mut log = Writer::limited(file(), path.clone(), Limits { size: Some(500), files: 3 });
        log.write(Stream::Stdout, b"0\n").unwrap();
        let mut followed = Files::open(&path, None).unwrap();
        let mut seen = all(&mut followed);
        for number in 1..100 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
            seen.extend(all(&mut followed));
        }
        assert_eq!(seen, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
        let left = all(&mut Files::open(&path, None).unwrap());
        assert!((20..40).contains(&left.len()) && left.last().unwrap() == "99", "{left:?}");
        for tail in [0, 1, 5, 15, 1000] {
            let read = all(&mut Files::open(&path, Some(tail)).unwrap());
            assert_eq!(read, left[left.len().saturating_sub(tail as usize)..], "{tail}");
        }
        assert!(!older(&path, 3).exists() && older(&path, 2).exists());
        // Of one file the last is kept, also by whoever goes on with it.
        let mut log = Writer::limited(file(), path.clone(), Limits { size: Some(100), files: 1 });
        (0..50).for_each(|_| log.write(Stream::Stderr, b"text\n").unwrap());
        assert!(path.metadata().unwrap().len() <= 100);
        // Whoever is slow misses nothing that was written to a file after its end was read; nor does a log end that somebody removed.
        let path = folder.path().join("slow");
        let file = File::options().append(true).create(true).open(&path).unwrap();
        let mut log = Writer::limited(file, path.clone(), Limits { size: Some(100), files: 2 });
        let mut followed = Files::open(&path, None).unwrap();
        log.write(Stream::Stdout, b"0\n").unwrap();
        while followed.next_entry().unwrap().is_some() {}
        (1..4).for_each(|number| log.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap());
        assert_eq!(all(&mut followed), ["1", "2", "3"]);
        std::fs::remove_file(&path).unwrap();
        (0..9).for_each(|_| log.write(Stream::Stderr, b"text\n").unwrap());
        assert!(path.exists());
    }
}
