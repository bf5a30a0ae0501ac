//! What happened to containers, in order: a line of JSON each, appended.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    container::{
        ContainerId, Description,
        error::{Error, Result},
    },
    vm::timestamp,
};

/// A line over this many bytes is none.
const LONGEST: u64 = 1 << 20;

/// The journal of one user's containers.
#[derive(Debug, Clone)]
pub struct Journal(PathBuf);

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: String,
    /// Docker's word: create, start, die, oom, kill, stop, pause, unpause, rename, destroy.
    pub action: String,
    /// To which container.
    pub id: ContainerId,
    /// What to know beside it: name, image, exit code, signal.
    pub attributes: BTreeMap<String, String>,
}

/// What is in a journal, and what comes.
#[derive(Debug)]
pub struct Reader(BufReader<File>, Vec<u8>);

impl Reader {
    /// The next event, if there is one by now. What is no event is left out.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            // A line that is being written is gone on with.
            (&mut self.0).take(LONGEST).read_until(b'\n', &mut self.1)?;
            if !self.1.ends_with(b"\n") && self.1.len() < LONGEST as usize {
                return Ok(None);
            }
            let event = serde_json::from_slice(&std::mem::take(&mut self.1));
            if let Ok(event) = event {
                return Ok(Some(event));
            }
        }
    }
}

impl Journal {
    /// The journal in this file.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Reads it from its beginning.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn read(&self) -> Result<Reader> {
        let file = File::options().read(true).append(true).create(true).open(&self.0);
        let file = file.map_err(Error::file("cannot open", &self.0))?;
        Ok(Reader(BufReader::new(file), Vec::new()))
    }

    /// Appends an event. What cannot be written is lost: a full disk must not keep a container from ending.
    pub fn append(&self, action: &str, description: &Description, attributes: &[(&str, String)]) {
        let common = [("name", description.name.to_string()), ("image", description.config.image.clone())];
        let event = Event {
            time: timestamp::now(),
            action: action.to_owned(),
            id: description.id.clone(),
            attributes: common
                .iter()
                .chain(attributes)
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        };
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            // One write, so that lines of several processes do not mix.
            let file = File::options().append(true).create(true).open(&self.0);
            let _ = file.and_then(|mut file| file.write_all(&line));
        }
    }
}
