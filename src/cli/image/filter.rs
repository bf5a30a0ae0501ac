//! Filters of images, as `images` and `prune` have them.

use anyhow::{Context, bail};

use crate::cli::{container::parse_time, label::Label};
use crate::image::{Image, Reference, Store};

/// Which images are meant.
#[derive(Debug, Clone)]
pub enum Filter {
    /// Those without a tag, or those with one.
    Dangling(bool),
    /// Those with this label, or those without it.
    Label(Label),
    /// Those of which a name matches.
    Reference(String),
    /// Those that were made before this.
    Before(jiff::Timestamp),
    /// Those that were made after this.
    Since(jiff::Timestamp),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// When there is none of this kind, or no such image.
    pub fn parse(text: &str, store: &Store) -> anyhow::Result<Self> {
        let (key, value) = text.split_once('=').with_context(|| format!("invalid filter '{text}'"))?;
        let created = |name: &str| {
            let image = store.find(name)?.with_context(|| format!("No such image: {name}"))?;
            created(&image).with_context(|| format!("nobody knows when {name} was made"))
        };
        if let Some(label) = Label::parse(key, value) {
            return Ok(Self::Label(label));
        }
        Ok(match key {
            "dangling" => match value {
                "true" | "1" => Self::Dangling(true),
                "false" | "0" => Self::Dangling(false),
                _ => bail!("invalid filter '{text}': write dangling=true or dangling=false"),
            },
            "reference" => Self::Reference(value.to_owned()),
            "before" => Self::Before(created(value)?),
            "since" => Self::Since(created(value)?),
            "until" => Self::Before(parse_time(value).map_err(anyhow::Error::msg)?),
            _ => bail!("invalid filter '{text}'"),
        })
    }

    /// Whether it means this image.
    pub fn means(&self, image: &Image) -> bool {
        match self {
            Self::Dangling(dangling) => image.tags.is_empty() == *dangling,
            Self::Label(label) => {
                let labels = image.config.config().as_ref().and_then(|config| config.labels().as_ref());
                label.means(|name| labels.and_then(|labels| labels.get(name)))
            }
            Self::Reference(pattern) => {
                image.tags.iter().chain(&image.digests).any(|name| matches(pattern, name))
            }
            Self::Before(time) => created(image).is_some_and(|created| created < *time),
            Self::Since(time) => created(image).is_some_and(|created| created > *time),
        }
    }
}

fn created(image: &Image) -> Option<jiff::Timestamp> {
    image.config.created().as_ref()?.parse().ok()
}

/// Whether a name matches a pattern: of its short form all, without tag, or with it.
pub fn matches(pattern: &str, name: &Reference) -> bool {
    glob(pattern.as_bytes(), name.familiar_name().as_bytes())
        || glob(pattern.as_bytes(), name.familiar().as_bytes())
}

/// Whether a text matches a pattern in which `*` is anything without a slash, and `?` one such character.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // The places after the last `*`, and how much of the text that took.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == text[t] || (c == b'?' && text[t] != b'/') => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) if text[taken] != b'/' => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_are_those_of_paths() {
        let matches = |pattern: &str, text: &str| glob(pattern.as_bytes(), text.as_bytes());
        assert!(
            matches("busy*", "busybox") && matches("*box:*", "busybox:1") && matches("b?sy*x", "busybox")
        );
        assert!(matches("*/web", "me/web") && !matches("*web", "me/web") && !matches("busy", "busybox"));
        assert!(matches("", "") && matches("**", "x") && !matches("?", "") && !matches("a*b", "a"));
    }
}
