//! virtio and legacy devices. Knows nothing of KVM.
