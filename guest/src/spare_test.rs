use super::*;

/// An ELF program of 64 bits with one program header, which names this interpreter.
fn elf(interpreter: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 64 + 56];
    head[..5].copy_from_slice(b"\x7fELF\x02");
    head[32..40].copy_from_slice(&64u64.to_le_bytes());
    head[54..56].copy_from_slice(&56u16.to_le_bytes());
    head[56..58].copy_from_slice(&1u16.to_le_bytes());
    head[64..68].copy_from_slice(&3u32.to_le_bytes());
    head[72..80].copy_from_slice(&120u64.to_le_bytes());
    head[96..104].copy_from_slice(&(interpreter.len() as u64).to_le_bytes());
    head.extend(interpreter);
    head
}

#[test]
fn the_interpreter_is_what_the_header_says() {
    assert_eq!(interpreter(&elf(b"/lib64/ld.so\0")).as_deref(), Some("/lib64/ld.so"));
    assert_eq!(interpreter(b"#!/bin/sh\n"), None);
}

#[test]
fn a_header_that_points_anywhere_is_no_danger() {
    let whole = elf(b"/lib64/ld.so\0");
    for length in 0..whole.len() {
        interpreter(&whole[..length]);
    }
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        for value in [0xff, 0x80, 0x7f] {
            broken[at] = value;
            interpreter(&broken);
        }
    }
}
