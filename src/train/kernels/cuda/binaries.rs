//! What build.rs compiled, embedded: the kernels as fat binaries, and for which cards. Does not
//! know how they are loaded.

include!(concat!(env!("OUT_DIR"), "/binaries.rs"));
