//! What the boundary costs: measurements of hull by hull. Each figure names the span it measures.

pub mod boot;
pub mod density;
pub mod network;
pub mod profile;
mod serving;
pub mod statistics;
