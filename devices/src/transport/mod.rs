//! How a driver finds and controls a device. Everything here is about registers, nothing about a kind of device.

pub mod mmio;
