//! The tests of the simulator's program from outside, in one program: `cargo test -p m2mesh-sim --test it`, with `lab::` or another
//! of these for those of one module. Documents name a test by its module here and a part of its name.

mod baseline;
mod determinism;
mod lab;
mod linkage;
mod outputs;
mod radio;
mod readme;
mod scenario_files;
mod scenarios;
mod verbs;
