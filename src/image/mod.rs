//! Images: where they come from, and the content-addressed store that holds them.
//!
//! An image is what the OCI image specification (1.1) says: a manifest names a configuration and layers by digest.
//! hull keeps each of these as it came (so a push gives the same digests) and, beside it, every layer once as an
//! EROFS file system (see [`erofs`]), which guests mount without a byte being copied or unpacked on the host.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use hull::image::Store;
//!
//! let store = Store::open()?;
//! let image = store.find("busybox")?.expect("an image of that name");
//! let layers = image.open_layers()?; // lowest first; open files outlive `hull rmi`
//! # Ok(()) }
//! ```

mod compression;
pub mod credentials;
pub mod derive;
mod digest;
pub mod erofs;
mod error;
pub mod load;
pub mod manifest;
mod platform;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod save;
pub mod store;
pub mod tar;

pub use digest::Digest;
pub use error::{Error, Result};
pub use platform::Platform;
pub use reference::Reference;
pub use store::{Image, Layer, Store};
