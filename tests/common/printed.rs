//! What a program prints, for tests that wait for a part of it.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::PATIENCE;

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

/// What a program has printed and nobody has waited for yet. Read by a thread, so that the program is never held up.
#[derive(Clone)]
pub struct Printed(Arc<(Mutex<State>, Condvar)>);

impl Printed {
    /// Reads this to its end.
    pub fn of(mut source: impl Read + Send + 'static) -> Self {
        let printed = Self(Arc::default());
        let sink = printed.0.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = source.read(&mut bytes).unwrap_or(0);
                let mut state = sink.0.lock().expect("what was printed");
                state.bytes.extend_from_slice(&bytes[..count]);
                state.ended = count == 0;
                sink.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        printed
    }

    /// Waits until this is printed, and forgets everything up to it.
    pub fn expect(&self, text: &str) {
        self.until(text);
    }

    /// Waits until this is printed, gives what was printed before it, and forgets both.
    pub fn until(&self, text: &str) -> String {
        let position =
            |state: &State| state.bytes.windows(text.len()).position(|part| part == text.as_bytes());
        let state = self.0.0.lock().expect("what was printed");
        let waiting = |state: &mut State| !state.ended && position(state).is_none();
        let (mut state, _) = self.0.1.wait_timeout_while(state, PATIENCE, waiting).expect("what was printed");
        let at = position(&state);
        let count = at.map_or(0, |at| at + text.len());
        let taken: Vec<_> = state.bytes.drain(..count).collect();
        // Its reader goes on.
        let rest = String::from_utf8_lossy(&state.bytes).into_owned();
        drop(state);
        match at {
            Some(at) => String::from_utf8_lossy(&taken[..at]).into_owned(),
            None => panic!("no {text:?} in {rest:?}"),
        }
    }

    /// Everything else, to the end.
    pub fn rest(&self) -> String {
        let state = self.0.0.lock().expect("what was printed");
        let (mut state, _) =
            self.0.1.wait_timeout_while(state, PATIENCE, |state| !state.ended).expect("what was printed");
        assert!(state.ended, "no end after {:?}", String::from_utf8_lossy(&state.bytes));
        String::from_utf8_lossy(&std::mem::take(&mut state.bytes)).into_owned()
    }
}
