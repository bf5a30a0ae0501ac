//! Filters by label, which every kind of object has: `label=NAME[=VALUE]` and, where something is removed, `label!=NAME[=VALUE]`.

/// Which labels are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    name: String,
    /// Any, if there is none.
    value: Option<String>,
    /// It is to be there.
    wanted: bool,
}

impl Label {
    /// Reads the value of the filter `key`; nothing if that is not about labels.
    pub fn parse(key: &str, value: &str) -> Option<Self> {
        let wanted = match key {
            "label" => true,
            "label!" => false,
            _ => return None,
        };
        let (name, value) = value.split_once('=').map_or((value, None), |(name, value)| (name, Some(value)));
        Some(Self { name: name.to_owned(), value: value.map(str::to_owned), wanted })
    }

    /// Whether it means what has these labels: `get` gives one's value.
    pub fn means<'a>(&self, get: impl FnOnce(&str) -> Option<&'a String>) -> bool {
        let found = get(&self.name);
        found.is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found)) == self.wanted
    }
}

#[cfg(test)]
#[path = "label_test.rs"]
mod tests;
