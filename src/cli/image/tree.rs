//! `hull images --tree`: which layers lie on which, and which images share them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::size;
use crate::image::{Digest, Image, Layer};

/// A layer, in the place where it lies on others.
#[derive(Default)]
struct Node {
    size: u64,
    /// Names of the images whose topmost layer it is.
    images: Vec<String>,
    /// How many images have it.
    users: usize,
    above: BTreeMap<Digest, Node>,
}

/// The tree of all layers, a line each.
pub fn render(images: &[Image]) -> String {
    let mut root = Node::default();
    for image in images {
        let mut node = &mut root;
        for Layer { diff_id, size, .. } in &image.layers {
            node = node.above.entry(*diff_id).or_default();
            node.size = *size;
            node.users += 1;
        }
        let names = image.tags.iter().map(|name| name.familiar());
        node.images.extend(names);
        if image.tags.is_empty() {
            node.images.push(format!("<none> ({})", image.id.short()));
        }
    }
    let mut text = String::new();
    root.render("", 0, &mut text);
    text
}

impl Node {
    /// Everything above this layer; `below` is the size of this one and those it lies on.
    fn render(&self, indent: &str, below: u64, text: &mut String) {
        for (i, (diff_id, node)) in self.above.iter().enumerate() {
            let last = i + 1 == self.above.len();
            let branch = if last { "└─" } else { "├─" };
            let total = below + node.size;
            let _ = write!(text, "{indent}{branch}{} {}", diff_id.short(), size::human(node.size));
            if total != node.size {
                let _ = write!(text, ", {} with those below", size::human(total));
            }
            if node.users > 1 {
                let _ = write!(text, ", shared by {} images", node.users);
            }
            if !node.images.is_empty() {
                let _ = write!(text, ": {}", node.images.join(", "));
            }
            text.push('\n');
            node.render(&format!("{indent}{}", if last { "  " } else { "│ " }), total, text);
        }
    }
}
