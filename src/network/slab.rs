//! Things by number, where a number that was given back is never taken for what has its place since.

/// Things with a number each.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    count: usize,
}

/// The number of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    place: u32,
    turn: u32,
}

/// Turns are counted in so many bits, so that a key goes into an epoll token beside what kind of thing it is.
const TURN_BITS: u32 = 24;

impl Key {
    /// As a number below 2⁵⁶.
    pub fn number(self) -> u64 {
        u64::from(self.turn) << 32 | u64::from(self.place)
    }

    /// The key of such a number.
    pub fn of(number: u64) -> Self {
        Self { place: number as u32, turn: (number >> 32) as u32 & ((1 << TURN_BITS) - 1) }
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<T> Slab<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one, which is made knowing its number.
    pub fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let (turn, slot) = &mut self.places[place as usize];
        let key = Key { place, turn: *turn };
        *slot = Some(make(key));
        self.count += 1;
        key
    }

    /// The thing with this number.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.place as usize).filter(|(turn, _)| *turn == key.turn)?.1.as_ref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.place as usize).filter(|(turn, _)| *turn == key.turn)?.1.as_mut()
    }

    /// Takes it out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (turn, slot) = self.places.get_mut(key.place as usize).filter(|(turn, _)| *turn == key.turn)?;
        let thing = slot.take()?;
        *turn = (*turn + 1) & ((1 << TURN_BITS) - 1);
        self.free.push(key.place);
        self.count -= 1;
        Some(thing)
    }

    /// All of them, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        (0..).zip(&mut self.places).filter_map(|(place, (turn, thing))| {
            let key = Key { place, turn: *turn };
            thing.as_mut().map(|thing| (key, thing))
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.places).filter_map(|(place, (turn, thing))| {
            thing.as_ref().map(|thing| (Key { place, turn: *turn }, thing))
        })
    }
}
