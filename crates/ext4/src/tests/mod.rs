//! Volumes that are read: against what went into them, damaged, and in pieces.

mod contents;
mod damage;
mod image;
mod tasks;
