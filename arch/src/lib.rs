//! What is x86_64 in hull: memory layout, boot protocols, CPU state, tables, host quirks.
