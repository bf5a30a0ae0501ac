//! What happened to containers, in order: a line of JSON each, appended.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    container::{ContainerId, Description},
    vm::timestamp,
};

/// The journal of one user's containers.
#[derive(Debug, Clone)]
pub struct Journal(PathBuf);

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: String,
    /// Docker's word: create, start, die, oom, kill, stop, destroy.
    pub action: String,
    /// To which container.
    pub id: ContainerId,
    /// What to know beside it: name, image, exit code, signal.
    pub attributes: BTreeMap<String, String>,
}

impl Journal {
    /// The journal in this file.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
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
