//! The engine with fake executors in temporary folders.

mod world;

mod plans;

mod keys;

mod building;

mod sources;

mod locks;

mod faults;

mod gpus;

mod crash;
