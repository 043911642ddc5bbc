//! Links as they are worth: what carries them, how long they take, how often they fail, what they cost.

pub mod bearer;
pub mod windows;
