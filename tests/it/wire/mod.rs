//! The wire formats from outside: properties of every type, and the vectors of `tests/vectors` to the byte.

mod diagnostic;
mod document;
mod entropy;
mod keys;
mod properties;
mod registry;
mod samples;
mod vectors;
